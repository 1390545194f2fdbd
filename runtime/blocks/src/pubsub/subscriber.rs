//! Who subscribes on behalf of an application, and so in which consumer group.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::settings::{CONSUMER, DeliverySettings};

/// The application, or a function beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subscriber {
    App,
    Function(Arc<str>),
}

impl Subscriber {
    /// The consumer group: the application's; for a function that and its name, as each gets an event of its own. What a
    /// subscription of a function itself names is taken as it is.
    pub(super) fn group(
        &self,
        settings: &DeliverySettings,
        app_id: &str,
        metadata: &BTreeMap<String, String>,
    ) -> String {
        let group = settings.group(app_id);
        let named = metadata.iter().any(|(name, id)| name.eq_ignore_ascii_case(CONSUMER) && !id.is_empty());
        match self {
            Self::Function(name) if !named => format!("{group}/{name}"),
            _ => group,
        }
    }
}

impl fmt::Display for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App => f.write_str("the application"),
            Self::Function(name) => write!(f, "the function '{name}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_groups_of_their_own() {
        let check = |consumer: Option<&str>, named: Option<&str>, expected: [&str; 2]| {
            let named = named.map(|id| (CONSUMER.to_lowercase(), id.to_owned()));
            let metadata = BTreeMap::from_iter(named);
            let consumer_id = consumer.or(metadata.values().next().map(String::as_str)).map(str::to_owned);
            let settings = DeliverySettings { consumer_id, ..DeliverySettings::default() };
            let who = [Subscriber::App, Subscriber::Function("cart".into())];
            assert_eq!(who.map(|who| who.group(&settings, "shop", &metadata)), expected);
        };
        check(None, None, ["shop", "shop/cart"]);
        check(Some("billing"), None, ["billing", "billing/cart"]);
        check(None, Some("carts"), ["carts", "carts"]);
        check(None, Some(""), ["shop", "shop/cart"]);
    }
}
