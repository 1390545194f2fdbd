//! Where endpoints are found when they are not fixed.

pub(crate) mod dns;

use std::net::IpAddr;
use std::time::Instant;

use async_trait::async_trait;
use hickory_resolver::Resolver;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::net::NetError;

/// Looks names up.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `name`, and until when they may be believed.
    ///
    /// # Errors
    /// In words for the operator: no such name, no answer in time, no resolver configured.
    async fn resolve(&self, name: &str) -> Result<Found, String>;
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Never empty.
    pub addresses: Vec<IpAddr>,
    /// By the smallest TTL on the way.
    pub valid_until: Instant,
}

/// `/etc/hosts`, then the name servers of `/etc/resolv.conf`.
///
/// Both files are read at each look-up, so that a change of network or an edit takes effect; caching would
/// only repeat what the refresh interval does already.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> Result<Found, String> {
        let found = look_up(name).await.map_err(|error| error.to_string())?;
        if found.addresses.is_empty() {
            return Err(format!("'{name}' has no addresses"));
        }
        Ok(found)
    }
}

async fn look_up(name: &str) -> Result<Found, NetError> {
    let mut builder = Resolver::builder_tokio()?;
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Always;
    let answer = builder.build()?.lookup_ip(name).await?;
    Ok(Found { addresses: answer.iter().collect(), valid_until: answer.valid_until() })
}
