// A function of Layotto's, id_1: tells the stock of the book in its query (?name=book1), which it asks id_2 for.
package main

import (
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
	"outrigger/filters/layotto"
)

func main() {}

func init() {
	proxywasm.SetHttpContext(func(uint32) types.HttpContext { return &shop{} })
}

//go:wasmexport proxy_get_id
func id() {
	layotto.SetID("id_1")
}

type shop struct {
	types.DefaultHttpContext
}

func (*shop) OnHttpRequestBody(size int, _ bool) types.Action {
	asked, err := proxywasm.GetHttpRequestBody(0, size)
	filter.Check(err)
	for _, pair := range strings.Split(string(asked), "&") {
		if book, found := strings.CutPrefix(pair, "name="); found {
			stock, err := layotto.InvokeService("id_2", "", book)
			filter.Check(err)
			told := "There are " + stock + " inventories for " + book + "."
			filter.Check(proxywasm.AppendHttpResponseBody([]byte(told)))
			return types.ActionContinue
		}
	}
	filter.Check(proxywasm.SendHttpResponse(400, nil, []byte("which book? ?name=..."), -1))
	return types.ActionContinue
}
