//! What `fn new` writes: the parts every language has, put together by what was asked for.

mod embedded;
mod javascript;
mod python;
mod rust;

use std::fmt::Write;

use clap::ValueEnum;

/// What cargo builds components for.
pub(super) const TARGET: &str = "wasm32-wasip2";
/// What makes a component of JavaScript, and the version it was tried with.
pub(super) const JCO: &str = "@bytecodealliance/jco@1.35.0";
/// What makes one of Python.
pub(super) const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    Rust,
    Js,
    Python,
}

/// What a function is called for, as in `wasm/wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Trigger {
    Http,
    Event,
    Schedule,
    Binding,
    Invoke,
}

/// What it may call, as in `wasm/wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Block {
    State,
    Pubsub,
    Configuration,
    Lock,
    Sequencer,
    Secrets,
    Invocation,
    Bindings,
    Metrics,
}

/// A function as it was asked for.
pub(super) struct Template<'a> {
    name: &'a str,
    language: Language,
    triggers: Vec<Trigger>,
    blocks: Vec<Block>,
}

impl Language {
    /// The file a folder in this language has.
    pub(super) fn told_by(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Js => "function.js",
            Self::Python => "function.py",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::Js | Self::Python => self.told_by(),
        }
    }

    /// What to install before the first build.
    fn install(self) -> String {
        match self {
            Self::Rust => format!("rustup target add {TARGET}"),
            Self::Js => format!("npm install --global {JCO}"),
            Self::Python => format!("pip install {COMPONENTIZE_PY}"),
        }
    }
}

impl<'a> Template<'a> {
    pub(super) fn new(name: &'a str, language: Language, triggers: &[Trigger], blocks: &[Block]) -> Self {
        let (mut triggers, mut blocks) = (triggers.to_vec(), blocks.to_vec());
        triggers.sort();
        triggers.dedup();
        blocks.sort();
        blocks.dedup();
        Self { name, language, triggers, blocks }
    }

    /// Paths below the folder, and what they hold.
    pub(super) fn files(&self) -> Vec<(String, String)> {
        let mut files = match self.language {
            Language::Rust => rust::files(self),
            Language::Js => javascript::files(self),
            Language::Python => python::files(self),
        };
        files.push((format!("{}.yaml", self.name), self.settings()));
        files.push(("outrigger.yaml".to_owned(), self.configuration()));
        files.push(("README.md".to_owned(), self.readme()));
        files
    }

    fn uses(&self, block: Block) -> bool {
        self.blocks.contains(&block)
    }

    fn is_called_for(&self, trigger: Trigger) -> bool {
        self.triggers.contains(&trigger)
    }

    /// The world of exactly what was asked for, and beside it the package it names: for tools that read it.
    fn wit(&self) -> Vec<(String, String)> {
        let mut world =
            "package local:function;\n\n/// What the function calls, and is called for.\nworld function {\n"
                .to_owned();
        for block in self.blocks.iter().map(|block| word(*block)).chain(["log".to_owned()]) {
            let _ = writeln!(world, "  import outrigger:functions/{block}@0.1.0;");
        }
        for trigger in &self.triggers {
            let _ = writeln!(world, "  export outrigger:functions/{}@0.1.0;", word(*trigger));
        }
        world.push_str("}\n");
        let package = embedded::WIT.iter();
        let package =
            package.map(|(file, text)| (format!("wit/deps/outrigger-functions/{file}"), (*text).to_owned()));
        std::iter::once(("wit/world.wit".to_owned(), world)).chain(package).collect()
    }

    /// An entry of `functions`, as the watched folder has it.
    fn settings(&self) -> String {
        let mut text =
            "# What the function may use, and what calls it: the settings of an entry of `functions`.\n"
                .to_owned();
        let granted: Vec<Block> =
            self.blocks.iter().copied().filter(|block| *block != Block::Metrics).collect();
        if !granted.is_empty() {
            text.push_str("grants:\n");
        }
        for block in granted {
            let line = match block {
                Block::Pubsub => "  pubsub: [pubsub/done]".to_owned(),
                Block::Secrets => "  secrets: [secrets/HOME]".to_owned(),
                Block::Invocation => "  invoke: [other-app]".to_owned(),
                Block::Bindings => "  bindings: [output]".to_owned(),
                block => format!("  {0}: [{0}]", word(block)),
            };
            text.push_str(&line);
            text.push('\n');
        }
        for trigger in &self.triggers {
            text.push_str(match trigger {
                Trigger::Event => "events:\n  orders: { pubsub: pubsub, topic: orders }\n",
                Trigger::Schedule => "schedules:\n  often: { schedule: \"@every 10s\" }\n",
                Trigger::Binding => "bindings: [input]\n",
                Trigger::Http | Trigger::Invoke => "",
            });
        }
        if self.language == Language::Python {
            text.push_str("# An interpreter in each instance.\nmemory: 268435456\n");
        }
        text
    }

