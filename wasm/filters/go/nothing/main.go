// Does nothing, to requests or, configured as `tcp`, to connections: the suite has to notice it in every other's place.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &nothing{} })
}

type nothing struct {
	types.DefaultPluginContext
	connections bool
}

func (n *nothing) OnPluginStart(int) types.OnPluginStartStatus {
	n.connections = filter.Configuration() == "tcp"
	return types.OnPluginStartStatusOK
}

func (n *nothing) NewHttpContext(uint32) types.HttpContext {
	if n.connections {
		return nil
	}
	return &types.DefaultHttpContext{}
}

func (n *nothing) NewTcpContext(uint32) types.TcpContext { return &types.DefaultTcpContext{} }
