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

type receiver struct {
	types.DefaultPluginContext
	cluster string
}

func (r *receiver) OnPluginStart(int) types.OnPluginStartStatus {
	r.cluster = filter.Configuration()
	if _, err := proxywasm.RegisterSharedQueue("visits"); err != nil {
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (r *receiver) OnQueueReady(queue uint32) {
	// Another worker's plugin may have taken it, or left more than one.
	for {
		item, err := proxywasm.DequeueSharedQueue(queue)
		if err != nil {
			return
		}
		headers := [][2]string{{":method", "POST"}, {":path", "/report/" + string(item)}, {":authority", "reports.example"}}
		_, err = proxywasm.DispatchHttpCall(r.cluster, headers, nil, nil, 2000, func(int, int, int) {})
		filter.Check(err)
	}
}

func (r *receiver) NewHttpContext(uint32) types.HttpContext { return &types.DefaultHttpContext{} }
