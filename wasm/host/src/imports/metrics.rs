//! Series of functions on `/metrics`: what a function counts, under the name it gives, with its own name as a label.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger_telemetry::{Counter, Family, Gauge, Metrics, Samples};
use parking_lot::Mutex;

use super::bindings::metrics::Host;
use crate::filter::metrics::Defined;
use crate::function::journal::Kind as Line;
use crate::function::state::Guest;
use crate::limits::{FUNCTION_METRICS, METRICS, METRICS_EVER};

/// The families of all functions: a name is of one kind, whoever uses it.
#[derive(Default)]
pub(crate) struct Families {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Those without a series are not shown. They are kept, as the registry keeps them: a name stays of one kind.
    families: HashMap<&'static str, Named>,
    /// Families that have series.
    shown: usize,
    series: HashMap<(Arc<str>, &'static str), Kept>,
    /// How many each function has.
    of: HashMap<Arc<str>, usize>,
}

struct Named {
    shown: Shown,
    series: usize,
}

struct Kept {
    series: Series,
    /// Versions of its function that have used it.
    versions: usize,
}

/// What one version of a function counts. What no other version of it has used goes with it.
pub(crate) struct Counted {
    defined: Arc<Defined>,
    function: Arc<str>,
    used: Mutex<HashMap<&'static str, Series>>,
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
        let series = self.program.counted.series(kind, name);
        let complain =
            |why: String| self.program.journal.write(Line::Warn, &format!("metric '{name}': {why}"));
        series.map_err(complain).ok()
    }
}

impl Counted {
    pub(crate) fn new(defined: Arc<Defined>, function: Arc<str>) -> Self {
        Self { defined, function, used: Mutex::default() }
    }

    fn series(&self, kind: Kind, name: &str) -> Result<Series, String> {
        let mut used = self.used.lock();
        if let Some(series) = used.get(name).filter(|series| series.kind() == kind) {
            return Ok(series.clone());
        }
        let families = self.defined.functions();
        let (family, series) = families.series(self.defined.registry(), &self.function, kind, name)?;
        used.insert(family, series.clone());
        Ok(series)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut known = self.defined.functions().known.lock();
        for family in self.used.get_mut().keys() {
            known.give_back(&self.function, family);
        }
    }
}

impl Families {
    /// A series, which one more version uses.
    fn series(
        &self,
        metrics: &Metrics,
        function: &Arc<str>,
        kind: Kind,
        name: &str,
    ) -> Result<(&'static str, Series), String> {
        let mut known = self.known.lock();
        let there = known.families.get_key_value(name);
        let there = there.map(|(family, named)| (*family, named.shown.clone(), named.series));
        if let Some((family, shown, series)) = there {
            if shown.kind() != kind {
                return Err(format!("it is a {:?} already, and no {kind:?}", shown.kind()));
            }
            if series == 0 {
                known.admits(kind, name)?;
            }
            return known.with(function, family, &shown);
        }
        check(name)?;
        known.admits(kind, name)?;
        known.room(function)?;
        if known.families.len() >= METRICS_EVER {
            return Err(format!(
                "functions have had {METRICS_EVER} metrics, which is the most of one process"
            ));
        }
        // The registry keeps names for ever anyway, and there is a bound on how many.
        let family: &'static str = Box::leak(name.to_owned().into_boxed_str());
        let shown = match kind {
            Kind::Counter => Shown::Counter(metrics.counter(family, HELP, LABELS)),
            Kind::Gauge => Shown::Gauge(metrics.gauge(family, HELP, LABELS)),
            Kind::Histogram => Shown::Histogram(metrics.samples(family, HELP, LABELS)),
        };
        known.families.insert(family, Named { shown: shown.clone(), series: 0 });
        known.with(function, family, &shown)
    }
}

impl Known {
    fn with(
        &mut self,
        function: &Arc<str>,
        family: &'static str,
        shown: &Shown,
    ) -> Result<(&'static str, Series), String> {
        let key = (Arc::clone(function), family);
        if let Some(kept) = self.series.get_mut(&key) {
            kept.versions += 1;
            return Ok((family, kept.series.clone()));
        }
        self.room(function)?;
        let series = shown.with(function);
        self.series.insert(key, Kept { series: series.clone(), versions: 1 });
        *self.of.entry(Arc::clone(function)).or_default() += 1;
        if let Some(named) = self.families.get_mut(family) {
            self.shown += usize::from(named.series == 0);
            named.series += 1;
        }
        Ok((family, series))
    }

