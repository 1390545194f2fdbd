//! `export!`: the one line that makes a type the function.

/// Makes a type the function: `export!(Cart: http, event)`. It has a handler for each trigger that is named, and a
/// function has one such line.
#[macro_export]
macro_rules! export {
    ($function:ty: $($trigger:ident),+ $(,)?) => {
        const _: () = {
            struct Exported;
            $($crate::__trigger!($trigger, $function, Exported);)+
        };
    };
}

/// What stands between the interface as it is exported and the handler.
#[doc(hidden)]
#[macro_export]
macro_rules! __trigger {
    (http, $function:ty, $exported:ident) => {
        impl $crate::bindgen::http::exports::outrigger::functions::http::Guest for $exported {
            fn handle(request: $crate::http::Request) -> $crate::http::Response {
                $crate::http::answer::<$function>(request)
            }
        }
        $crate::bindgen::http::export!($exported with_types_in $crate::bindgen::http);
    };
    (event, $function:ty, $exported:ident) => {
        impl $crate::bindgen::event::exports::outrigger::functions::event::Guest for $exported {
            fn handle(event: $crate::event::Event) -> $crate::event::Answer {
                $crate::event::answer::<$function>(event)
            }
        }
        $crate::bindgen::event::export!($exported with_types_in $crate::bindgen::event);
    };
    (schedule, $function:ty, $exported:ident) => {
        impl $crate::bindgen::schedule::exports::outrigger::functions::schedule::Guest for $exported {
            fn handle(tick: $crate::schedule::Tick) -> ::core::result::Result<(), ::std::string::String> {
                <$function as $crate::schedule::Handler>::handle(tick).map_err(|failure| failure.to_string())
            }
        }
        $crate::bindgen::schedule::export!($exported with_types_in $crate::bindgen::schedule);
    };
    (binding, $function:ty, $exported:ident) => {
        impl $crate::bindgen::binding::exports::outrigger::functions::binding::Guest for $exported {
            fn handle(input: $crate::binding::Input) -> ::core::result::Result<(), ::std::string::String> {
                <$function as $crate::binding::Handler>::handle(input).map_err(|failure| failure.to_string())
            }
        }
        $crate::bindgen::binding::export!($exported with_types_in $crate::bindgen::binding);
    };
    (invoke, $function:ty, $exported:ident) => {
        impl $crate::bindgen::invoke::exports::outrigger::functions::invoke::Guest for $exported {
            fn handle(
                call: $crate::invoke::Call,
            ) -> ::core::result::Result<$crate::invoke::Answer, ::std::string::String> {
                <$function as $crate::invoke::Handler>::handle(call).map_err(|failure| failure.to_string())
            }
        }
        $crate::bindgen::invoke::export!($exported with_types_in $crate::bindgen::invoke);
    };
}
