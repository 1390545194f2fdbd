//! What a function may use: whether something is granted, and whether what is granted exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use outrigger_component_api::{Error, ErrorKind, Result, nearest};

use super::Grants;
use crate::Blocks;
use crate::invoke::{is_ambiguous, matches};
use crate::stores::{Member, Stores, join};

/// A section of the grants: what is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    State,
    Pubsub,
    Configuration,
    Lock,
    Sequencer,
    Secrets,
    Invoke,
    Bindings,
    Http,
}

impl Section {
    pub const ALL: [Self; 9] = [
        Self::State,
        Self::Pubsub,
        Self::Configuration,
        Self::Lock,
        Self::Sequencer,
        Self::Secrets,
        Self::Invoke,
        Self::Bindings,
        Self::Http,
    ];

    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Pubsub => "pubsub",
            Self::Configuration => "configuration",
            Self::Lock => "lock",
            Self::Sequencer => "sequencer",
            Self::Secrets => "secrets",
            Self::Invoke => "invoke",
            Self::Bindings => "bindings",
            Self::Http => "http",
        }
    }

    /// What its names stand for.
    const fn noun(self) -> &'static str {
        match self {
            Self::State => "state store",
            Self::Pubsub => "pub/sub component",
            Self::Configuration => "configuration store",
            Self::Lock => "lock store",
            Self::Sequencer => "sequencer",
            Self::Secrets => "secret store",
            Self::Invoke => "app or function",
            Self::Bindings => "output binding",
            Self::Http => "cluster",
        }
    }

    /// Whether a grant may be of a part only: `NAME/PART`.
    const fn has_parts(self) -> bool {
        matches!(self, Self::Pubsub | Self::Secrets | Self::Invoke)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grants.{}", self.as_str())
    }
}

/// A grant that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantProblem {
    /// Where it stands: `grants.state[0]`.
    pub path: String,
    pub message: String,
}

/// The names grants can give, and those of what brings events. What is left out is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    sections: BTreeMap<Section, BTreeSet<String>>,
    /// Input bindings.
    inputs: Option<BTreeSet<String>>,
}

impl Known {
    /// These names, too.
    #[must_use]
    pub fn with(mut self, section: Section, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.sections.entry(section).or_default().extend(names.into_iter().map(Into::into));
        self
    }

    /// These input bindings, too.
    #[must_use]
    pub fn with_inputs(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.inputs.get_or_insert_default().extend(names.into_iter().map(Into::into));
        self
    }

    /// What is wrong with a name of this section, if it is not there.
    pub(super) fn absent(&self, section: Section, name: &str) -> Option<String> {
        absent(section.noun(), name, self.sections.get(&section)?)
    }

    /// The same of an input binding.
    pub(super) fn absent_input(&self, name: &str) -> Option<String> {
        absent("input binding", name, self.inputs.as_ref()?)
    }

    /// The components there are. Applications and clusters are not among them.
    pub fn of(blocks: &Blocks) -> Self {
        Self::default()
            .with(Section::State, names(&blocks.state.stores))
            .with(Section::Pubsub, names(&blocks.pubsub.brokers))
            .with(Section::Configuration, names(&blocks.configuration.stores))
            .with(Section::Lock, names(&blocks.lock.stores))
            .with(Section::Sequencer, names(&blocks.sequencer.stores))
            .with(Section::Secrets, names(&blocks.secrets.stores))
            .with(Section::Bindings, names(&blocks.bindings.outputs))
            .with_inputs(names(&blocks.bindings.inputs))
    }
}

fn names<M: Member>(stores: &Stores<M>) -> Vec<String> {
    stores.all().iter().map(|member| member.slot().name().to_owned()).collect()
}

impl Grants {
    /// The grants of a section, as written.
    pub fn section(&self, section: Section) -> &[String] {
        match section {
            Section::State => &self.state,
            Section::Pubsub => &self.pubsub,
            Section::Configuration => &self.configuration,
            Section::Lock => &self.lock,
            Section::Sequencer => &self.sequencer,
            Section::Secrets => &self.secrets,
            Section::Invoke => &self.invoke,
            Section::Bindings => &self.bindings,
            Section::Http => &self.http,
        }
    }

