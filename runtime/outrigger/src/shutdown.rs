//! How the process ends, and who may delay it: calls under way, functions' after all others, up to the
//! configured timeout. Then admin, then what is
//! left to export, then workers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    app::{App, Phase},
    listeners::Kind,
};

/// Whoever still reads metrics or health gets this long.
const ADMIN: Duration = Duration::from_secs(1);
/// For the workers' threads to end once nothing runs on them.
const WORKERS: Duration = Duration::from_secs(2);

impl App {
    /// Readiness turns to down, listeners close, calls under way finish or are cut off, workers end.
    pub async fn stop(self: Arc<Self>) {
        self.set_phase(Phase::Stopping);
        let timeout = self.snapshot().loaded.config.shutdown.timeout;
        tracing::info!(?timeout, "stopping");
        self.apps.withdraw().await;
        // Streams of events and changes end by themselves only when there is nothing more to stream.
        self.blocks.close();
        let began = Instant::now();
        let proxy = self.proxy.lock().await.take();
        let proxy = async {
            match proxy {
                Some(proxy) => proxy.drain(timeout).await,
                None => 0,
            }
        };
        let triggers = self.triggers.stop(timeout).await;
        let (api, proxy, (), ()) = tokio::join!(
            self.listeners.drain(Kind::Api, timeout),
            proxy,
            self.callbacks.drain(timeout),
            triggers
        );
        // Nobody is left who could call them but themselves.
        let functions = self.functions.drain(timeout.saturating_sub(began.elapsed())).await;
        let left = api + proxy;
        if left > 0 {
            tracing::warn!(connections = left, ?timeout, "connections are cut off: they did not end in time");
        }
        if functions > 0 {
            tracing::warn!(
                calls = functions,
                ?timeout,
                "calls of functions are cut off: they did not end in time"
            );
        }
        self.listeners.drain(Kind::Admin, ADMIN).await;
        self.telemetry.stop().await;
        let workers = Arc::clone(&self.workers);
        let stopped = tokio::task::spawn_blocking(move || workers.stop(WORKERS)).await;
        tracing::info!(clean = left == 0 && functions == 0 && stopped.unwrap_or(false), "stopped");
    }
}
