//! Endpoints, pickers, health, pools: the one way out of the process.
