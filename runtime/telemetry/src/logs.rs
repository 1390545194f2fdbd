//! Logs: one subscriber for the process, whose level can change while it runs.

mod line;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

pub use line::one_line;

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
    let lines = match config.format {
        LogFormat::Text => layer(LogFormat::Text, ansi, move || Named { name }),
        LogFormat::Json => layer(LogFormat::Json, ansi, std::io::stderr),
    };
    // The filter sits on its layer, as a global one would make `enabled` answers cache past a change.
    let registry = Registry::default().with(lines.with_filter(filter));
    registry.try_init().map_err(|_| LogError::AlreadySet)?;
    Ok(Reload::new(Some(handle), config))
}

fn layer<W>(format: LogFormat, ansi: bool, to: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(to);
    match format {
        LogFormat::Text => lines.fmt_fields(line::fields()).with_ansi(ansi).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).boxed(),
    }
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
    use std::io::{self, Write};
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_in_an_event_makes_a_line_of_its_own() {
        let forged = "it failed\r\n2026-01-01T00:00:00Z  INFO outrigger: all is well\x1b[2K\rok";
        let check = |format, ansi, parts: &[&str]| {
            let written = Written::default();
            let to = written.clone();
            let subscriber = Registry::default().with(layer(format, ansi, move || to.clone()));
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(said = forged, error = %forged, "{forged}");
            });
            let text = String::from_utf8(written.0.lock().clone()).unwrap();
            assert_eq!(text.split_inclusive('\n').count(), 1, "{text:?}");
            let ours = ["\x1b[0m", "\x1b[2m", "\x1b[3m", "\x1b[33m"];
            let left = ours.iter().fold(text.trim_end().to_owned(), |text, code| text.replace(code, ""));
            assert!(!left.contains(char::is_control), "{left:?}");
            parts.iter().for_each(|part| assert!(left.contains(part), "{part} is not in {left}"));
        };
        let text =
            ["WARN", "tests: it failed  2026", "well [2K ok", "said=\"it failed", "error=it failed  2026"];
        check(LogFormat::Text, false, &text);
        check(LogFormat::Text, true, &text);
        check(LogFormat::Json, false, &["WARN", r"it failed\r\n2026", r"well\u001b[2K\rok"]);
    }

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
