//! Ends the process when one input takes too long, and saves that input first.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The input under way and when it started; none between two.
type Current = Mutex<Option<(Instant, Vec<u8>)>>;

/// Watches one input at a time.
pub(crate) struct Watchdog {
    current: Arc<Current>,
}

impl Watchdog {
    pub(crate) fn start(file: PathBuf, limit: Duration) -> Self {
        let current = Arc::<Current>::default();
        let watched = Arc::clone(&current);
        // Not joined: it ends with the process.
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(limit / 10);
                let guard = watched.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((start, input)) = guard.as_ref()
                    && start.elapsed() > limit
                {
                    if let Err(error) = crate::report(&file, input, "hang") {
                        eprintln!("error: {error:#}");
                    }
                    std::process::exit(1);
                }
            }
        });
        Self { current }
    }

    pub(crate) fn watch<T>(&self, input: &[u8], run: impl FnOnce() -> T) -> T {
        *self.lock() = Some((Instant::now(), input.to_vec()));
        let result = run();
        *self.lock() = None;
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Vec<u8>)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
