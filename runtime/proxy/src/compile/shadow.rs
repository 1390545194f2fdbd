//! Routes that can never be chosen because another one matches exactly the same requests.

use std::collections::{BTreeMap, HashMap};

use outrigger_http::Problem;

use super::CompiledRoute;
use crate::route::Entry;

/// Every entry that repeats the matching of an earlier one on the same listener.
pub(super) fn problems(routes: &[CompiledRoute]) -> Vec<Problem> {
    let mut seen: HashMap<String, Vec<&CompiledRoute>> = HashMap::new();
    let mut found = BTreeMap::new();
    for route in routes {
        for entry in &route.entries {
            let same = seen.entry(matching(entry)).or_default();
            if let Some(earlier) = same.iter().find(|earlier| share_a_listener(earlier, route)) {
                found.entry(&route.name).or_insert_with(|| describe(route, earlier, entry));
            }
            same.push(route);
        }
    }
    found.into_iter().map(|(name, message)| Problem::new(format!("routes.{name}.match"), message)).collect()
}

fn share_a_listener(a: &CompiledRoute, b: &CompiledRoute) -> bool {
    a.listeners.is_empty()
        || b.listeners.is_empty()
        || a.listeners.iter().any(|name| b.listeners.contains(name))
}

fn describe(route: &CompiledRoute, earlier: &CompiledRoute, entry: &Entry) -> String {
    let what = format!("host {} with {}", entry.host, entry.path);
    match route.name == earlier.name {
        true => format!("{what} is there twice"),
        false => {
            format!(
                "route `{}` matches the same requests ({what}), so this one would never be chosen",
                earlier.name
            )
        }
    }
}

/// Equal text, equal requests.
fn matching(entry: &Entry) -> String {
    format!("{}\n{}\n{:?}", entry.host, entry.path, entry.conditions)
}
