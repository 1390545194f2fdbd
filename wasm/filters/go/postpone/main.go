// Lets requests wait and releases one of them at every tick. The configuration is the tick in milliseconds.
package main

import (
	"slices"
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type plugin struct {
	types.DefaultPluginContext
	// The requests that wait, by the number of their context, the longest first.
	waiting []uint32
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	period, err := strconv.ParseUint(filter.Configuration(), 10, 32)
	if err != nil || proxywasm.SetTickPeriodMilliSeconds(uint32(period)) != nil {
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnTick() {
	if len(p.waiting) == 0 {
		return
	}
	next := p.waiting[0]
	p.waiting = p.waiting[1:]
	if proxywasm.SetEffectiveContext(next) == nil {
		filter.Check(proxywasm.AddHttpRequestHeader("x-postponed", "yes"))
		filter.Check(proxywasm.ResumeHttpRequest())
	}
}

func (p *plugin) NewHttpContext(id uint32) types.HttpContext { return &postpone{plugin: p, id: id} }

type postpone struct {
	types.DefaultHttpContext
	plugin *plugin
	id     uint32
}

func (r *postpone) OnHttpRequestHeaders(int, bool) types.Action {
	r.plugin.waiting = append(r.plugin.waiting, r.id)
	return types.ActionPause
}

// OnHttpStreamDone makes sure that who has gone is not waited for.
func (r *postpone) OnHttpStreamDone() {
	r.plugin.waiting = slices.DeleteFunc(r.plugin.waiting, func(id uint32) bool { return id == r.id })
}
