//! Timeouts, retries, breakers and limits as pure state machines.
