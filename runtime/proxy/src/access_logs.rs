//! The access logs that are open. Listeners that log the same way to the same place share one, and a reload keeps it.

use std::sync::Arc;
use std::time::Duration;

use outrigger_http::Problem;
use outrigger_http::access_log::{AccessLog, AccessLogConfig};
use tokio::fs::OpenOptions;
use tokio::io::AsyncWrite;
use tokio::task::JoinHandle;

use crate::compile::Proxy;
use crate::serving::Speaks;

/// How long lines may take to get to the disk at the end.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct AccessLogs {
    open: Vec<Open>,
}

struct Open {
    config: AccessLogConfig,
    log: Arc<AccessLog>,
    writer: JoinHandle<()>,
}

impl AccessLogs {
    /// Gives each listener of `proxy` its log, opening what is not open, and lets go of those nobody uses.
    ///
    /// # Errors
    /// The files that cannot be opened; nothing has changed then.
    pub(crate) async fn open(&mut self, proxy: &Proxy) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for (name, listener) in &proxy.listeners {
            let (Some(config), Speaks::Http(http)) = (&listener.config.access_log, &listener.speaks) else {
                continue;
            };
            match self.get(config).await {
                // Already set when the same configuration is applied again.
                Ok(log) => drop(http.access_log.set(log)),
                Err(problem) => problems.push(problem.within(&format!("listeners.{name}.access_log"))),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let wanted: Vec<_> = proxy.listeners.values().filter_map(|l| l.config.access_log.as_ref()).collect();
        // Requests under way hold on to theirs; its writer ends with the last of them.
        self.open.retain(|open| wanted.contains(&&open.config));
        Ok(())
    }

    async fn get(&mut self, config: &AccessLogConfig) -> Result<Arc<AccessLog>, Problem> {
        if let Some(open) = self.open.iter().find(|open| open.config == *config) {
            return Ok(Arc::clone(&open.log));
        }
        let (log, writer) = AccessLog::start(config, sink(&config.path).await?)?;
        self.open.push(Open { config: config.clone(), log: Arc::clone(&log), writer });
        Ok(log)
    }

    /// Writes out what is buffered, once no request is left that could add to it.
    pub(crate) async fn close(self) {
        for Open { log, writer, .. } in self.open {
            log.flush_all();
            drop(log);
            // Somebody who still holds the log may write on until the process ends.
            let _ = tokio::time::timeout(PATIENCE, writer).await;
        }
    }
}

async fn sink(path: &str) -> Result<Box<dyn AsyncWrite + Send + Unpin>, Problem> {
    if path == "-" {
        return Ok(Box::new(tokio::io::stdout()));
    }
    let file = OpenOptions::new().create(true).append(true).open(path).await;
    file.map(|file| Box::new(file) as _)
        .map_err(|error| Problem::new("path", format!("cannot open {path}: {error}")))
}
