//! `wasi:config/store`: what the operator tells a function in its settings.

use wasmtime::component::{HasSelf, Linker};

use crate::function::state::{Ctx, Guest};

mod bindings {
    wasmtime::component::bindgen!({ path: "wit/config.wit", imports: { default: trappable } });
    pub(super) use wasi::config::store;
}

use bindings::store::{Error, Host};

pub(super) fn add_to_linker(
    linker: &mut Linker<Ctx>,
    guest: fn(&mut Ctx) -> &mut Guest,
) -> wasmtime::Result<()> {
    bindings::store::add_to_linker::<_, HasSelf<_>>(linker, guest)
}

impl Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        Ok(Ok(self.program.config.config.get(&key).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        Ok(Ok(self.program.config.config.clone().into_iter().collect()))
    }
}
