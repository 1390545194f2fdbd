//! Metrics a filter defines: one for each name in the process, shown beside our own as
//! `outrigger_wasm_custom_<name>`.

use std::collections::HashMap;

use outrigger_telemetry::{Counter, Gauge, Metrics, Spread};
use parking_lot::Mutex;
use std::sync::Arc;

use super::abi::Status;
use super::memory::{Answer, Guest, Span, put, put_u32, text};
use crate::imports::Families;
use crate::limits::{METRICS, PLUGIN_METRICS};

/// Everything that has been defined.
pub(crate) struct Defined {
    metrics: Metrics,
    known: Mutex<Known>,
    functions: Families,
}

#[derive(Default)]
struct Known {
    numbers: HashMap<&'static str, u32>,
    all: Vec<Metric>,
    /// How many each plugin has made.
    made: HashMap<Arc<str>, usize>,
}

#[derive(Clone)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
    /// Of what, only the filter knows.
    Histogram(Spread),
}

impl Defined {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, known: Mutex::default(), functions: Families::default() }
    }

    pub(crate) fn registry(&self) -> &Metrics {
        &self.metrics
    }

    /// What functions have defined.
    pub(crate) fn functions(&self) -> &Families {
        &self.functions
    }

    /// The number of a metric, which a plugin makes where there is none of the name.
    fn define(&self, plugin: &Arc<str>, kind: u32, name: &str) -> Result<u32, Status> {
        let shown = shown(kind, name)?;
        let mut known = self.known.lock();
        if let Some(number) = known.numbers.get(&*shown) {
            let same = known.all.get(*number as usize).is_some_and(|metric| metric.kind() == kind);
            return if same { Ok(*number) } else { Err(Status::BadArgument) };
        }
        if known.is_ambiguous(kind, &shown) {
            return Err(Status::BadArgument);
        }
        let made = known.made.get(plugin).copied().unwrap_or_default();
        if known.all.len() >= METRICS || made >= PLUGIN_METRICS {
            return Err(Status::InternalFailure);
        }
        // The registry keeps names for ever anyway, and there is a bound on how many.
        let shown: &'static str = Box::leak(shown.into_boxed_str());
        let help = "Defined by a filter.";
        let metric = match kind {
            0 => Metric::Counter(self.metrics.counter(shown, help, &[]).with(&[])),
            1 => Metric::Gauge(self.metrics.gauge(shown, help, &[]).with(&[])),
            _ => Metric::Histogram(self.metrics.spread(shown, help, &[]).with(&[])),
        };
        let number = u32::try_from(known.all.len()).map_err(|_| Status::InternalFailure)?;
        known.all.push(metric);
        known.numbers.insert(shown, number);
        known.made.insert(Arc::clone(plugin), made + 1);
        Ok(number)
    }

    fn get(&self, number: u32) -> Result<Metric, Status> {
        self.known.lock().all.get(number as usize).cloned().ok_or(Status::NotFound)
    }
}

impl Known {
    /// Whether a line of it would read as one of another metric: a histogram is told in several.
    fn is_ambiguous(&self, kind: u32, shown: &str) -> bool {
        const LINES: [&str; 3] = ["_bucket", "_sum", "_count"];
        let is_histogram = |name: &str| {
            let metric = self.numbers.get(name).and_then(|number| self.all.get(*number as usize));
            matches!(metric, Some(Metric::Histogram(_)))
        };
        LINES.iter().any(|line| shown.strip_suffix(line).is_some_and(is_histogram))
            || (kind == 2 && LINES.iter().any(|line| self.numbers.contains_key(&*format!("{shown}{line}"))))
    }
}

impl Metric {
    fn kind(&self) -> u32 {
        match self {
            Self::Counter(_) => 0,
            Self::Gauge(_) => 1,
            Self::Histogram(_) => 2,
        }
    }
}

