//! Export of traces and metrics, as the configuration and OpenTelemetry's own variables ask for it.

use std::time::{Duration, SystemTime};

use outrigger_otlp::{Exports, MetricsTo, Options, Target, Traces, Unusable};
use outrigger_telemetry::Metrics;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::config::{
    Config, Loaded, Problem,
    telemetry::{OtlpConfig, TelemetryConfig},
};

/// What is left to send at the end gets this long.
const FLUSH: Duration = Duration::from_secs(2);

/// Reads an environment variable.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;
/// The path of a setting, and what is wrong with it.
type Wrong = (String, String);

/// The exports under way.
pub struct Telemetry {
    metrics: Metrics,
    since: SystemTime,
    exports: Mutex<Option<Exports>>,
}

impl Telemetry {
    pub fn new(metrics: &Metrics) -> Self {
        Self { metrics: metrics.clone(), since: SystemTime::now(), exports: Mutex::default() }
    }

    /// Exports as `loaded` says from now on. Where that is what is done already, nothing changes.
    pub fn follow(&self, loaded: &Loaded, env: Env<'_>, control: &Handle) -> Result<(), Problem> {
        let options = options(&loaded.config, env).map_err(|wrong| told(loaded, wrong))?;
        let mut exports = self.exports.lock();
        if exports.as_ref().is_some_and(|exports| *exports.options() == options) {
            return Ok(());
        }
        let before = exports.take();
        if let Some(before) = &before {
            before.end();
        }
        if options.traces.is_some() || options.metrics.is_some() {
            let started = Exports::start(options, &self.metrics, self.since, control);
            *exports = Some(started.map_err(|why| told(loaded, ("telemetry".to_owned(), why.message)))?);
        }
        if let Some(before) = before {
            control.spawn(before.ended(FLUSH));
        }
        Ok(())
    }

    /// Sends what is left, as far as there is time.
    pub async fn stop(&self) {
        let exports = self.exports.lock().take();
        let Some(exports) = exports else { return };
        exports.end();
        if !exports.ended(FLUSH).await {
            tracing::warn!(patience = ?FLUSH, "telemetry was not sent to its end");
        }
    }
}

fn told(loaded: &Loaded, (path, message): Wrong) -> Problem {
    loaded.problem(&path, message)
}

/// What is wrong with the section. The files it names are read.
pub fn check(config: &TelemetryConfig) -> Vec<Wrong> {
    let targets = [("traces", &config.traces.otlp), ("metrics", &config.metrics.otlp)];
    let named = targets.into_iter().filter_map(|(signal, otlp)| Some((signal, otlp.as_ref()?)));
    let mut wrong: Vec<Wrong> = named
        .filter_map(|(signal, otlp)| {
            let unusable = target(otlp).and_then(|target| target.check()).err()?;
            Some((format!("telemetry.{signal}.otlp.{}", unusable.setting), unusable.message))
        })
        .collect();
    if config.traces.sample.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        wrong.push(("telemetry.traces.sample".to_owned(), "must be from 0 to 1".to_owned()));
    }
    if config.traces.queue == 0 {
        wrong.push(("telemetry.traces.queue".to_owned(), "must be at least 1".to_owned()));
    }
    if config.metrics.interval.is_zero() {
        wrong.push(("telemetry.metrics.interval".to_owned(), "must be longer than nothing".to_owned()));
    }
    wrong
}

/// What is to be exported. Our own settings come first, then the variables; one of those that cannot be used is
/// left out with a warning, as OpenTelemetry asks.
fn options(config: &Config, env: Env<'_>) -> Result<Options, Wrong> {
    let TelemetryConfig { service_name, traces, metrics } = &config.telemetry;
    let to = |signal: &str, own: &Option<OtlpConfig>| match own {
        Some(otlp) => target(otlp)
            .map(Some)
            .map_err(|why| (format!("telemetry.{signal}.otlp.{}", why.setting), why.message)),
        None => Ok(standard(env)),
    };
    let app = Some(&config.app.id).filter(|id| !id.is_empty()).cloned();
    let name = service_name.clone().or_else(|| filled(env, "OTEL_SERVICE_NAME")).or(app);
    let sample = traces.sample.unwrap_or_else(|| sampler(env));
    Ok(Options {
        resource: vec![
            ("service.name", name.unwrap_or_else(|| "outrigger".to_owned())),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("process.pid", std::process::id().to_string()),
        ],
        traces: to("traces", &traces.otlp)?.map(|to| Traces { to, sample, queue: traces.queue }),
        metrics: to("metrics", &metrics.otlp)?.map(|to| MetricsTo { to, interval: metrics.interval }),
    })
}

