//! Lines of the sidecar's log, with the function's name.

use crate::bindgen::imports::outrigger::functions::log as wit;

pub use wit::{Level, write};

/// A line that only matters while something is looked into.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message.as_ref());
}

/// An ordinary line.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message.as_ref());
}

/// Something somebody should look at.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message.as_ref());
}

/// Something went wrong.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message.as_ref());
}
