// Shouts: holds what a client says until its line is whole, sends it on in capitals, marks the answer, and hangs up on
// `bye`. The configuration is the name of a counter of connections that have ended.
package main

import (
	"bytes"

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
	ended proxywasm.MetricCounter
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	p.ended = proxywasm.DefineCounterMetric(filter.Configuration())
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewTcpContext(uint32) types.TcpContext { return &shout{plugin: p} }

type shout struct {
	types.DefaultTcpContext
	plugin *plugin
}

func (s *shout) OnDownstreamData(size int, end bool) types.Action {
	if size == 0 {
		return types.ActionContinue
	}
	data, err := proxywasm.GetDownstreamData(0, size)
	filter.Check(err)
	if bytes.HasPrefix(data, []byte("bye")) {
		filter.Check(proxywasm.CloseDownstream())
		return types.ActionPause
	}
	if !bytes.HasSuffix(data, []byte("\n")) && !end {
		return types.ActionPause
	}
	filter.Check(proxywasm.ReplaceDownstreamData(bytes.ToUpper(data)))
	return types.ActionContinue
}

func (s *shout) OnUpstreamData(size int, _ bool) types.Action {
	if size > 0 {
		filter.Check(proxywasm.PrependUpstreamData([]byte("> ")))
	}
	return types.ActionContinue
}

func (s *shout) OnStreamDone() { s.plugin.ended.Increment(1) }
