// Answers by itself: instead of the backend (x-deny: request), or in place of what it said (x-deny: response).
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	filter.EachRequest(func(configuration string) types.HttpContext { return &deny{text: configuration} })
}

type deny struct {
	types.DefaultHttpContext
	text     string
	response bool
}

func (d *deny) answer(status uint32) types.Action {
	return filter.Respond(status, [][2]string{{"x-denied", "yes"}}, d.text)
}

func (d *deny) OnHttpRequestHeaders(int, bool) types.Action {
	wanted := filter.RequestHeader("x-deny")
	d.response = wanted == "response"
	if wanted == "request" {
		return d.answer(418)
	}
	return types.ActionContinue
}

func (d *deny) OnHttpResponseHeaders(int, bool) types.Action {
	if d.response {
		return d.answer(502)
	}
	return types.ActionContinue
}
