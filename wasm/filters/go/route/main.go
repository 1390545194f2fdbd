// Sends requests to another host by where they come from, as the host's properties say. The configuration is that host.
package main

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	filter.EachRequest(func(configuration string) types.HttpContext { return &route{host: configuration} })
}

var cameBy = []string{"filters", "came", "by"}

type route struct {
	types.DefaultHttpContext
	host string
}

func text(path ...string) string {
	bytes, _ := proxywasm.GetProperty(path)
	return string(bytes)
}

func number(path ...string) uint64 {
	bytes, _ := proxywasm.GetProperty(path)
	if len(bytes) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(bytes)
}

func (r *route) OnHttpRequestHeaders(int, bool) types.Action {
	if strings.HasPrefix(text("source", "address"), "127.0.0.1") {
		path := text("request", "path")
		filter.Check(proxywasm.ReplaceHttpRequestHeader(":authority", r.host))
		filter.Check(proxywasm.ReplaceHttpRequestHeader(":path", "/internal"+path))
	}
	filter.Check(proxywasm.SetProperty(cameBy, []byte(text("request", "protocol"))))
	return types.ActionContinue
}

func (r *route) OnHttpResponseHeaders(int, bool) types.Action {
	_, unknown := proxywasm.GetProperty([]string{"no", "such", "property"})
	for name, value := range map[string]string{
		"x-came-by": text(cameBy...),
		"x-root-id": text("plugin_root_id"),
		"x-code":    strconv.FormatUint(number("response", "code"), 10),
		"x-unknown": strconv.FormatBool(unknown != nil),
	} {
		filter.Check(proxywasm.ReplaceHttpResponseHeader(name, value))
	}
	return types.ActionContinue
}
