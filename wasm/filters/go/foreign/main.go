// Calls a function of the host by name: x-function says which, x-argument with what.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	proxywasm.SetHttpContext(func(uint32) types.HttpContext { return &foreign{} })
}

type foreign struct {
	types.DefaultHttpContext
	result string
}

func (f *foreign) OnHttpRequestHeaders(int, bool) types.Action {
	argument := []byte(filter.RequestHeader("x-argument"))
	result, err := proxywasm.CallForeignFunction(filter.RequestHeader("x-function"), argument)
	f.result = string(result)
	if err != nil {
		f.result = "refused"
	}
	return types.ActionContinue
}

func (f *foreign) OnHttpResponseHeaders(int, bool) types.Action {
	filter.Check(proxywasm.ReplaceHttpResponseHeader("x-result", f.result))
	return types.ActionContinue
}
