// Shows the configurations of the VM and of the plugin; refuses the plugin configuration `refuse`.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct {
	types.DefaultVMContext
	configuration string
}

func (v *vm) OnVMStart(int) types.OnVMStartStatus {
	bytes, _ := proxywasm.GetVMConfiguration()
	v.configuration = string(bytes)
	return types.OnVMStartStatusOK
}

func (v *vm) NewPluginContext(uint32) types.PluginContext { return &plugin{vm: v} }

type plugin struct {
	types.DefaultPluginContext
	vm            *vm
	configuration string
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	p.configuration = filter.Configuration()
	return p.configuration != "refuse"
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &request{plugin: p} }

type request struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (r *request) OnHttpResponseHeaders(int, bool) types.Action {
	filter.Check(proxywasm.ReplaceHttpResponseHeader("x-vm-config", r.plugin.vm.configuration))
	filter.Check(proxywasm.ReplaceHttpResponseHeader("x-plugin-config", r.plugin.configuration))
	return types.ActionContinue
}
