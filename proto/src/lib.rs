//! The wire contract, and nothing else.
