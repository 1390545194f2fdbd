//! What `wit-bindgen` makes of `wasm/wit`. Each trigger is a world of its own, so that a function exports those it has
//! handlers for; of the imports a component keeps those it calls.

#![allow(clippy::all, reason = "written by the generator")]

pub(crate) mod imports {
    wit_bindgen::generate!({
        path: "../wit",
        world: "outrigger:functions/imports",
        generate_all,
    });
}

/// A world that exports one interface, in a module of the interface's name.
macro_rules! trigger {
    ($name:ident, $path:literal, $world:literal, $wit:literal) => {
        #[doc(hidden)]
        pub mod $name {
            wit_bindgen::generate!({
                path: "../wit",
                inline: $wit,
                world: $world,
                generate_all,
                pub_export_macro: true,
                default_bindings_module: $path,
            });
        }
    };
}

trigger!(
    http,
    "outrigger_guest::bindgen::http",
    "outrigger:guest/http-trigger",
    "package outrigger:guest; world http-trigger { export outrigger:functions/http@0.1.0; }"
);
trigger!(
    event,
    "outrigger_guest::bindgen::event",
    "outrigger:guest/event-trigger",
    "package outrigger:guest; world event-trigger { export outrigger:functions/event@0.1.0; }"
);
trigger!(
    schedule,
    "outrigger_guest::bindgen::schedule",
    "outrigger:guest/schedule-trigger",
    "package outrigger:guest; world schedule-trigger { export outrigger:functions/schedule@0.1.0; }"
);
trigger!(
    binding,
    "outrigger_guest::bindgen::binding",
    "outrigger:guest/binding-trigger",
    "package outrigger:guest; world binding-trigger { export outrigger:functions/binding@0.1.0; }"
);
trigger!(
    invoke,
    "outrigger_guest::bindgen::invoke",
    "outrigger:guest/invoke-trigger",
    "package outrigger:guest; world invoke-trigger { export outrigger:functions/invoke@0.1.0; }"
);
