//! Logs: one subscriber for the process, whose level can change while it runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// The `log` section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: a level (`info`), or levels by module (`info,outrigger_proxy=debug`). Default `info`.
    pub level: String,
    /// How a line looks. Default `text`.
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: time, level, module, message, fields; coloured on a terminal.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Debug)]
pub enum LogError {
    /// The level is not in the syntax of `tracing`'s filters.
    Level { level: String, reason: String },
    /// Something else in this process already receives logs.
    AlreadySet,
}

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Level { level, reason } => {
                write!(
                    f,
                    "log level '{level}' is not understood ({reason}); try info, or info,outrigger_proxy=debug"
                )
            }
            Self::AlreadySet => f.write_str("logging is already set up in this process"),
        }
    }
}

impl std::error::Error for LogError {}

/// Sets up logging to standard error for this process, once.
pub fn init(config: &LogConfig) -> Result<Reload, LogError> {
    init_named(config, "")
}

/// As [`init`], with a name before each line of text, for when several processes share the terminal.
pub fn init_named(config: &LogConfig, name: &'static str) -> Result<Reload, LogError> {
    let filter = parse(&config.level)?;
    let (filter, handle) = reload::Layer::new(filter);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(move || Named { name });
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(ansi).boxed(),
        LogFormat::Json => {
            lines.with_writer(std::io::stderr).json().flatten_event(true).with_current_span(true).boxed()
        }
    };
    // The filter sits on its layer, as a global one would make `enabled` answers cache past a change.
    let registry = Registry::default().with(lines.with_filter(filter));
    registry.try_init().map_err(|_| LogError::AlreadySet)?;
    Ok(Reload::new(Some(handle), config))
}

/// For a sidecar inside another program: its lines go wherever that program's lines go, and the level is checked and
/// remembered, but decides nothing.
pub fn inherited(config: &LogConfig) -> Result<Reload, LogError> {
    parse(&config.level)?;
    Ok(Reload::new(None, config))
}

/// Writes each line in one piece, its name before it. The formatter hands over one line a call.
struct Named {
    name: &'static str,
}

impl std::io::Write for Named {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut stderr = std::io::stderr().lock();
        if self.name.is_empty() {
            stderr.write_all(line)?;
        } else {
            stderr.write_all(&[self.name.as_bytes(), line].concat())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Changes the level of the running process.
#[derive(Clone)]
pub struct Reload {
    /// `None` where somebody else's subscriber decides.
    handle: Option<reload::Handle<EnvFilter, Registry>>,
    level: std::sync::Arc<parking_lot::Mutex<String>>,
}

impl Reload {
    fn new(handle: Option<reload::Handle<EnvFilter, Registry>>, config: &LogConfig) -> Self {
        Self { handle, level: std::sync::Arc::new(parking_lot::Mutex::new(config.level.clone())) }
    }

    /// Takes the same syntax as [`LogConfig::level`]; on an error the old level stays.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = parse(level)?;
        let mut current = self.level.lock();
        if let Some(handle) = &self.handle {
            handle
                .reload(filter)
                .map_err(|error| LogError::Level { level: level.to_owned(), reason: error.to_string() })?;
        }
        level.clone_into(&mut current);
        Ok(())
    }

    /// What is set now.
    pub fn level(&self) -> String {
        self.level.lock().clone()
    }
}

/// Whether a level would be understood.
pub fn check_level(level: &str) -> Result<(), LogError> {
    parse(level).map(drop)
}

fn parse(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(level)
        .map_err(|error| LogError::Level { level: level.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_changes_while_running() {
        let reload = init(&LogConfig::default()).unwrap();
        assert!(!tracing::enabled!(tracing::Level::DEBUG));
        reload.set_level("debug").unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(reload.set_level("info,=,").is_err());
        assert_eq!(reload.level(), "debug");
        assert!(tracing::enabled!(tracing::Level::DEBUG), "a bad level changes nothing");
        assert!(matches!(init(&LogConfig::default()), Err(LogError::AlreadySet)));
    }
}
