//! Backends made of what the host has: the environment and files.

mod env;
mod file;
mod files;
mod flatten;

pub use env::{EnvSecrets, EnvSecretsBackend, EnvSecretsConfig};
pub use file::{FileSecrets, FileSecretsBackend, FileSecretsConfig};
pub use files::{LocalFiles, LocalFilesBackend, LocalFilesConfig};
