//! Registries: where applications are that are beside sidecars of other hosts. Invoke asks them; no front door does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
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
    present_token: bool,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { advertise: None, ttl: Duration::from_secs(10), present_token: false }
    }
}

const NAMES: [(&str, &str, &str); 3] = [
    (
        "advertise",
        "string",
        "The address at which other hosts reach this sidecar's API, with or without a port. Needed where the API listens \
         on this host alone, as by default. Default: the listener's.",
    ),
    ("ttl", "string", "How long a sidecar that is gone without a word is still found. Default: 10s."),
    (
        "presentToken",
        "boolean",
        "Whether sidecars found here are shown our API token, for a group that shares one. It goes as plain text to \
         whatever address is written in the registry: let nobody else write there. Default: `false`.",
    ),
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
        let taken = NAMES.into_iter().filter_map(|(name, ..)| Some((name.to_owned(), spec.take(name)?)));
        let settings: Self = parse_settings(taken.collect::<Settings>())?;
        if !(SHORTEST..=LONGEST).contains(&settings.ttl) {
            return Err(Error::invalid("ttl is from one second to one day").with("setting", "ttl"));
        }
        Ok(settings)
    }

    /// Where others reach an API that listens on these: on the first that others reach at all, unless we are told.
    fn reachable(&self, listeners: &[SocketAddr]) -> Result<SocketAddr> {
        let open = || listeners.iter().filter(|listener| !listener.ip().to_canonical().is_loopback());
        match self.advertise {
            Some(Advertised::Socket(socket)) => return Ok(socket),
            Some(Advertised::Host(host)) => {
                let listener = open().chain(listeners).next().ok_or_else(enclosed)?;
                return Ok((host, listener.port()).into());
            }
            None => {}
        }
        let mut reached = Err(enclosed());
        for listener in open() {
            reached = seen_from_outside(*listener);
            if reached.is_ok() {
                break;
            }
        }
        reached
    }

    /// Whether where others reach us depends on what the system says now.
    fn may_move(&self, listeners: &[SocketAddr]) -> bool {
        self.advertise.is_none() && listeners.iter().any(|listener| listener.ip().is_unspecified())
    }
}

fn enclosed() -> Error {
    let message =
        "the API listens on this host alone: set advertise, or listen on an address that other hosts reach";
    Error::new(ErrorKind::FailedPrecondition, message)
}

/// A listener as others see it. One that listens everywhere is reached where packets to others leave from.
fn seen_from_outside(listener: SocketAddr) -> Result<SocketAddr> {
    if !listener.ip().is_unspecified() {
        return Ok(listener);
    }
    // A network that is not there yet may come.
    let none =
        |error| Error::unavailable("this host has no address that others could reach").with_source(error);
    Ok((own_address(listener.is_ipv6()).map_err(none)?, listener.port()).into())
}

/// The address from which this host would send to others. Nothing is sent to find out.
fn own_address(v6: bool) -> std::io::Result<IpAddr> {
    /// Kept for documentation: nobody has them, and they are behind the default route.
    const ELSEWHERE: (Ipv4Addr, Ipv6Addr) =
        (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    let (from, to): (IpAddr, IpAddr) = match v6 {
        false => (Ipv4Addr::UNSPECIFIED.into(), ELSEWHERE.0.into()),
        true => (Ipv6Addr::UNSPECIFIED.into(), ELSEWHERE.1.into()),
    };
    let socket = UdpSocket::bind((from, 0))?;
    socket.connect((to, 9))?;
    Ok(socket.local_addr()?.ip())
}

impl RegistryComponent {
    /// Name and JSON schema of each of the block's settings.
    pub(crate) fn settings() -> Vec<(&'static str, Value)> {
        NAMES.map(|(name, kind, about)| (name, json!({"type": kind, "description": about}))).into()
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

    /// Whether those found here are shown our token.
    pub fn presents_token(&self) -> bool {
        self.settings.present_token
    }

    /// Whether an announcement of these listeners is to be made again from time to time.
    pub fn may_move(&self, listeners: &[SocketAddr]) -> bool {
        self.settings.may_move(listeners)
    }

    /// Says that the API beside an application listens here; where it is reached, if that could be said. An API that no
    /// other host reaches is not announced, and what was said before is to be taken back.
    pub async fn announce(&self, app: &str, listeners: &[SocketAddr]) -> Result<SocketAddr> {
        let address = self.settings.reachable(listeners)?;
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
        let ask = |settings: Value, listeners: &[&str]| {
            let listeners: Vec<_> = listeners.iter().map(|it| it.parse().expect("an address")).collect();
            take(settings).expect("reads").reachable(&listeners)
        };
        let check = |settings: Value, listeners: &[&str], expected: &str| {
            assert_eq!(ask(settings, listeners).expect("somewhere").to_string(), expected);
        };
        check(json!({}), &["127.0.0.1:1", "10.0.0.7:34904"], "10.0.0.7:34904");
        check(json!({"advertise": "10.0.0.7"}), &["0.0.0.0:34904"], "10.0.0.7:34904");
        check(json!({"advertise": "10.0.0.7"}), &["127.0.0.1:1", "10.0.0.8:2"], "10.0.0.7:2");
        check(json!({"advertise": "127.0.0.1"}), &["127.0.0.1:34904"], "127.0.0.1:34904");
        check(json!({"advertise": "10.0.0.7:1"}), &["0.0.0.0:34904"], "10.0.0.7:1");
        check(json!({"advertise": "10.0.0.7:1"}), &[], "10.0.0.7:1");
        check(json!({"advertise": "[fd00::7]:1"}), &["[::]:34904"], "[fd00::7]:1");
        check(json!({"advertise": "fd00::7"}), &["[::]:34904"], "[fd00::7]:34904");
        for enclosed in [&[][..], &["127.0.0.1:34904"], &["127.1.2.3:1", "[::1]:34904"]] {
            let error = ask(json!({}), enclosed).expect_err("nobody else reaches it");
            assert!(error.message().contains("set advertise") && !error.is_retryable(), "{error}");
        }
        for (everywhere, is_v6) in [("0.0.0.0:7", false), ("[::]:7", true)] {
            match ask(json!({}), &[everywhere]) {
                Ok(reached) => assert!(reached.port() == 7 && reached.is_ipv6() == is_v6, "{reached}"),
                Err(error) => assert!(error.is_retryable(), "a network may come: {error}"),
            }
        }
    }

    #[test]
    fn an_address_the_system_chose_may_be_another_one_later() {
        let check = |settings: Value, listener: &str, expected: bool| {
            let listener = listener.parse().expect("an address");
            assert_eq!(take(settings).expect("reads").may_move(&[listener]), expected, "{listener}");
        };
        check(json!({}), "0.0.0.0:1", true);
        check(json!({}), "[::]:1", true);
        check(json!({}), "10.0.0.7:1", false);
        check(json!({"advertise": "10.0.0.7"}), "0.0.0.0:1", false);
    }

    #[test]
    fn wrong_settings_are_named() {
        assert_eq!(take(json!({"ttl": "2s"})).expect("reads").ttl, Duration::from_secs(2));
        assert!(!take(json!({})).expect("reads").present_token);
        assert!(take(json!({"presentToken": "true"})).expect("reads").present_token);
        for (settings, name) in [
            (json!({"ttl": "0s"}), "setting=ttl"),
            (json!({"ttl": "2d"}), "setting=ttl"),
            (json!({"advertise": "me.example.org"}), "setting=advertise"),
            (json!({"presentToken": "perhaps"}), "setting=presentToken"),
        ] {
            let error = take(settings).expect_err("refused");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
