//! Registries: where applications are that are beside sidecars of other hosts. Invoke asks them; no front door does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{
    Announcement, AppRegistry, Built, ComponentSpec, Error, ErrorKind, Result, Settings, parse_settings,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::guard::{Call, Class, Meter, Op, Policy};
use crate::slot::{Readiness, Slot, SlotConfig};
use crate::stores::Member;

/// What is kept for one registry.
pub struct RegistryComponent {
    slot: Slot<dyn AppRegistry>,
    settings: RegistrySettings,
    find: Op,
    announce: Op,
}

/// What a sidecar says of itself, whatever the registry.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct RegistrySettings {
    advertise: Option<Advertised>,
    #[serde(with = "humantime_serde")]
    ttl: Duration,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { advertise: None, ttl: Duration::from_secs(10) }
    }
}

const NAMES: [(&str, &str); 2] = [
    (
        "advertise",
        "The address at which other hosts reach this sidecar's API, with or without a port. Default: the listener's.",
    ),
    ("ttl", "How long a sidecar that is gone without a word is still found. Default: 10s."),
];
/// What a registry may count in.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Where others reach us.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
enum Advertised {
    Host(IpAddr),
    Socket(SocketAddr),
}

impl TryFrom<String> for Advertised {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let host = || text.parse().map(Self::Host);
        let wrong = |_| format!("'{text}' is no address such as 10.0.0.7 or 10.0.0.7:34904");
        text.parse().map(Self::Socket).or_else(|_| host()).map_err(wrong)
    }
}

impl RegistrySettings {
    /// Takes the settings out of a component's, whose backend would not know them.
    fn take(spec: &mut ComponentSpec) -> Result<Self> {
        let taken = NAMES.into_iter().filter_map(|(name, _)| Some((name.to_owned(), spec.take(name)?)));
        let settings: Self = parse_settings(taken.collect::<Settings>())?;
        if !(SHORTEST..=LONGEST).contains(&settings.ttl) {
            return Err(Error::invalid("ttl is from one second to one day").with("setting", "ttl"));
        }
        Ok(settings)
    }

    /// Where others reach an API that listens here. One that listens everywhere is reached where packets to others
    /// leave from.
    fn reachable(&self, listener: SocketAddr) -> Result<SocketAddr> {
        match self.advertise {
            Some(Advertised::Socket(socket)) => Ok(socket),
            Some(Advertised::Host(host)) => Ok((host, listener.port()).into()),
            None if listener.ip().is_unspecified() => Ok((own_address()?, listener.port()).into()),
            None => Ok(listener),
        }
    }
}

/// The address from which this host would send to others. Nothing is sent to find out.
fn own_address() -> Result<IpAddr> {
    /// Kept for documentation: nobody has it, and it is behind the default route.
    const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let ask = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(ELSEWHERE)?;
        Ok(socket.local_addr()?.ip())
    };
    ask().map_err(|error| {
        let message = "this host has no address that others could reach: set advertise";
        Error::new(ErrorKind::FailedPrecondition, message).with_source(error)
    })
}

impl RegistryComponent {
    /// Name and JSON schema of each of the block's settings.
    pub(crate) fn settings() -> Vec<(&'static str, Value)> {
        NAMES.map(|(name, about)| (name, json!({"type": "string", "description": about}))).into()
    }

    /// Takes the block's settings out and checks them.
    pub(crate) fn check_settings(spec: &mut ComponentSpec) -> Result<()> {
        RegistrySettings::take(spec).map(drop)
    }

    /// The addresses of an application's sidecars. That one is not known says nothing about the others, so the breaker
    /// does not hear of it.
    pub async fn find(&self, caller: &Caller<'_>, app: &str) -> Result<Vec<String>> {
        let call = Call { op: &self.find, class: Class::Idempotent, caller };
        self.slot.run(call, |registry| async move { Ok(registry.find(app).await) }).await?
    }

    /// Says that the API beside an application listens here; where it is reached, if that could be said.
    pub async fn announce(&self, app: &str, listener: SocketAddr) -> Result<SocketAddr> {
        let address = self.settings.reachable(listener)?;
        let announcement =
            &Announcement { app: app.to_owned(), address: address.to_string(), ttl: self.settings.ttl };
        let caller = &Caller::new(app);
        let call = Call { op: &self.announce, class: Class::Idempotent, caller };
        let announce =
            |registry: Arc<dyn AppRegistry>| async move { registry.announce(announcement.clone()).await };
        self.slot.run(call, announce).await?;
        Ok(address)
    }

    /// Takes back what was said. A registry that is not ready was told nothing.
    pub async fn withdraw(&self) -> Result<()> {
        match &*self.slot.readiness() {
            Readiness::Ready(registry) => registry.withdraw().await,
            Readiness::Starting | Readiness::NotReady { .. } => Ok(()),
        }
    }
}

impl Member for RegistryComponent {
    type Block = dyn AppRegistry;
    const BLOCK: &'static str = "registry";
    const NOUN: &'static str = "registry";
    const FIELD: &'static str = "name";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let settings = RegistrySettings::take(spec)?;
        let op = |name| meter.op(Self::BLOCK, &spec.name, name);
        let (find, announce) = (op("find"), op("announce"));
        Ok(Self { slot: Slot::new(SlotConfig::of(spec, policy)), settings, find, announce })
    }

    fn slot(&self) -> &Slot<dyn AppRegistry> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn AppRegistry>> {
        if let Built::AppRegistry(registry) = built { Some(registry) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(settings: Value) -> Result<RegistrySettings> {
        let settings = settings.as_object().expect("an object").clone();
        RegistrySettings::take(&mut ComponentSpec { settings, ..ComponentSpec::default() })
    }

    #[test]
    fn others_reach_us_where_we_say_or_listen() {
        let check = |settings: Value, listener: &str, expected: &str| {
            let settings = take(settings).expect("reads");
            let reached = settings.reachable(listener.parse().expect("an address")).expect("somewhere");
            assert_eq!(reached.to_string(), expected);
        };
        check(json!({}), "127.0.0.1:34904", "127.0.0.1:34904");
        check(json!({"advertise": "10.0.0.7"}), "0.0.0.0:34904", "10.0.0.7:34904");
        check(json!({"advertise": "10.0.0.7:1"}), "0.0.0.0:34904", "10.0.0.7:1");
        check(json!({"advertise": "[fd00::7]:1"}), "[::]:34904", "[fd00::7]:1");
        check(json!({"advertise": "fd00::7"}), "[::]:34904", "[fd00::7]:34904");
        match take(json!({})).expect("reads").reachable("0.0.0.0:7".parse().expect("an address")) {
            Ok(reached) => assert!(reached.port() == 7 && !reached.ip().is_unspecified(), "{reached}"),
            Err(error) => assert!(error.message().contains("set advertise"), "{error}"),
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        assert_eq!(take(json!({"ttl": "2s"})).expect("reads").ttl, Duration::from_secs(2));
        for (settings, name) in [
            (json!({"ttl": "0s"}), "setting=ttl"),
            (json!({"ttl": "2d"}), "setting=ttl"),
            (json!({"advertise": "me.example.org"}), "setting=advertise"),
        ] {
            let error = take(settings).expect_err("refused");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
