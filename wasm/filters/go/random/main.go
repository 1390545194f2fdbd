// Gives each request a random number, taken from the host.
package main

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	proxywasm.SetHttpContext(func(uint32) types.HttpContext { return &random{} })
}

type random struct{ types.DefaultHttpContext }

func (*random) OnHttpRequestHeaders(int, bool) types.Action {
	var bytes [16]byte
	if _, err := rand.Read(bytes[:]); err == nil {
		filter.Check(proxywasm.ReplaceHttpRequestHeader("x-random", hex.EncodeToString(bytes[:])))
	}
	return types.ActionContinue
}
