// Adds, replaces and removes a trailer, of the request and of the response. The configuration is the value.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	filter.EachRequest(func(configuration string) types.HttpContext { return &trailers{value: configuration} })
}

type trailers struct {
	types.DefaultHttpContext
	value string
}

func (t *trailers) OnHttpRequestTrailers(int) types.Action {
	filter.Check(proxywasm.AddHttpRequestTrailer("x-added", t.value))
	filter.Check(proxywasm.ReplaceHttpRequestTrailer("x-replaced", t.value))
	filter.Check(proxywasm.RemoveHttpRequestTrailer("x-removed"))
	return types.ActionContinue
}

func (t *trailers) OnHttpResponseTrailers(int) types.Action {
	filter.Check(proxywasm.AddHttpResponseTrailer("x-added", t.value))
	filter.Check(proxywasm.ReplaceHttpResponseTrailer("x-replaced", t.value))
	filter.Check(proxywasm.RemoveHttpResponseTrailer("x-removed"))
	return types.ActionContinue
}
