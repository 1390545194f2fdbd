//! The registry: families of counters, gauges and histograms, and their Prometheus text form.
//!
//! Handles are taken when configuration is compiled and kept; counting is one relaxed add on the caller's own shard.

mod buckets;
mod family;
mod kinds;
mod samples;
mod snapshot;
mod spread;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use family::Render;
pub use family::{Family, MAX_SERIES};
pub use kinds::{BUCKETS, Counter, Gauge, Histogram};
pub use samples::{SAMPLES, Samples};
pub use snapshot::{Reading, Series, Snapshot};
pub use spread::{BOUNDS, Spread};

use crate::span::Tracer;

/// The registry of one process. Cloning is cheap and gives the same registry.
///
/// It carries the process's tracer with it: whoever counts what happens to a request may also have to trace it.
#[derive(Clone, Default)]
pub struct Metrics {
    families: Arc<Mutex<BTreeMap<&'static str, Registered>>>,
    tracer: Tracer,
}

#[derive(Clone)]
enum Registered {
    Counter(Family<Counter>),
    Gauge(Family<Gauge>),
    Histogram(Family<Histogram>),
    Spread(Family<Spread>),
    Samples(Family<Samples>),
    Read { help: &'static str, read: Arc<dyn Fn() -> f64 + Send + Sync> },
}

impl Metrics {
    pub fn new() -> Self {
        Self::default()
    }

    /// A family of counters. Asking again for a name gives the same family.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Family<Counter> {
        let made = self.register(name, || Registered::Counter(Family::new(name, help, labels)));
        match made {
            Registered::Counter(family) => family.expect_labels(labels),
            _ => detached(name, help, labels),
        }
    }

    /// A family of gauges. Asking again for a name gives the same family.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Family<Gauge> {
        let made = self.register(name, || Registered::Gauge(Family::new(name, help, labels)));
        match made {
            Registered::Gauge(family) => family.expect_labels(labels),
            _ => detached(name, help, labels),
        }
    }

    /// A family of histograms of seconds over [`BUCKETS`]. Asking again for a name gives the same family.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Family<Histogram> {
        let made = self.register(name, || Registered::Histogram(Family::new(name, help, labels)));
        match made {
            Registered::Histogram(family) => family.expect_labels(labels),
            _ => detached(name, help, labels),
        }
    }

    /// A family of histograms of whole numbers over [`BOUNDS`]. Asking again for a name gives the same family.
    pub fn spread(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Family<Spread> {
        let made = self.register(name, || Registered::Spread(Family::new(name, help, labels)));
        match made {
            Registered::Spread(family) => family.expect_labels(labels),
            _ => detached(name, help, labels),
        }
    }

    /// A family of histograms of any numbers over [`SAMPLES`]. Asking again for a name gives the same family.
    pub fn samples(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Family<Samples> {
        let made = self.register(name, || Registered::Samples(Family::new(name, help, labels)));
        match made {
            Registered::Samples(family) => family.expect_labels(labels),
            _ => detached(name, help, labels),
        }
    }

    /// A gauge without labels whose value is read when somebody scrapes: sizes, ages, memory.
    /// The newest reader of a name wins, so that a reload may replace it.
    pub fn read(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.families.lock().insert(name, Registered::Read { help, read: Arc::new(read) });
    }

    /// Begins spans; records none until told to.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Everything as values, for an exporter; families sorted by name and series by labels.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        let families = self.families.lock().clone();
        let family = |(name, registered): (&&'static str, &Registered)| match registered {
            Registered::Counter(family) => family.snapshot(),
            Registered::Gauge(family) => family.snapshot(),
            Registered::Histogram(family) => family.snapshot(),
            Registered::Spread(family) => family.snapshot(),
            Registered::Samples(family) => family.snapshot(),
            Registered::Read { help, read } => Snapshot {
                name,
                help,
                series: vec![Series { labels: Vec::new(), reading: Reading::Measure(read()) }],
            },
        };
        families.iter().map(family).collect()
    }

    /// Everything in the Prometheus text format 0.0.4, families sorted by name and series by labels.
    pub fn render(&self) -> String {
        // Readers may take their own locks, so none is held while they run.
        let families = self.families.lock().clone();
        let mut out = String::with_capacity(4096);
        for (name, registered) in &families {
            match registered {
                Registered::Counter(family) => family.render(&mut out),
                Registered::Gauge(family) => family.render(&mut out),
                Registered::Histogram(family) => family.render(&mut out),
                Registered::Spread(family) => family.render(&mut out),
                Registered::Samples(family) => family.render(&mut out),
                Registered::Read { help, read } => {
                    text::header(&mut out, name, help, "gauge");
                    text::sample(&mut out, name, "", "", read());
                }
            }
        }
        out
    }

    fn register(&self, name: &'static str, make: impl FnOnce() -> Registered) -> Registered {
        debug_assert!(text::is_metric_name(name), "not a metric name: {name}");
        self.families.lock().entry(name).or_insert_with(make).clone()
    }
}

