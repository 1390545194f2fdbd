// Asks a service whether a request may pass, and holds the request meanwhile. The configuration names its cluster.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	filter.EachRequest(func(configuration string) types.HttpContext { return &auth{cluster: configuration} })
}

type auth struct {
	types.DefaultHttpContext
	cluster string
}

func (a *auth) OnHttpRequestHeaders(int, bool) types.Action {
	token := [][2]string{{"authorization", filter.RequestHeader("authorization")}}
	if filter.Ask(a.cluster, "/check", token, 1000, decide) != nil {
		return filter.Respond(500, nil, "nobody to ask\n")
	}
	return types.ActionPause
}

func decide(status, body string) {
	switch status {
	case "200":
		filter.Check(proxywasm.ReplaceHttpRequestHeader("x-user", body))
		filter.Check(proxywasm.ResumeHttpRequest())
	case "":
		filter.Respond(503, nil, "no answer\n")
	default:
		filter.Respond(403, [][2]string{{"x-auth-status", status}}, "denied\n")
	}
}
