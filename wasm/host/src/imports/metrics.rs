//! Series of functions on `/metrics`: what a function counts, under the name it gives, with its own name as a label.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger_telemetry::{Counter, Family, Gauge, Metrics, Samples};
use parking_lot::Mutex;

use super::bindings::metrics::Host;
use crate::function::journal::Kind as Line;
use crate::function::state::Guest;
use crate::limits::{FUNCTION_METRICS, METRICS};

/// The families of all functions: a name is of one kind, whoever uses it.
#[derive(Default)]
pub(crate) struct Families {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    families: HashMap<&'static str, Shown>,
    series: HashMap<(Arc<str>, &'static str), Series>,
    /// How many each function has.
    of: HashMap<Arc<str>, usize>,
}

#[derive(Clone)]
enum Shown {
    Counter(Family<Counter>),
    Gauge(Family<Gauge>),
    Histogram(Family<Samples>),
}

/// One series, which a call only adds to.
#[derive(Clone)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Samples),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

const LABELS: &[&str] = &["function"];
const HELP: &str = "Written by functions.";
/// Ours begin like this.
const OURS: &str = "outrigger_";
/// The lines of a histogram.
const LINES: [&str; 3] = ["_bucket", "_sum", "_count"];

impl Host for Guest {
    async fn count(&mut self, name: String, by: u64) -> wasmtime::Result<()> {
        if let Some(Series::Counter(counter)) = self.series(Kind::Counter, &name) {
            counter.add(by);
        }
        Ok(())
    }

    async fn gauge(&mut self, name: String, value: i64) -> wasmtime::Result<()> {
        if let Some(Series::Gauge(gauge)) = self.series(Kind::Gauge, &name) {
            gauge.set(value);
        }
        Ok(())
    }

    async fn observe(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        if let Some(Series::Histogram(samples)) = self.series(Kind::Histogram, &name) {
            samples.observe(value);
        }
        Ok(())
    }
}

impl Guest {
    /// What cannot be counted is said in the function's log: its interface has no errors.
    fn series(&self, kind: Kind, name: &str) -> Option<Series> {
        let defined = &self.program.metrics;
        let series = defined.functions().series(defined.registry(), &self.program.name, kind, name);
        let complain =
            |why: String| self.program.journal.write(Line::Warn, &format!("metric '{name}': {why}"));
        series.map_err(complain).ok()
    }
}

impl Families {
    fn series(
        &self,
        metrics: &Metrics,
        function: &Arc<str>,
        kind: Kind,
        name: &str,
    ) -> Result<Series, String> {
        let mut known = self.known.lock();
        if let Some((family, shown)) = known.families.get_key_value(name) {
            let (family, shown) = (*family, shown.clone());
            if shown.kind() != kind {
                return Err(format!("it is a {:?} already, and no {kind:?}", shown.kind()));
            }
            return known.with(function, family, &shown);
        }
        check(name)?;
        if known.is_ambiguous(kind, name) {
            return Err("a line of it would read as one of another metric".to_owned());
        }
        if known.families.len() >= METRICS {
            return Err(format!("functions have {METRICS} metrics already, which is the most"));
        }
        known.room(function)?;
        // The registry keeps names for ever anyway, and there is a bound on how many.
        let family: &'static str = Box::leak(name.to_owned().into_boxed_str());
        let shown = match kind {
            Kind::Counter => Shown::Counter(metrics.counter(family, HELP, LABELS)),
            Kind::Gauge => Shown::Gauge(metrics.gauge(family, HELP, LABELS)),
            Kind::Histogram => Shown::Histogram(metrics.samples(family, HELP, LABELS)),
        };
        known.families.insert(family, shown.clone());
        known.with(function, family, &shown)
    }
}

impl Known {
    fn with(&mut self, function: &Arc<str>, family: &'static str, shown: &Shown) -> Result<Series, String> {
        let key = (Arc::clone(function), family);
        if let Some(series) = self.series.get(&key) {
            return Ok(series.clone());
        }
        self.room(function)?;
        let series = shown.with(function);
        self.series.insert(key, series.clone());
        *self.of.entry(Arc::clone(function)).or_default() += 1;
        Ok(series)
    }

    fn room(&self, function: &Arc<str>) -> Result<(), String> {
        let has = self.of.get(function).copied().unwrap_or_default();
        let full = || format!("it has {FUNCTION_METRICS} already, which is the most of one function");
        if has < FUNCTION_METRICS { Ok(()) } else { Err(full()) }
    }

