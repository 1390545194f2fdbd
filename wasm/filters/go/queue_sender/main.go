// Puts x-visit of each request into the queue `visits` of the VM that the configuration names.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	filter.EachRequest(func(configuration string) types.HttpContext { return &sender{vm: configuration} })
}

type sender struct {
	types.DefaultHttpContext
	vm string
}

func (s *sender) OnHttpRequestHeaders(int, bool) types.Action {
	queue, err := proxywasm.ResolveSharedQueue(s.vm, "visits")
	if err == nil {
		err = proxywasm.EnqueueSharedQueue(queue, []byte(filter.RequestHeader("x-visit")))
	}
	if err != nil {
		return filter.Respond(500, nil, "no queue\n")
	}
	return types.ActionContinue
}
