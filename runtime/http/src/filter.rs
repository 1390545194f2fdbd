//! The built-in filters.

pub mod cors;
pub mod fault;
pub mod headers;
pub mod rate_limit;
