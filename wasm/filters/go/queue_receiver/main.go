// Takes what another plugin puts into the queue `visits` and reports it. The configuration names the cluster it
// reports to.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &receiver{} })
}

// Reports on their way at a time: the host has a bound on call-outs, and what it refuses would be lost.
const atOnce = 4

type receiver struct {
	types.DefaultPluginContext
	cluster string
	queue   uint32
	open    int
}

func (r *receiver) OnPluginStart(int) types.OnPluginStartStatus {
	r.cluster = filter.Configuration()
	queue, err := proxywasm.RegisterSharedQueue("visits")
	r.queue = queue
	return err == nil
}

func (r *receiver) OnQueueReady(uint32) { r.take() }

// take empties the queue. Another worker's plugin may have taken what there was, or left more than one.
func (r *receiver) take() {
	for r.open < atOnce {
		item, err := proxywasm.DequeueSharedQueue(r.queue)
		if err != nil {
			return
		}
		if filter.Ask(r.cluster, "/report/"+string(item), nil, 10_000, r.reported) != nil {
			filter.Check(proxywasm.EnqueueSharedQueue(r.queue, item))
			return
		}
		r.open++
	}
}

func (r *receiver) reported(string, string) {
	r.open--
	r.take()
}

func (r *receiver) NewHttpContext(uint32) types.HttpContext { return &types.DefaultHttpContext{} }
