// Holds a response until five questions have been answered. The configuration names whom to ask.
package main

import (
	"fmt"
	"sort"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	filter.EachRequest(func(configuration string) types.HttpContext { return &calls{cluster: configuration} })
}

type calls struct {
	types.DefaultHttpContext
	cluster string
	open    int
	answers []string
}

func (c *calls) OnHttpResponseHeaders(int, bool) types.Action {
	for index := range 5 {
		if filter.Ask(c.cluster, fmt.Sprintf("/count/%d", index), nil, 10_000, c.answered) == nil {
			c.open++
		}
	}
	if c.open == 0 {
		return types.ActionContinue
	}
	return types.ActionPause
}

func (c *calls) answered(_, body string) {
	c.answers = append(c.answers, body)
	c.open--
	if c.open == 0 {
		sort.Strings(c.answers)
		filter.Check(proxywasm.ReplaceHttpResponseHeader("x-calls", strings.Join(c.answers, ",")))
		filter.Check(proxywasm.ResumeHttpResponse())
	}
}
