// Asks a service at every tick, away from any request, and shows requests its last answer. The configuration names the
// service's cluster.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

const milliseconds = 50

type plugin struct {
	types.DefaultPluginContext
	cluster string
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	p.cluster = filter.Configuration()
	return proxywasm.SetTickPeriodMilliSeconds(milliseconds) == nil
}

func (p *plugin) OnTick() {
	filter.Check(filter.Ask(p.cluster, "/tick", nil, 1000, func(status, body string) {
		if status != "" {
			filter.Check(proxywasm.SetSharedData("tick", []byte(body), 0))
		}
	}))
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &tick{} }

type tick struct{ types.DefaultHttpContext }

func (*tick) OnHttpResponseHeaders(int, bool) types.Action {
	answer, _, _ := proxywasm.GetSharedData("tick")
	filter.Check(proxywasm.ReplaceHttpResponseHeader("x-tick", string(answer)))
	return types.ActionContinue
}
