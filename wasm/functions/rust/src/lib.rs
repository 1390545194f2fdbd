//! Nothing of its own: each file of `examples` is a function.
