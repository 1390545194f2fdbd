//! A family: one metric name and its series, bounded in number.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::kinds::Kind;
use super::snapshot::{Series, Snapshot};
use super::text;

/// Series a family may have before further label values share one series whose labels all read `other`.
pub const MAX_SERIES: usize = 2_000;

const OTHER: &str = "other";

/// A metric and its series by label values. Cloning gives the same family.
pub struct Family<M> {
    inner: Arc<Inner<M>>,
}

struct Inner<M> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    /// Keyed by the rendered labels (`route="shop",code="200"`), which is also what a scrape writes.
    series: Mutex<BTreeMap<Box<str>, M>>,
}

impl<M> Clone for Family<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<M: Kind> Family<M> {
    pub(super) fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        debug_assert!(labels.iter().all(|label| text::is_label_name(label)), "not label names: {labels:?}");
        Self { inner: Arc::new(Inner { name, help, labels, series: Mutex::default() }) }
    }

    /// The series with these label values, in the order the labels were declared.
    ///
    /// Take it when configuration is compiled and keep it: this allocates and locks. When the family is full, series
    /// nobody holds a handle of make room; if there are none, the series labelled `other` is given.
    pub fn with(&self, values: &[&str]) -> M {
        debug_assert_eq!(values.len(), self.inner.labels.len(), "label values of {}", self.inner.name);
        let key = self.key(values);
        let mut series = self.inner.series.lock();
        if let Some(found) = series.get(&*key) {
            return found.clone();
        }
        if series.len() >= MAX_SERIES {
            series.retain(|_, metric| !metric.is_unused());
        }
        let key = if series.len() < MAX_SERIES { key } else { self.key(&[OTHER].repeat(values.len())) };
        series.entry(key).or_insert_with(M::new).clone()
    }

    /// Forgets a series; handles still held go on counting, unseen.
    pub fn remove(&self, values: &[&str]) {
        self.inner.series.lock().remove(&*self.key(values));
    }

    pub(super) fn expect_labels(self, labels: &'static [&'static str]) -> Self {
        debug_assert_eq!(self.inner.labels, labels, "labels of {}", self.inner.name);
        self
    }

    fn key(&self, values: &[&str]) -> Box<str> {
        let mut key = String::new();
        let values = values.iter().copied().chain(std::iter::repeat(""));
        for (label, value) in self.inner.labels.iter().zip(values) {
            text::label(&mut key, label, value);
        }
        key.into_boxed_str()
    }
}

pub(super) trait Render {
    fn render(&self, out: &mut String);
    fn snapshot(&self) -> Snapshot;
}

impl<M: Kind> Render for Family<M> {
    fn render(&self, out: &mut String) {
        let Inner { name, help, series, .. } = &*self.inner;
        let series = series.lock();
        if series.is_empty() {
            return;
        }
        text::header(out, name, help, M::TYPE);
        for (labels, metric) in series.iter() {
            metric.render(out, name, labels);
        }
    }
    fn snapshot(&self) -> Snapshot {
        let Inner { name, help, series, .. } = &*self.inner;
        let series = series.lock();
        let series = series.iter().map(|(labels, metric)| Series::new(labels, metric.read())).collect();
        Snapshot { name, help, series }
    }
}
