//! Behaviour suites every backend of a block must pass.
