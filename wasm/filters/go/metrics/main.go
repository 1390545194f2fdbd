// Counts requests, those under way, and the bytes of their bodies. The configuration is the prefix of the names.
package main

import (
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
	requests proxywasm.MetricCounter
	active   proxywasm.MetricGauge
	bytes    proxywasm.MetricHistogram
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	prefix := filter.Configuration()
	p.requests = proxywasm.DefineCounterMetric(prefix + "_requests")
	p.active = proxywasm.DefineGaugeMetric(prefix + "_active")
	p.bytes = proxywasm.DefineHistogramMetric(prefix + "_bytes")
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &metrics{plugin: p} }

type metrics struct {
	types.DefaultHttpContext
	plugin *plugin
	bytes  int
}

func (m *metrics) OnHttpRequestHeaders(int, bool) types.Action {
	m.plugin.requests.Increment(1)
	m.plugin.active.Add(1)
	return types.ActionContinue
}

func (m *metrics) OnHttpRequestBody(size int, _ bool) types.Action {
	m.bytes += size
	return types.ActionContinue
}

func (m *metrics) OnHttpResponseHeaders(int, bool) types.Action {
	count := strconv.FormatUint(m.plugin.requests.Value(), 10)
	filter.Check(proxywasm.ReplaceHttpResponseHeader("x-requests", count))
	return types.ActionContinue
}

func (m *metrics) OnHttpStreamDone() {
	m.plugin.bytes.Record(uint64(m.bytes))
	m.plugin.active.Add(-1)
}
