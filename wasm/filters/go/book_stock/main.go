// A function of Layotto's, id_2: the stock of the book its body names, from the store state_demo.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
	"outrigger/filters/layotto"
)

func main() {}

func init() {
	proxywasm.SetHttpContext(func(uint32) types.HttpContext { return &stock{} })
}

//go:wasmexport proxy_get_id
func id() {
	layotto.SetID("id_2")
}

type stock struct {
	types.DefaultHttpContext
}

func (*stock) OnHttpRequestBody(size int, _ bool) types.Action {
	book, err := proxywasm.GetHttpRequestBody(0, size)
	filter.Check(err)
	stock, err := layotto.GetState("state_demo", string(book))
	filter.Check(err)
	filter.Check(proxywasm.AppendHttpResponseBody([]byte(stock)))
	return types.ActionContinue
}