    /// Whether a line of it would read as one of another metric: a histogram is told in several.
    fn is_ambiguous(&self, kind: Kind, name: &str) -> bool {
        let is_histogram = |name: &str| matches!(self.families.get(name), Some(Shown::Histogram(_)));
        LINES.iter().any(|line| name.strip_suffix(line).is_some_and(is_histogram))
            || (kind == Kind::Histogram
                && LINES.iter().any(|line| self.families.contains_key(&*format!("{name}{line}"))))
    }
}

impl Shown {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    fn with(&self, function: &str) -> Series {
        match self {
            Self::Counter(family) => Series::Counter(family.with(&[function])),
            Self::Gauge(family) => Series::Gauge(family.with(&[function])),
            Self::Histogram(family) => Series::Histogram(family.with(&[function])),
        }
    }
}

fn check(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty()
        || name.len() > 200
        || name.starts_with(|c: char| c.is_ascii_digit())
        || !name.chars().all(plain)
    {
        return Err(
            "a name is of letters, digits and underscores, up to 200, and begins with no digit".to_owned()
        );
    }
    if name.starts_with(OURS) || name.starts_with("__") || name == "le" {
        return Err(format!("names that begin with '{OURS}' or '__' are not for functions"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(
        families: &Families,
        metrics: &Metrics,
        function: &str,
        kind: Kind,
        name: &str,
    ) -> Result<Series, String> {
        families.series(metrics, &function.into(), kind, name)
    }

    #[test]
    fn functions_share_names_and_not_series() {
        let (families, metrics) = (Families::default(), Metrics::new());
        for (function, by) in [("a", 2), ("b", 3), ("a", 2)] {
            let Ok(Series::Counter(counter)) =
                series(&families, &metrics, function, Kind::Counter, "orders_total")
            else {
                panic!("no counter")
            };
            counter.add(by);
        }
        let Ok(Series::Histogram(samples)) = series(&families, &metrics, "a", Kind::Histogram, "wait") else {
            panic!("no histogram")
        };
        samples.observe(0.25);
        let shown = metrics.render();
        for line in [
            "orders_total{function=\"a\"} 4",
            "orders_total{function=\"b\"} 3",
            "wait_bucket{function=\"a\",le=\"0.2\"} 0",
            "wait_bucket{function=\"a\",le=\"0.5\"} 1",
            "wait_sum{function=\"a\"} 0.25",
        ] {
            assert!(shown.contains(&format!("\n{line}\n")), "{line} in {shown}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_refused_with_its_reason() {
        let (families, metrics) = (Families::default(), Metrics::new());
        let check = |kind, name: &str, names: &str| {
            let why = series(&families, &metrics, "a", kind, name).map(drop).unwrap_err();
            assert!(why.contains(names), "{name}: {why}");
        };
        series(&families, &metrics, "a", Kind::Histogram, "wait").map(drop).unwrap();
        series(&families, &metrics, "a", Kind::Gauge, "depth_sum").map(drop).unwrap();
        check(Kind::Gauge, "wait", "it is a Histogram already, and no Gauge");
        check(Kind::Counter, "wait_count", "another metric");
        check(Kind::Histogram, "depth", "another metric");
        check(Kind::Counter, "outrigger_calls_total", "not for functions");
        check(Kind::Counter, "__name__", "not for functions");
        for name in ["", "a b", "7up", "ä", "a{b=\"c\"}", &"x".repeat(201)] {
            check(Kind::Counter, name, "letters");
        }
    }

    #[test]
    fn there_is_a_bound_for_each_function_and_for_all() {
        let (families, metrics) = (Families::default(), Metrics::new());
        let made = |function: &str| {
            let fits = |i: &i32| {
                series(&families, &metrics, function, Kind::Gauge, &format!("{function}{i}")).is_ok()
            };
            (0..400).filter(fits).count()
        };
        assert_eq!((made("a"), made("b")), (FUNCTION_METRICS, FUNCTION_METRICS));
        assert_eq!(made("c") + made("d") + made("e") + 2 * FUNCTION_METRICS, METRICS);
        assert!(
            series(&families, &metrics, "b", Kind::Gauge, "a0").is_err(),
            "a full function has no other's either"
        );
        assert!(series(&families, &metrics, "e", Kind::Gauge, "a0").is_ok(), "a name there is already");
    }
}
