// Package filter has what most of these filters share: a plugin that keeps its configuration and makes a filter for
// each request.
package filter

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// EachRequest makes the entry point of a filter that needs nothing of its plugin but the configuration.
func EachRequest(make func(configuration string) types.HttpContext) {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{make: make} })
}

type plugin struct {
	types.DefaultPluginContext
	make          func(string) types.HttpContext
	configuration string
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	p.configuration = Configuration()
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return p.make(p.configuration) }

// Configuration is the plugin's configuration as text. The SDK calls an empty one an error.
func Configuration() string {
	bytes, _ := proxywasm.GetPluginConfiguration()
	return string(bytes)
}

// RequestHeader is a header's value, or nothing.
func RequestHeader(name string) string {
	value, _ := proxywasm.GetHttpRequestHeader(name)
	return value
}

// Ask calls out with GET; done is told the answer's status, empty when there was none, and its body.
func Ask(cluster, path string, more [][2]string, milliseconds uint32, done func(status, body string)) error {
	headers := append([][2]string{{":method", "GET"}, {":path", path}, {":authority", "filters.example"}}, more...)
	_, err := proxywasm.DispatchHttpCall(cluster, headers, nil, nil, milliseconds, func(count, size, _ int) {
		done(answer(count, size))
	})
	return err
}

func answer(count, size int) (string, string) {
	if count == 0 {
		return "", ""
	}
	headers, _ := proxywasm.GetHttpCallResponseHeaders()
	body, _ := proxywasm.GetHttpCallResponseBody(0, size)
	for _, header := range headers {
		if header[0] == ":status" {
			return header[1], string(body)
		}
	}
	return "", string(body)
}

// Respond answers instead of the backend, and logs when the host refuses that.
func Respond(status uint32, headers [][2]string, body string) types.Action {
	if err := proxywasm.SendHttpResponse(status, headers, []byte(body), -1); err != nil {
		proxywasm.LogErrorf("answering %d: %v", status, err)
	}
	return types.ActionPause
}

// Check logs what the host refused.
func Check(err error) {
	if err != nil {
		proxywasm.LogErrorf("refused: %v", err)
	}
}
