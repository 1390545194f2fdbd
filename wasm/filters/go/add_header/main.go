// Adds, replaces and removes a header, of the request and of the response.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	filter.EachRequest(func(configuration string) types.HttpContext { return &addHeader{value: configuration} })
}

type addHeader struct {
	types.DefaultHttpContext
	value string
}

func (a *addHeader) OnHttpRequestHeaders(int, bool) types.Action {
	filter.Check(proxywasm.AddHttpRequestHeader("x-added", a.value))
	filter.Check(proxywasm.ReplaceHttpRequestHeader("x-replaced", a.value))
	filter.Check(proxywasm.RemoveHttpRequestHeader("x-removed"))
	return types.ActionContinue
}

func (a *addHeader) OnHttpResponseHeaders(int, bool) types.Action {
	filter.Check(proxywasm.AddHttpResponseHeader("x-added", a.value))
	filter.Check(proxywasm.ReplaceHttpResponseHeader("x-replaced", a.value))
	filter.Check(proxywasm.RemoveHttpResponseHeader("x-removed"))
	return types.ActionContinue
}
