//! Metrics a filter defines: one for each name in the process, shown beside our own as
//! `outrigger_wasm_custom_<name>`.

use std::collections::HashMap;

use outrigger_telemetry::{Counter, Gauge, Histogram, Metrics};
use parking_lot::Mutex;
use std::time::Duration;

use super::abi::Status;
use super::memory::{Answer, Guest, Span, put, put_u32, text};
use crate::limits::METRICS;

/// Everything that has been defined.
pub(crate) struct Defined {
    metrics: Metrics,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    numbers: HashMap<&'static str, u32>,
    all: Vec<Metric>,
}

#[derive(Clone)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
    /// Of milliseconds, as filters count time.
    Histogram(Histogram),
}

impl Defined {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, known: Mutex::default() }
    }

    /// The number of a metric, which is made where there is none of the name.
    fn define(&self, kind: u32, name: &str) -> Result<u32, Status> {
        let shown = shown(kind, name)?;
        let mut known = self.known.lock();
        if let Some(number) = known.numbers.get(&*shown) {
            let same = known.all.get(*number as usize).is_some_and(|metric| metric.kind() == kind);
            return if same { Ok(*number) } else { Err(Status::BadArgument) };
        }
        if known.all.len() >= METRICS {
            return Err(Status::InternalFailure);
        }
        // The registry keeps names for ever anyway, and there is a bound on how many.
        let shown: &'static str = Box::leak(shown.into_boxed_str());
        let help = "Defined by a filter.";
        let metric = match kind {
            0 => Metric::Counter(self.metrics.counter(shown, help, &[]).with(&[])),
            1 => Metric::Gauge(self.metrics.gauge(shown, help, &[]).with(&[])),
            _ => Metric::Histogram(self.metrics.histogram(shown, help, &[]).with(&[])),
        };
        let number = u32::try_from(known.all.len()).map_err(|_| Status::InternalFailure)?;
        known.all.push(metric);
        known.numbers.insert(shown, number);
        Ok(number)
    }

    fn get(&self, number: u32) -> Result<Metric, Status> {
        self.known.lock().all.get(number as usize).cloned().ok_or(Status::NotFound)
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
        1 => "",
        2 => "_seconds",
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
    let number = guest.data().services.metrics.define(kind, &name)?;
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
            histogram.observe(Duration::from_millis(value));
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

    #[test]
    fn a_name_is_one_metric_in_the_process() {
        let defined = Defined::new(Metrics::new());
        let number = defined.define(0, "my.requests-served").unwrap();
        assert_eq!(defined.define(0, "my.requests-served"), Ok(number));
        let Metric::Counter(counter) = defined.get(number).unwrap() else { panic!("no counter") };
        counter.add(3);
        assert!(defined.metrics.render().contains("\noutrigger_wasm_custom_my_requests_served_total 3\n"));
        assert_eq!(defined.define(3, "x"), Err(Status::BadArgument));
        assert_eq!(defined.define(0, ""), Err(Status::BadArgument));
        defined.define(1, "g_total").unwrap();
        assert_eq!(defined.define(0, "g"), Err(Status::BadArgument), "the same name of another kind");
    }

    #[test]
    fn there_is_a_bound() {
        let defined = Defined::new(Metrics::new());
        assert_eq!((0..2_000).filter(|i| defined.define(1, &format!("m{i}")).is_ok()).count(), METRICS);
    }
}