    /// What importing an interface takes: a grant in its section, whichever.
    ///
    /// # Errors
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) naming the import and the section.
    pub fn import(&self, section: Section, import: &str) -> Result<()> {
        if !self.section(section).is_empty() {
            return Ok(());
        }
        let message = format!("it imports {import}, which needs `{section}`");
        Err(Error::new(ErrorKind::PermissionDenied, message))
    }

    /// Whether a component, or a cluster, may be used.
    ///
    /// # Errors
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) naming the grant.
    pub fn check(&self, section: Section, name: &str) -> Result<()> {
        self.decide(section, name, None)
    }

    /// Whether a topic, a secret or a path may be. Of a path the query does not count, nor does the slash in front; one
    /// that could be read two ways is granted only with everything its owner has.
    ///
    /// # Errors
    /// As for `check`.
    pub fn check_part(&self, section: Section, name: &str, part: &str) -> Result<()> {
        let part = if section == Section::Invoke { path(part) } else { part };
        self.decide(section, name, Some(part))
    }

    fn decide(&self, section: Section, name: &str, part: Option<&str>) -> Result<()> {
        let granted = |grant: &String| match grant.split_once('/') {
            _ if grant == "*" => true,
            Some((owner, pattern)) if section.has_parts() => {
                owner == name && part.is_some_and(|part| covers(section, pattern, part))
            }
            _ => grant == name,
        };
        if self.section(section).iter().any(granted) {
            return Ok(());
        }
        let wanted = part.map_or_else(|| name.to_owned(), |part| format!("{name}/{part}"));
        Err(Error::new(ErrorKind::PermissionDenied, format!("{section} does not name '{wanted}'")))
    }

    /// Every grant that is malformed, or of something that is not there.
    pub fn problems(&self, known: &Known) -> Vec<GrantProblem> {
        let of_section = |section: Section| {
            let problem = move |(at, grant): (usize, &String)| {
                let message = problem(section, grant, known)?;
                Some(GrantProblem { path: format!("{section}[{at}]"), message })
            };
            self.section(section).iter().enumerate().filter_map(problem)
        };
        Section::ALL.into_iter().flat_map(of_section).collect()
    }
}

fn covers(section: Section, pattern: &str, part: &str) -> bool {
    matches(pattern, part) && !(section == Section::Invoke && is_ambiguous(part))
}

fn path(method: &str) -> &str {
    let path = method.split_once('?').map_or(method, |(path, _)| path);
    path.strip_prefix('/').unwrap_or(path)
}

fn problem(section: Section, grant: &str, known: &Known) -> Option<String> {
    let noun = section.noun();
    let (name, part) = match grant.split_once('/') {
        Some((name, part)) if section.has_parts() => (name, Some(part)),
        _ => (grant, None),
    };
    match (name, part) {
        ("*", None) => None,
        ("*", Some(_)) => Some(format!("'{grant}' is not possible: '*' alone is every {noun}")),
        ("", _) => Some(format!("'{grant}' names no {noun}")),
        (_, Some("")) => Some(format!("'{grant}' ends in a slash; '{name}' alone is all of its")),
        _ => known.absent(section, name),
    }
}

