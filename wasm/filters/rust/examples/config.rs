//! Shows the configurations of the VM and of the plugin; refuses the plugin configuration `refuse`.

use outrigger_filters::text;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Config::default()));
}}

#[derive(Default, Clone)]
struct Config {
    vm: String,
    plugin: String,
}

impl Context for Config {}

impl RootContext for Config {
    fn on_vm_start(&mut self, _: usize) -> bool {
        self.vm = text(self.get_vm_configuration());
        true
    }

    fn on_configure(&mut self, _: usize) -> bool {
        self.plugin = text(self.get_plugin_configuration());
        self.plugin != "refuse"
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(self.clone()))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl HttpContext for Config {
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_response_header("x-vm-config", Some(&self.vm));
        self.set_http_response_header("x-plugin-config", Some(&self.plugin));
        Action::Continue
    }
}
