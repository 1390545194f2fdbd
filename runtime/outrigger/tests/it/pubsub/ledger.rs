//! What was acknowledged as published, against what the application has noted.

use std::{
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::app::AppProcess;

#[derive(Default)]
pub(crate) struct Ledger(Mutex<BTreeSet<usize>>);

impl Ledger {
    pub(crate) fn published(&self, number: usize) {
        self.0.lock().unwrap().insert(number);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// What was acknowledged to the publisher and never noted by the application.
    pub(crate) fn missing(&self, app: &AppProcess) -> Vec<usize> {
        let noted: BTreeSet<usize> =
            app.noted().iter().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        self.0.lock().unwrap().difference(&noted).copied().collect()
    }

    pub(crate) fn wait_until_complete(&self, app: &AppProcess) {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            let missing = self.missing(app);
            if missing.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{} events never came: {missing:?}", missing.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
