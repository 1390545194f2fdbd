// Asks a service whether a request may pass, and holds the request meanwhile: not for long with the token `slow`. The
// configuration names its cluster.
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
	token, patience := filter.RequestHeader("authorization"), uint32(10_000)
	if token == "slow" {
		patience = 1000
	}
	if filter.Ask(a.cluster, "/check", [][2]string{{"authorization", token}}, patience, decide) != nil {
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