fn absent(noun: &str, name: &str, known: &BTreeSet<String>) -> Option<String> {
    if known.contains(name) {
        return None;
    }
    let names = || known.iter().map(String::as_str);
    Some(match nearest(name, names()) {
        Some(near) => format!("{noun} '{name}' is not configured; did you mean '{near}'?"),
        None if known.is_empty() => format!("{noun} '{name}' is not configured; there is none"),
        None => format!("{noun} '{name}' is not configured; there are: {}", join(names())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(section: Section, list: &[&str]) -> Grants {
        let list: Vec<_> = list.iter().map(|grant| (*grant).to_owned()).collect();
        let written = serde_json::json!({ section.as_str(): list });
        serde_json::from_value(written).expect("the name of a section")
    }

    #[test]
    fn a_name_is_granted_or_all_of_them() {
        for section in Section::ALL {
            let check = |list: &[&str], name: &str, expected: bool| {
                let granted = grants(section, list).check(section, name);
                assert_eq!(granted.is_ok(), expected, "{section} {list:?} {name}");
                if let Err(error) = granted {
                    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                    assert_eq!(error.message(), format!("{section} does not name '{name}'"));
                }
            };
            check(&["cart"], "cart", true);
            check(&["orders", "cart"], "cart", true);
            check(&["*"], "cart", true);
            check(&[], "cart", false);
            check(&["cart"], "Cart", false);
            check(&["cart"], "carts", false);
            check(&["carts"], "cart", false);
            check(&["cart"], "", false);
            check(&["cart"], "*", false);
            // Only a whole grant may be a star where names have no parts.
            check(&["ca*"], "cart", false);
            for other in Section::ALL.into_iter().filter(|other| *other != section) {
                assert!(
                    grants(other, &["cart", "*"]).check(section, "cart").is_err(),
                    "{other} for {section}"
                );
            }
        }
    }

    #[test]
    fn a_part_is_granted_by_itself_with_its_owner_or_by_its_beginning() {
        for section in [Section::Pubsub, Section::Secrets, Section::Invoke] {
            let check = |list: &[&str], name: &str, part: &str, expected: bool| {
                let granted = grants(section, list).check_part(section, name, part);
                assert_eq!(granted.is_ok(), expected, "{section} {list:?} {name}/{part}");
            };
            check(&["vault/db"], "vault", "db", true);
            check(&["vault"], "vault", "db", true);
            check(&["vault/*"], "vault", "db", true);
            check(&["vault/d*"], "vault", "db", true);
            check(&["vault/x/*"], "vault", "x/y", true);
            check(&["*"], "vault", "db", true);
            check(&["vault/d*"], "vault", "b", false);
            check(&["vault/db"], "vault", "db2", false);
            check(&["vault/db"], "vault", "d", false);
            check(&["vault/db"], "vault2", "db", false);
            check(&["vault/db"], "vaul", "t/db", false);
            check(&["other/*"], "vault", "db", false);
            check(&[], "vault", "db", false);
            assert!(
                grants(section, &["vault/db"]).check(section, "vault").is_err(),
                "a part is not the whole"
            );
        }
        let error = Grants::default().check_part(Section::Secrets, "vault", "db").unwrap_err();
        assert_eq!(error.message(), "grants.secrets does not name 'vault/db'");
    }

    #[test]
    fn a_path_is_what_the_other_side_reads() {
        let check = |grant: &str, method: &str, expected: bool| {
            let granted = grants(Section::Invoke, &[grant]).check_part(Section::Invoke, "stock", method);
            assert_eq!(granted.is_ok(), expected, "{grant} {method}");
        };
        check("stock/reserve", "reserve", true);
        check("stock/reserve", "/reserve", true);
        check("stock/reserve", "reserve?item=7", true);
        check("stock/reserve", "reserve/7", false);
        check("stock/reserve", "release?x=reserve", false);
        check("stock/items/*", "items/7?full=1", true);
        check("stock/items/*", "items", false);
        for way_out in ["items/../admin", "items/%2e%2e/admin", "items//admin", "items\\..\\admin"] {
            check("stock/items/*", way_out, false);
            check("stock", way_out, true);
        }
    }

    #[test]
    fn an_import_needs_a_grant_of_its_section() {
        for section in Section::ALL {
            assert!(grants(section, &["x"]).import(section, "outrigger:functions/x").is_ok());
            let error = Grants::default().import(section, "outrigger:functions/x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            let expected =
                format!("it imports outrigger:functions/x, which needs `grants.{}`", section.as_str());
            assert_eq!(error.message(), expected);
        }
    }

    #[test]
    fn a_grant_of_something_that_is_not_there_is_told_with_what_is() {
        let known =
            Known::default().with(Section::State, ["cart", "orders"]).with(Section::Secrets, ["vault"]);
        let check = |section, grant: &str, expected: Option<&str>| {
            let problems = grants(section, &["*", grant]).problems(&known);
            let told: Vec<_> = problems.iter().map(|it| (it.path.as_str(), it.message.as_str())).collect();
            let path = format!("{section}[1]");
            assert_eq!(
                told,
                expected.map(|message| (path.as_str(), message)).into_iter().collect::<Vec<_>>()
            );
        };
        check(Section::State, "cart", None);
        check(Section::State, "crat", Some("state store 'crat' is not configured; did you mean 'cart'?"));
        let elsewhere = "state store 'elsewhere' is not configured; there are: cart, orders";
        check(Section::State, "elsewhere", Some(elsewhere));
        check(
            Section::State,
            "cart/key",
            Some("state store 'cart/key' is not configured; there are: cart, orders"),
        );
        check(Section::State, "", Some("'' names no state store"));
        check(Section::Secrets, "vault/db", None);
        check(
            Section::Secrets,
            "valt/db",
            Some("secret store 'valt' is not configured; did you mean 'vault'?"),
        );
        check(Section::Secrets, "/db", Some("'/db' names no secret store"));
        check(Section::Secrets, "vault/", Some("'vault/' ends in a slash; 'vault' alone is all of its"));
        check(Section::Secrets, "*/db", Some("'*/db' is not possible: '*' alone is every secret store"));
        let none = Known::default().with(Section::Lock, Vec::<String>::new());
        let told = &grants(Section::Lock, &["x"]).problems(&none)[0];
        assert_eq!(told.message, "lock store 'x' is not configured; there is none");
        // Which applications there are shows only later.
        check(Section::Invoke, "anybody/path", None);
        check(Section::Invoke, "/path", Some("'/path' names no app or function"));
    }

    #[test]
    fn what_is_configured_is_known() {
        let blocks = Blocks::new("app", &outrigger_telemetry::Metrics::new());
        let known = Known::of(&blocks);
        for section in Section::ALL {
            let checked = !matches!(section, Section::Invoke | Section::Http);
            assert_eq!(grants(section, &["x"]).problems(&known).len(), usize::from(checked), "{section}");
        }
    }
}