    /// A sidecar to try it with.
    fn configuration(&self) -> String {
        let mut text = "# A sidecar that runs the function of this folder, and takes each new build of it.\n\
                        wasm: { functions: { folder: . } }\n"
            .to_owned();
        let mut components = Vec::new();
        for block in [Block::State, Block::Pubsub, Block::Configuration, Block::Lock, Block::Sequencer] {
            if self.uses(block) || block == Block::Pubsub && self.is_called_for(Trigger::Event) {
                components.push(format!("  {0}: {{ type: {0}.sqlite }}", word(block)));
            }
        }
        if self.uses(Block::Secrets) {
            components.push("  secrets: { type: secretstores.local.env }".to_owned());
        }
        if self.uses(Block::Bindings) {
            components.push(
                "  output: { type: bindings.http, settings: { url: \"http://127.0.0.1:8080\" } }".to_owned(),
            );
        }
        if self.is_called_for(Trigger::Binding) {
            components
                .push("  input: { type: bindings.cron, settings: { schedule: \"@every 10s\" } }".to_owned());
        }
        if !components.is_empty() {
            let _ = writeln!(text, "components:\n{}", components.join("\n"));
        }
        text
    }

    fn readme(&self) -> String {
        let name = self.name;
        let mut text = format!(
            "# {name}\n\n```\noutrigger fn build\noutrigger run -c outrigger.yaml\n```\n\n\
             The first makes `{name}.wasm` of `{}`, once this is installed:\n\n```\n{}\n```\n\n\
             The second starts a sidecar that runs it, and takes each further build while it serves.\n",
            self.language.source(),
            self.language.install(),
        );
        if self.is_called_for(Trigger::Http) || self.is_called_for(Trigger::Invoke) {
            let _ = write!(
                text,
                "\n```\ncurl -H 'dapr-app-id: {name}' http://127.0.0.1:34904/hello\n```\n\n\
                 calls it by its name; a route calls it where `{name}` is its cluster.\n"
            );
        }
        let _ = write!(
            text,
            "\n`outrigger fn logs {name}` shows what it writes, `outrigger fn deploy` brings it into another \
             sidecar. `{name}.yaml`\nsays what it may use: what it calls and is not granted keeps it from being \
             loaded.\n"
        );
        text
    }
}

/// As it is called in `wasm/wit`, on the command line and in the settings.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use outrigger_blocks::function::FunctionConfig;

    use super::*;
    use crate::config::{read, span};

    fn file(template: &Template<'_>, path: &str) -> String {
        let files = template.files();
        let found = files.into_iter().find(|(found, _)| found == path);
        found.unwrap_or_else(|| panic!("no {path}")).1
    }

    #[test]
    fn a_world_has_exactly_what_was_asked_for() {
        let triggers = [Trigger::Schedule, Trigger::Http, Trigger::Http];
        let template = Template::new("a", Language::Js, &triggers, &[Block::Secrets]);
        let world = file(&template, "wit/world.wit");
        let lines: Vec<&str> = world.lines().filter(|line| line.contains("port ")).map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "import outrigger:functions/secrets@0.1.0;",
                "import outrigger:functions/log@0.1.0;",
                "export outrigger:functions/http@0.1.0;",
                "export outrigger:functions/schedule@0.1.0;",
            ]
        );
    }

    #[test]
    fn settings_are_those_of_a_function() {
        let (triggers, blocks) = (Trigger::value_variants(), Block::value_variants());
        for language in [Language::Rust, Language::Js, Language::Python] {
            let template = Template::new("a", language, triggers, blocks);
            let text = file(&template, "a.yaml");
            let tree = span::parse(Path::new("a.yaml"), &text, &|_| None).unwrap();
            let (config, problems) = read::read::<FunctionConfig>(&tree, &[]);
            assert!(problems.is_empty(), "{problems:?} in\n{text}");
            let config = config.unwrap();
            assert_eq!((config.events.len(), config.schedules.len(), config.bindings.len()), (1, 1, 1));
            assert_eq!(config.grants.invoke, ["other-app"]);
        }
    }
}
