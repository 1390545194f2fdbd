//! The Rust client of Outrigger.
