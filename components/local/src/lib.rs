//! Backends made of what the host has: the environment and files.

mod configuration;
mod env;
mod file;
mod files;
mod flatten;

pub use configuration::{
    EnvConfiguration, EnvConfigurationBackend, EnvConfigurationConfig, FileConfiguration,
    FileConfigurationBackend, FileConfigurationConfig,
};
pub use env::{EnvSecrets, EnvSecretsBackend, EnvSecretsConfig};
pub use file::{FileSecrets, FileSecretsBackend, FileSecretsConfig};
pub use files::{LocalFiles, LocalFilesBackend, LocalFilesConfig};
