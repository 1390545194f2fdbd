//! The project's one entry: `cargo xtask check|test|proto|quickstart|bench`.
fn main() {}
