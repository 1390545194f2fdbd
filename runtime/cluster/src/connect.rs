//! One connection for L4: pick, connect, and on failure the next endpoint.

use std::sync::Arc;

use outrigger_net::{Address, Stream};
use outrigger_resilience::Deadline;

use crate::cluster::{Cluster, now};
use crate::config::Location;
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, SendError, SendErrorKind};
use crate::gate::Verdict;
use crate::judge::verdict_of_error;
use crate::pick::Tried;
use crate::trial::Trial;
use crate::usage::{InFlight, Load};

/// Endpoints one connection is tried on.
const ENDPOINTS: usize = 3;

/// A connection to an endpoint. Keep the guard for as long as the connection: it is what least-request
/// balancing and the cluster's limits count.
#[derive(Debug)]
pub struct Connected {
    /// Ready to use, TLS handshake included.
    pub stream: Stream,
    /// The endpoint at its other end.
    pub endpoint: Arc<Endpoint>,
    /// Counts the connection.
    pub guard: InFlight,
}

impl Cluster {
    /// Connects to an endpoint. Nothing has been sent yet when a connect fails, so up to three endpoints are
    /// tried, each within `connect_timeout` and all before `deadline`. Endpoints that would lead `back` to where the
    /// bytes come from are passed over.
    ///
    /// # Errors
    /// The last failure, with the endpoint it happened on.
    pub async fn connect(
        &self,
        deadline: Deadline,
        back: impl Fn(&Address) -> bool,
    ) -> Result<Connected, ConnectError> {
        let permit = self.admit(now())?;
        if !self.is_resolved() {
            self.wait_resolved(deadline).await?;
        }
        let result = self.connect_somewhere(deadline, back).await;
        self.settle(permit, result.as_ref().map(|_| None).map_err(|error| error.kind));
        result
    }

    async fn connect_somewhere(
        &self,
        deadline: Deadline,
        back: impl Fn(&Address) -> bool,
    ) -> Result<Connected, ConnectError> {
        let (mut tried, mut failed) = (Tried::new(), None);
        while tried.len() < ENDPOINTS {
            let mut trial = match self.pick(None, &tried, None, now()) {
                Ok(picked) if !picked.again => Trial::new(self, picked),
                Ok(_) => break,
                Err(kind) => return Err(failed.unwrap_or_else(|| SendError::new(kind))),
            };
            let passed_over = match trial.endpoint.location() {
                Location::Address(address) => back(address).then_some(SendErrorKind::Loop),
                Location::Function(_) => Some(SendErrorKind::NoConnection),
            };
            if let Some(kind) = passed_over {
                failed = Some(SendError::new(kind).at(trial.endpoint.location()));
                tried.push(Arc::clone(&trial.endpoint));
                continue;
            }
            if failed.is_some() {
                self.metrics.retries.inc();
            }
            let guard = InFlight::new(self.enter()?, Load::on(&trial.endpoint));
            let result = self.dial(&trial.endpoint, deadline).await;
            let verdict =
                result.as_ref().map_or_else(|error| verdict_of_error(error.kind), |_| Some(Verdict::Success));
            if let Some(verdict) = verdict {
                trial.judge(verdict, now());
            }
            let endpoint = Arc::clone(&trial.endpoint);
            match result {
                Ok(stream) => return Ok(Connected { stream, endpoint, guard }),
                Err(error) if error.kind.attempt().is_none() => return Err(error),
                Err(error) => failed = Some(error),
            }
            tried.push(endpoint);
        }
        Err(failed.unwrap_or_else(|| SendError::new(SendErrorKind::Unhealthy)))
    }

    /// Connects to `endpoint`, counted.
    pub(crate) async fn dial(&self, endpoint: &Endpoint, deadline: Deadline) -> Result<Stream, SendError> {
        let Location::Address(address) = endpoint.location() else {
            return Err(SendError::new(SendErrorKind::NoConnection).at(endpoint.location()));
        };
        let connecting = self.dialer.connect(address);
        let result = match deadline.remaining(now()) {
            None => connecting.await,
            Some(left) => tokio::time::timeout(left, connecting)
                .await
                .unwrap_or_else(|_| Err(SendError::new(SendErrorKind::Timeout))),
        };
        let result = result.map_err(|error| error.at(endpoint.location()));
        match &result {
            Ok(_) => self.metrics.opened.inc(),
            Err(_) => self.metrics.connect_failures.inc(),
        }
        result
    }
}
