//! Backends made of what the host has: environment and files.
