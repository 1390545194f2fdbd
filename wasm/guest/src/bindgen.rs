//! What `wit-bindgen` makes of `wasm/wit`. Each trigger is a world of its own, so that a function exports those it has
//! handlers for; of the imports a component keeps those it calls.
//!
//! It names a module after the package, and `fn` is no name in Rust. With a second version of the package there it
//! tells the two apart by their versions: `fn0_1_0`. That is what the empty `outrigger:fn@0.0.0` is for.

#![allow(clippy::all, reason = "written by the generator")]

pub(crate) mod imports {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package outrigger:guest; package outrigger:fn@0.0.0 { interface none {} }
                 world all { include outrigger:fn/imports@0.1.0; }",
        world: "outrigger:guest/all",
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
    "package outrigger:guest; package outrigger:fn@0.0.0 { interface none {} }
     world http-trigger { export outrigger:fn/http@0.1.0; }"
);
trigger!(
    event,
    "outrigger_guest::bindgen::event",
    "outrigger:guest/event-trigger",
    "package outrigger:guest; package outrigger:fn@0.0.0 { interface none {} }
     world event-trigger { export outrigger:fn/event@0.1.0; }"
);
trigger!(
    schedule,
    "outrigger_guest::bindgen::schedule",
    "outrigger:guest/schedule-trigger",
    "package outrigger:guest; package outrigger:fn@0.0.0 { interface none {} }
     world schedule-trigger { export outrigger:fn/schedule@0.1.0; }"
);
trigger!(
    binding,
    "outrigger_guest::bindgen::binding",
    "outrigger:guest/binding-trigger",
    "package outrigger:guest; package outrigger:fn@0.0.0 { interface none {} }
     world binding-trigger { export outrigger:fn/binding@0.1.0; }"
);
trigger!(
    invoke,
    "outrigger_guest::bindgen::invoke",
    "outrigger:guest/invoke-trigger",
    "package outrigger:guest; package outrigger:fn@0.0.0 { interface none {} }
     world invoke-trigger { export outrigger:fn/invoke@0.1.0; }"
);