fn target(otlp: &OtlpConfig) -> Result<Target, Unusable> {
    let read = |path: &std::path::PathBuf| {
        let unusable =
            |error| Unusable { setting: "ca", message: format!("cannot read {}: {error}", path.display()) };
        std::fs::read(path).map_err(unusable)
    };
    Ok(Target {
        endpoint: otlp.endpoint.clone(),
        headers: otlp.headers.iter().map(|(name, value)| (name.clone(), value.expose().clone())).collect(),
        timeout: otlp.timeout,
        ca: otlp.ca.as_ref().map(read).transpose()?,
    })
}

/// The collector of OpenTelemetry's own variables.
fn standard(env: Env<'_>) -> Option<Target> {
    let mut otlp = OtlpConfig {
        endpoint: filled(env, "OTEL_EXPORTER_OTLP_ENDPOINT")?,
        headers: Default::default(),
        timeout: Duration::from_secs(10),
        ca: filled(env, "OTEL_EXPORTER_OTLP_CERTIFICATE").map(Into::into),
    };
    let headers = filled(env, "OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
    let pairs = headers.split(',').filter_map(|pair| pair.split_once('='));
    otlp.headers.extend(pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned().into())));
    match target(&otlp).and_then(|target| target.check().map(|()| target)) {
        Ok(target) => Some(target),
        Err(Unusable { setting, message }) => {
            tracing::warn!(setting, message, "OTEL_EXPORTER_OTLP_… cannot be used: nothing is exported");
            None
        }
    }
}

/// `OTEL_TRACES_SAMPLER`: a caller's decision is kept here whether its name begins with `parentbased_` or not.
fn sampler(env: Env<'_>) -> f64 {
    let name = filled(env, "OTEL_TRACES_SAMPLER").unwrap_or_default();
    let argument = || filled(env, "OTEL_TRACES_SAMPLER_ARG").and_then(|share| share.parse().ok());
    match name.strip_prefix("parentbased_").unwrap_or(&name) {
        "always_off" => 0.0,
        "traceidratio" => argument().filter(|share| (0.0..=1.0).contains(share)).unwrap_or(1.0),
        _ => 1.0,
    }
}

fn filled(env: Env<'_>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value, env: &[(&str, &str)]) -> Options {
        let config: Config = serde_json::from_value(json).unwrap();
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        options(&config, &env).unwrap()
    }

    #[test]
    fn variables_fill_in_what_the_section_leaves_out() {
        let none = read(serde_json::json!({}), &[]);
        assert_eq!((none.resource[0].1.as_str(), none.traces, none.metrics), ("outrigger", None, None));
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k, x=a=b"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ];
        let standard = read(serde_json::json!({"app": {"id": "a"}}), &env);
        let traces = standard.traces.unwrap();
        assert_eq!((standard.resource[0].1.as_str(), traces.sample), ("shop", 0.25));
        assert_eq!(
            traces.to.headers,
            [("api-key", "k"), ("x", "a=b")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert_eq!(standard.metrics.unwrap().to.endpoint, "http://127.0.0.1:1");
        let own = serde_json::json!({"telemetry": {
            "service_name": "own",
            "traces": {"sample": 0.5, "queue": 7, "otlp": {"endpoint": "http://127.0.0.1:2"}},
            "metrics": {"interval": "3s"},
        }});
        let own = read(own, &env);
        let traces = own.traces.unwrap();
        assert_eq!((own.resource[0].1.as_str(), traces.sample, traces.queue), ("own", 0.5, 7));
        assert_eq!((traces.to.endpoint.as_str(), traces.to.headers.len()), ("http://127.0.0.1:2", 0));
        let metrics = own.metrics.unwrap();
        assert_eq!(
            (metrics.to.endpoint.as_str(), metrics.interval),
            ("http://127.0.0.1:1", Duration::from_secs(3))
        );
    }

    #[test]
    fn samplers_have_the_names_opentelemetry_gave_them() {
        let check = |name: &str, argument: &str, expected: f64| {
            let env = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)];
            let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
            assert!((sampler(&env) - expected).abs() < f64::EPSILON, "{name} {argument}");
        };
        check("", "", 1.0);
        check("always_on", "", 1.0);
        check("always_off", "", 0.0);
        check("parentbased_always_off", "", 0.0);
        check("traceidratio", "0.1", 0.1);
        check("traceidratio", "7", 1.0);
    }

    #[test]
    fn a_variable_that_cannot_be_used_exports_nothing() {
        let env = |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "nonsense".to_owned());
        assert_eq!(standard(&env), None);
    }
}
