//! Backends that live in this process's memory.
