//! What a function is told: an entry of the section, or a text of its own.

use std::path::Path;

use outrigger_blocks::{
    Error, Result,
    function::{FunctionConfig, GrantProblem, Known, check_name},
};

use crate::{
    config::{
        Config, Problem,
        node::{Node, Origin},
        read, span,
    },
    function_triggers,
};

/// What is wrong with the section by itself, as paths and messages.
pub fn check(config: &Config) -> Vec<(String, String)> {
    if !cfg!(feature = "wasm") && !config.functions.is_empty() {
        let message = "this program was built without the `wasm` feature".to_owned();
        return vec![("functions".to_owned(), message)];
    }
    let mut problems = Vec::new();
    for (name, function) in &config.functions {
        if let Err(error) = check_name(name) {
            problems.push((format!("functions.{name}"), error.message().to_owned()));
        }
        let found = function.problems().into_iter().chain(function.source_problems());
        problems.extend(found.map(|(path, message)| (within(name, &path), message)));
    }
    problems
}

/// A path inside a function's entry, as a path in the configuration.
pub(super) fn within(name: &str, path: &str) -> String {
    if path.is_empty() { format!("functions.{name}") } else { format!("functions.{name}.{path}") }
}

/// Reads a text with the settings of a function: YAML, or JSON. What it is granted, and what calls it, has to be `known`.
pub(super) fn read(label: &Path, text: &str, env: span::Env<'_>, known: &Known) -> Result<FunctionConfig> {
    let tree = span::parse(label, text, env).map_err(|problems| told(&problems))?;
    let (config, mut problems) = read::read::<FunctionConfig>(&tree, &[]);
    let mut report = |path: &str, message: String| problems.push(problem(label, &tree, path, message));
    if let Some(config) = &config {
        let found = config.problems().into_iter().chain(function_triggers::problems(config));
        found.for_each(|(path, message)| report(&path, message));
        unknown(config, known).for_each(|(path, message)| report(&path, message));
        for (path, given) in [("file", config.file.is_some()), ("url", config.url.is_some())] {
            if given {
                report(path, "is for the section `functions`: the module is brought along here".to_owned());
            }
        }
    }
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(told(&problems)),
    }
}

fn unknown(config: &FunctionConfig, known: &Known) -> impl Iterator<Item = (String, String)> {
    let grants = config.grants.problems(known).into_iter().map(|it: GrantProblem| (it.path, it.message));
    grants.chain(config.trigger_problems(known))
}

/// The same of what was known when it was read.
///
/// # Errors
/// [`InvalidArgument`](outrigger_blocks::ErrorKind::InvalidArgument) naming each grant and trigger of what is not there
/// any more.
pub(super) fn are_known(config: &FunctionConfig, known: &Known) -> Result<()> {
    let told: Vec<_> = unknown(config, known).map(|(path, message)| format!("{path}: {message}")).collect();
    if told.is_empty() { Ok(()) } else { Err(Error::invalid(told.join("; "))) }
}

fn problem(label: &Path, tree: &Node, path: &str, message: String) -> Problem {
    let steps = tree.steps(path);
    let at = match tree.place(&steps) {
        Origin::Default => Origin::File { file: label.into(), line: 1, column: 1 },
        at => at,
    };
    Problem::new(at, path, message)
}

fn told(problems: &[Problem]) -> Error {
    Error::invalid(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use outrigger_blocks::function::Section;

    use super::*;

    #[test]
    fn a_text_of_its_own_is_read_with_its_places() {
        let check = |text: &str, expected: &str| {
            let none = <[&str; 0]>::default();
            let known = Known::default().with(Section::State, ["cart"]).with(Section::Pubsub, ["bus"]);
            let known = known.with(Section::Lock, none).with_inputs(["tick"]);
            let told = read(Path::new("cart.yaml"), text, &|_| None, &known).unwrap_err();
            assert_eq!(told.message(), expected);
        };
        check("reuse: 0", "cart.yaml:1:8: reuse: must be at least 1");
        check(
            "file: x.wasm",
            "cart.yaml:1:7: file: is for the section `functions`: the module is brought along here",
        );
        check(
            "schedules: { a: { schedule: soon } }",
            "cart.yaml:1:29: schedules.a.schedule: the schedule 'soon' cannot be read: it has 1 fields where 5 are \
             expected, or 6 with seconds in front",
        );
        check("grant: {}", "cart.yaml:1:1: grant: unknown key `grant` (did you mean `grants`?)");
        check(
            "grants:\n  state: [cart, crat]",
            "cart.yaml:2:17: grants.state[1]: state store 'crat' is not configured; did you mean 'cart'?",
        );
        check(
            "events: { a: { pubsub: bsu, topic: t } }",
            "cart.yaml:1:24: events.a.pubsub: pub/sub component 'bsu' is not configured; there are: bus",
        );
        check(
            "events: { a: { pubsub: bus, topic: t }, b: { pubsub: bus, topic: t } }",
            "cart.yaml:1:66: events.b.topic: events.a has this topic already",
        );
        check(
            "schedules: { a: { schedule: '@daily', lock: cart } }",
            "cart.yaml:1:45: schedules.a.lock: lock store 'cart' is not configured; there is none",
        );
        check(
            "bindings: [tick, tock]",
            "cart.yaml:1:18: bindings[1]: input binding 'tock' is not configured; did you mean 'tick'?",
        );
        let good = |text: &str| read(Path::new("cart.yaml"), text, &|_| None, &Known::default()).unwrap();
        let config = good("{\"grants\": {\"state\": [\"cart\"]}}");
        assert_eq!(config.grants.state, ["cart"]);
        assert_eq!(good(""), FunctionConfig::default());
        are_known(&config, &Known::default()).unwrap();
        let gone = are_known(&config, &Known::default().with(Section::State, ["orders"])).unwrap_err();
        let expected = "grants.state[0]: state store 'cart' is not configured; there are: orders";
        assert_eq!(gone.message(), expected);
    }
}
