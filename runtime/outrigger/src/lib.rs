//! One process beside an application: building blocks, data plane, WebAssembly.
