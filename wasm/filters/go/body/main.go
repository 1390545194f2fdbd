// Edits a whole body: x-edit says how, x-edit-response whose. The configuration is the text put in.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	filter.EachRequest(func(configuration string) types.HttpContext { return &body{text: []byte(configuration)} })
}

// An edit sets a body from a text; the SDK has one function of each kind for either direction.
type edit func([]byte) error

var (
	ofRequest = map[string]edit{
		"append":  proxywasm.AppendHttpRequestBody,
		"prepend": proxywasm.PrependHttpRequestBody,
		"replace": proxywasm.ReplaceHttpRequestBody,
	}
	ofResponse = map[string]edit{
		"append":  proxywasm.AppendHttpResponseBody,
		"prepend": proxywasm.PrependHttpResponseBody,
		"replace": proxywasm.ReplaceHttpResponseBody,
	}
)

type body struct {
	types.DefaultHttpContext
	text              []byte
	request, response edit
}

func (b *body) OnHttpRequestHeaders(int, bool) types.Action {
	b.request = ofRequest[filter.RequestHeader("x-edit")]
	b.response = ofResponse[filter.RequestHeader("x-edit-response")]
	if b.request != nil {
		// It will have another length.
		filter.Check(proxywasm.RemoveHttpRequestHeader("content-length"))
	}
	return types.ActionContinue
}

func (b *body) OnHttpRequestBody(_ int, end bool) types.Action { return b.apply(b.request, end) }

func (b *body) OnHttpResponseHeaders(int, bool) types.Action {
	if b.response != nil {
		filter.Check(proxywasm.RemoveHttpResponseHeader("content-length"))
	}
	return types.ActionContinue
}

func (b *body) OnHttpResponseBody(_ int, end bool) types.Action { return b.apply(b.response, end) }

func (b *body) apply(change edit, end bool) types.Action {
	if change == nil {
		return types.ActionContinue
	}
	if !end {
		return types.ActionPause
	}
	filter.Check(change(b.text))
	return types.ActionContinue
}