    /// A version that has used a series is gone.
    fn give_back(&mut self, function: &Arc<str>, family: &'static str) {
        let key = (Arc::clone(function), family);
        let Some(kept) = self.series.get_mut(&key) else { return };
        kept.versions = kept.versions.saturating_sub(1);
        if kept.versions > 0 {
            return;
        }
        self.series.remove(&key);
        if let Some(named) = self.families.get_mut(family) {
            named.shown.without(function);
            named.series = named.series.saturating_sub(1);
            self.shown = self.shown.saturating_sub(usize::from(named.series == 0));
        }
        let left = self.of.get(function).map_or(0, |has| has.saturating_sub(1));
        if left > 0 {
            self.of.insert(Arc::clone(function), left);
        } else {
            self.of.remove(function);
        }
    }

    /// Whether one more family can be shown, of this name.
    fn admits(&self, kind: Kind, name: &str) -> Result<(), String> {
        if self.is_ambiguous(kind, name) {
            return Err("a line of it would read as one of another metric".to_owned());
        }
        if self.shown >= METRICS {
            return Err(format!("functions have {METRICS} metrics already, which is the most"));
        }
        Ok(())
    }

    fn room(&self, function: &Arc<str>) -> Result<(), String> {
        let has = self.of.get(function).copied().unwrap_or_default();
        let full = || format!("it has {FUNCTION_METRICS} already, which is the most of one function");
        if has < FUNCTION_METRICS { Ok(()) } else { Err(full()) }
    }

    /// Whether a line of it would read as one of another metric: a histogram is told in several.
    fn is_ambiguous(&self, kind: Kind, name: &str) -> bool {
        let there = |name: &str| self.families.get(name).filter(|named| named.series > 0);
        let is_histogram =
            |name: &str| there(name).is_some_and(|named| named.shown.kind() == Kind::Histogram);
        LINES.iter().any(|line| name.strip_suffix(line).is_some_and(is_histogram))
            || (kind == Kind::Histogram && LINES.iter().any(|line| there(&format!("{name}{line}")).is_some()))
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

    fn without(&self, function: &str) {
        match self {
            Self::Counter(family) => family.remove(&[function]),
            Self::Gauge(family) => family.remove(&[function]),
            Self::Histogram(family) => family.remove(&[function]),
        }
    }
}

impl Series {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
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
        families.series(metrics, &function.into(), kind, name).map(|(_, series)| series)
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
    fn what_no_version_uses_any_more_is_not_shown() {
        let metrics = Metrics::new();
        let defined = Arc::new(Defined::new(metrics.clone()));
        let version = |function: &str| Counted::new(Arc::clone(&defined), function.into());
        let (first, second) = (version("a"), version("a"));
        let gauge = |version: &Counted, name: &str| {
            let Ok(Series::Gauge(gauge)) = version.series(Kind::Gauge, name) else { panic!("no gauge") };
            gauge.add(1);
        };
        for (version, name) in [(&first, "old"), (&first, "both"), (&first, "both"), (&second, "both")] {
            gauge(version, name);
        }
        first.series(Kind::Histogram, "wait").map(drop).unwrap();
        assert!(second.series(Kind::Counter, "wait_sum").is_err());
        drop(first);
        let shown = metrics.render();
        assert!(!shown.contains("old") && shown.contains("both{function=\"a\"} 3"), "{shown}");
        second.series(Kind::Counter, "wait_sum").map(drop).unwrap();
        let why = second.series(Kind::Histogram, "wait").map(drop).unwrap_err();
        assert!(why.contains("another metric"), "{why}");
        drop(second);
        assert_eq!(metrics.render(), "");
        for round in 0..METRICS_EVER / FUNCTION_METRICS + 4 {
            let version = version(&format!("f{round}"));
            let fits = |n: &usize| version.series(Kind::Gauge, &format!("f{}_{n}", round % 8)).is_ok();
            assert_eq!((0..400).filter(fits).count(), FUNCTION_METRICS, "of round {round}");
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