/// The name as Prometheus may have it, with what its kind asks for at the end.
fn shown(kind: u32, name: &str) -> Result<String, Status> {
    let suffix = match kind {
        0 => "_total",
        1 | 2 => "",
        _ => return Err(Status::BadArgument),
    };
    if name.is_empty() || name.len() > 200 {
        return Err(Status::BadArgument);
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let suffix = if name.ends_with(suffix) { "" } else { suffix };
    Ok(format!("outrigger_wasm_custom_{name}{suffix}"))
}

pub(crate) fn define(guest: &mut Guest<'_>, kind: u32, name: Span, at: u32) -> Answer {
    let name = text(guest, name)?;
    let number = {
        let state = guest.data();
        state.services.metrics.define(&state.plan.name, kind, &name)?
    };
    Ok(put_u32(guest, at, number)?)
}

pub(crate) fn record(guest: &mut Guest<'_>, number: u32, value: u64) -> Answer {
    match guest.data().services.metrics.get(number)? {
        Metric::Counter(_) => Err(Status::BadArgument.into()),
        Metric::Gauge(gauge) => {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            Ok(())
        }
        Metric::Histogram(histogram) => {
            histogram.observe(value);
            Ok(())
        }
    }
}

pub(crate) fn increment(guest: &mut Guest<'_>, number: u32, delta: i64) -> Answer {
    match guest.data().services.metrics.get(number)? {
        Metric::Counter(counter) => {
            counter.add(u64::try_from(delta).map_err(|_| Status::BadArgument)?);
            Ok(())
        }
        Metric::Gauge(gauge) => {
            gauge.add(delta);
            Ok(())
        }
        Metric::Histogram(_) => Err(Status::BadArgument.into()),
    }
}

pub(crate) fn get(guest: &mut Guest<'_>, number: u32, at: u32) -> Answer {
    let value = match guest.data().services.metrics.get(number)? {
        Metric::Counter(counter) => counter.value(),
        Metric::Gauge(gauge) => gauge.value().cast_unsigned(),
        Metric::Histogram(_) => return Err(Status::BadArgument.into()),
    };
    Ok(put(guest, at, &value.to_le_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin() -> Arc<str> {
        "p".into()
    }

    #[test]
    fn a_name_is_one_metric_in_the_process() {
        let defined = Defined::new(Metrics::new());
        let number = defined.define(&plugin(), 0, "my.requests-served").unwrap();
        assert_eq!(defined.define(&plugin(), 0, "my.requests-served"), Ok(number));
        let Metric::Counter(counter) = defined.get(number).unwrap() else { panic!("no counter") };
        counter.add(3);
        assert!(defined.metrics.render().contains("\noutrigger_wasm_custom_my_requests_served_total 3\n"));
        assert_eq!(defined.define(&plugin(), 3, "x"), Err(Status::BadArgument));
        assert_eq!(defined.define(&plugin(), 0, ""), Err(Status::BadArgument));
        defined.define(&plugin(), 1, "g_total").unwrap();
        assert_eq!(
            defined.define(&plugin(), 0, "g"),
            Err(Status::BadArgument),
            "the same name of another kind"
        );
    }

    #[test]
    fn a_histogram_is_of_what_its_name_says() {
        let defined = Defined::new(Metrics::new());
        let number = defined.define(&plugin(), 2, "answer_bytes").unwrap();
        let Metric::Histogram(histogram) = defined.get(number).unwrap() else { panic!("no histogram") };
        histogram.observe(1500);
        let shown = defined.metrics.render();
        for line in ["bucket{le=\"1000\"} 0", "bucket{le=\"2000\"} 1", "sum 1500", "count 1"] {
            assert!(shown.contains(&format!("\noutrigger_wasm_custom_answer_bytes_{line}\n")), "{shown}");
        }
    }

    #[test]
    fn there_is_a_bound_for_each_plugin_and_for_all() {
        let defined = Defined::new(Metrics::new());
        let made = |plugin: &str| {
            let name = |i: i32| format!("{plugin}{i}");
            (0..2_000).filter(|i| defined.define(&plugin.into(), 1, &name(*i)).is_ok()).count()
        };
        assert_eq!((made("a"), made("b"), made("a")), (PLUGIN_METRICS, PLUGIN_METRICS, PLUGIN_METRICS));
        assert_eq!(made("c") + made("d") + made("e") + 2 * PLUGIN_METRICS, METRICS);
    }

    #[test]
    fn no_line_belongs_to_two_metrics() {
        let defined = Defined::new(Metrics::new());
        let define = |kind, name: &str| defined.define(&plugin(), kind, name).map(|_| ());
        define(2, "x_seconds").unwrap();
        for line in ["x_seconds_count", "x_seconds_sum", "x_seconds_bucket"] {
            assert_eq!(define(1, line), Err(Status::BadArgument), "{line}");
        }
        define(1, "y_seconds_count").unwrap();
        assert_eq!(define(2, "y_seconds"), Err(Status::BadArgument));
        define(0, "x_seconds_count").unwrap();
    }
}