/// A name used with two kinds is our own mistake: it fails in debug builds; in release the second use counts where
/// nobody sees it rather than bring the process down.
fn detached<M: kinds::Kind>(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Family<M> {
    debug_assert!(false, "metric {name} is registered with another kind");
    tracing::error!(name, "metric is registered with another kind; this one will not be shown");
    Family::new(name, help, labels)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn renders_each_kind() {
        let metrics = Metrics::new();
        metrics.counter("outrigger_b_total", "Requests.", &["route", "code"]).with(&["shop", "200"]).add(3);
        metrics.gauge("outrigger_a", "Open\nnow \\ here.", &[]).with(&[]).add(-2);
        let seconds = metrics.histogram("outrigger_c_seconds", "Time.", &["route"]).with(&["shop"]);
        seconds.observe(Duration::from_micros(50));
        seconds.observe(Duration::from_millis(3));
        seconds.observe(Duration::from_secs(90));
        metrics.read("outrigger_d", "Read.", || 1.5);
        let text = metrics.render();
        let expected_start = "# HELP outrigger_a Open\\nnow \\\\ here.\n# TYPE outrigger_a gauge\noutrigger_a -2\n\
             # HELP outrigger_b_total Requests.\n# TYPE outrigger_b_total counter\n\
             outrigger_b_total{route=\"shop\",code=\"200\"} 3\n\
             # HELP outrigger_c_seconds Time.\n# TYPE outrigger_c_seconds histogram\n\
             outrigger_c_seconds_bucket{route=\"shop\",le=\"0.00005\"} 1\n";
        assert!(text.starts_with(expected_start), "{text}");
        for line in [
            "outrigger_c_seconds_bucket{route=\"shop\",le=\"0.0025\"} 1\n",
            "outrigger_c_seconds_bucket{route=\"shop\",le=\"0.005\"} 2\n",
            "outrigger_c_seconds_bucket{route=\"shop\",le=\"60\"} 2\n",
            "outrigger_c_seconds_bucket{route=\"shop\",le=\"+Inf\"} 3\n",
            "outrigger_c_seconds_sum{route=\"shop\"} 90.00305\n",
            "outrigger_c_seconds_count{route=\"shop\"} 3\n",
            "outrigger_d 1.5\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn label_values_cannot_forge_a_line() {
        let metrics = Metrics::new();
        let family = metrics.counter("outrigger_x_total", "X.", &["path"]);
        family.with(&["a\"} 7\noutrigger_fake 1\\"]).inc();
        let text = metrics.render();
        assert!(text.ends_with("outrigger_x_total{path=\"a\\\"} 7\\noutrigger_fake 1\\\\\"} 1\n"), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("outrigger_fake")));
    }

    #[test]
    fn a_snapshot_holds_what_the_text_says() {
        let metrics = Metrics::new();
        metrics.counter("outrigger_b_total", "B.", &["path", "code"]).with(&["a\"},\n\\b=", "200"]).add(3);
        metrics.gauge("outrigger_a", "A.", &[]).with(&[]).add(-2);
        metrics.histogram("outrigger_c_seconds", "C.", &[]).with(&[]).observe(Duration::from_millis(3));
        metrics.read("outrigger_d", "D.", || 1.5);
        let [a, b, c, d] = metrics.snapshot().try_into().unwrap();
        assert_eq!((a.name, a.help, &a.series[0].reading), ("outrigger_a", "A.", &Reading::Level(-2)));
        assert_eq!(b.series[0].reading, Reading::Count(3));
        let labels = [("path".to_owned(), "a\"},\n\\b=".to_owned()), ("code".to_owned(), "200".to_owned())];
        assert_eq!(b.series[0].labels, labels);
        let Reading::Distribution { buckets, sum } = &c.series[0].reading else { panic!("{c:?}") };
        assert_eq!((buckets.len(), buckets[6], *sum), (BUCKETS.len() + 1, 1, Duration::from_millis(3)));
        assert_eq!(d.series[0].reading, Reading::Measure(1.5));
    }

    #[test]
    fn a_family_keeps_to_its_bound() {
        let metrics = Metrics::new();
        let family = metrics.counter("outrigger_x_total", "X.", &["a", "b"]);
        let held: Vec<_> = (0..MAX_SERIES + 50)
            .map(|i| {
                let counter = family.with(&[&i.to_string(), "v"]);
                counter.inc();
                counter
            })
            .collect();
        let text = metrics.render();
        assert_eq!(text.lines().filter(|l| l.starts_with("outrigger_x_total{")).count(), MAX_SERIES + 1);
        assert!(text.contains("outrigger_x_total{a=\"other\",b=\"other\"} 50\n"));
        assert_eq!(family.with(&["3", "v"]).value(), 1, "a known series stays itself");
        drop(held);
        let late = family.with(&["late", "v"]);
        late.inc();
        assert!(metrics.render().contains("outrigger_x_total{a=\"late\",b=\"v\"} 1\n"), "room is made");
    }

    #[test]
    fn the_same_name_is_the_same_family() {
        let metrics = Metrics::new();
        metrics.counter("outrigger_x_total", "X.", &["a"]).with(&["v"]).inc();
        let again = metrics.clone().counter("outrigger_x_total", "X.", &["a"]);
        assert_eq!(again.with(&["v"]).value(), 1);
        again.remove(&["v"]);
        assert_eq!(again.with(&["v"]).value(), 0);
    }

    #[test]
    fn nothing_is_lost_when_all_threads_count() {
        let metrics = Metrics::new();
        let counter = metrics.counter("outrigger_x_total", "X.", &[]).with(&[]);
        let gauge = metrics.gauge("outrigger_y", "Y.", &[]).with(&[]);
        let histogram = metrics.histogram("outrigger_z_seconds", "Z.", &[]).with(&[]);
        std::thread::scope(|scope| {
            for i in 0..8 {
                let (counter, gauge, histogram) = (counter.clone(), gauge.clone(), histogram.clone());
                scope.spawn(move || {
                    // Two threads share each shard, so that a lost update would show.
                    crate::shard::set_index(i / 2);
                    for _ in 0..10_000 {
                        counter.inc();
                        gauge.add(if i % 2 == 0 { 1 } else { -1 });
                        histogram.observe(Duration::from_millis(1));
                    }
                });
            }
        });
        assert_eq!(counter.value(), 80_000);
        assert_eq!(gauge.value(), 0);
        assert_eq!(histogram.count(), 80_000);
        assert_eq!(histogram.sum(), Duration::from_secs(80));
    }
}
