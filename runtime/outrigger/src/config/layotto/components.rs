//! `grpc_config`: the application and the components of every block. Layotto names components within their block, we
//! within the file; its types are bare words, ours say their block.

use outrigger_blocks::block_settings;
use outrigger_component_api::{BlockKind, TypeInfo};
use serde_json::Value as Json;

use super::{Translator, draft, look::Look};
use crate::{
    config::node::{Entry, Node, Value},
    secrets,
};

/// A part of `grpc_config` that holds components.
struct Section {
    /// Its key, and those of older files.
    keys: &'static [&'static str],
    kind: BlockKind,
    /// What stands before Layotto's type in our names, the usual one first.
    prefixes: &'static [&'static str],
    /// What stands before keys when the component does not say.
    key_prefix: Option<&'static str>,
}

const SECTIONS: [Section; 9] = [
    section(&["secret_store"], BlockKind::Secrets, &["secretstores"], None),
    section(&["hellos"], BlockKind::Hello, &["hello", "hellos"], None),
    section(&["config_store", "config_stores"], BlockKind::Configuration, &["configuration"], None),
    section(&["pub_subs"], BlockKind::PubSub, &["pubsub"], None),
    section(&["state"], BlockKind::State, &["state"], Some("none")),
    section(&["lock"], BlockKind::Lock, &["lock"], Some("appid")),
    section(&["sequencer"], BlockKind::Sequencer, &["sequencer"], Some("appid")),
    section(&["bindings"], BlockKind::OutputBinding, &["bindings"], None),
    section(&["file", "files"], BlockKind::File, &["file", "files"], None),
];

const fn section(
    keys: &'static [&'static str],
    kind: BlockKind,
    prefixes: &'static [&'static str],
    key_prefix: Option<&'static str>,
) -> Section {
    Section { keys, kind, prefixes, key_prefix }
}

impl Section {
    /// Bindings of both directions stand in one section.
    fn holds(&self, kind: BlockKind) -> bool {
        kind == self.kind || self.kind == BlockKind::OutputBinding && kind == BlockKind::InputBinding
    }
}

/// Parts without effect, and why.
const WITHOUT_EFFECT: [(&str, &str); 7] = [
    ("oss", "object storage is not in this version"),
    ("cryption", "its service is not in this version"),
    ("email", "its service is not in this version"),
    ("phone", "its service is not in this version"),
    ("sms", "its service is not in this version"),
    ("custom_component", "components of your own kinds cannot be compiled in"),
    ("extends", "nothing here reads it"),
];

/// Keys of a component that are not settings; all others are, as those of its metadata.
const FRAME: [&str; 4] = ["type", "metadata", "secret_ref", "component_ref"];

/// The type that needs to be told where its files are.
const ROOTED: &str = "file.local";

impl Translator<'_> {
    pub(super) fn grpc_config(&mut self, config: &Look<'_>) {
        let keys = SECTIONS.iter().flat_map(|section| section.keys.iter().copied());
        let silent = WITHOUT_EFFECT.iter().map(|(key, _)| *key);
        config.note_unknown(&keys.chain(silent).chain(["app", "rpcs"]).collect::<Vec<_>>(), &mut self.found);
        for (key, why) in WITHOUT_EFFECT {
            if let Some(part) = config.get(key) {
                self.found.note(&part, format!("has no effect: {why}"));
            }
        }
        if let Some(app) = config.get("app") {
            self.app(&app);
        }
        let components: Vec<_> = SECTIONS.iter().flat_map(|section| self.members(config, section)).collect();
        for (section, component) in &components {
            self.component(section, component, &components);
        }
    }

    fn members<'s, 'n>(&mut self, config: &Look<'n>, section: &'s Section) -> Vec<(&'s Section, Look<'n>)> {
        let members = config.any(section.keys).map(|part| part.entries(&mut self.found)).unwrap_or_default();
        members.into_iter().map(|member| (section, member)).collect()
    }

    fn app(&mut self, app: &Look<'_>) {
        app.note_unknown(&["app_id", "grpc_callback_port", "grpc_callback_host"], &mut self.found);
        let pairs = [("app_id", "id"), ("grpc_callback_port", "port"), ("grpc_callback_host", "host")];
        for (theirs, ours) in pairs {
            if let Some(value) = app.get(theirs) {
                self.draft.put(&["app", ours], value.node().clone(), value.at());
            }
        }
        self.draft.put(&["app", "protocol"], draft::text("grpc", app.at()), app.at());
        // Shipped configurations name a callback port for applications that have none.
        let no = Node { value: Value::Bool(false), at: app.at().clone() };
        self.draft.put(&["app", "probe"], no, app.at());
    }

    fn component(&mut self, section: &Section, component: &Look<'_>, all: &[(&Section, Look<'_>)]) {
        let name = component.key();
        if !matches!(component.node().value, Value::Map(_)) {
            return self.found.problem(component, "expected a component: a map with `type` and `metadata`");
        }
        let written = component.get("type");
        let bare = written.as_ref().map_or_else(|| Some(name.to_owned()), |at| at.text(&mut self.found));
        let Some(bare) = bare else { return };
        let at = written.as_ref().map_or(component.at(), |written| &written.node().at);
        let (r#type, info) = self.find(section, &bare);
        let key = key_of(section, name, all);
        let path = ["components", key.as_str()];
        if self.draft.has(&path) {
            return self.found.problem(component, format!("the component '{name}' is configured twice"));
        }
        self.blocks.0.insert(key.clone(), section.kind);
        self.draft.put(&["components", &key, "type"], draft::text(r#type, at), component.at());
        if key != name {
            self.draft.put(&["components", &key, "name"], draft::text(name, component.at()), component.at());
        }
        match info {
            Ok(info) => {
                let settings = self.settings(section, component, &info, all);
                self.draft.put(&["components", &key, "settings"], settings, component.at());
            }
            Err(reason) => self.found.note(component, format!("is never ready: {reason}")),
        }
    }

    /// Our name for a type, and what is known of it; or why there is none.
    fn find(&self, section: &Section, bare: &str) -> (String, Result<TypeInfo, String>) {
        let usual = format!("{}.{bare}", section.prefixes.first().unwrap_or(&""));
        let mut names: Vec<_> = section.prefixes.iter().map(|prefix| format!("{prefix}.{bare}")).collect();
        names.push(bare.to_owned());
        for name in &names {
            if let Ok(info) = self.registry.find(name)
                && section.holds(info.kind)
            {
                return (info.name.to_owned(), Ok(*info));
            }
        }
        let left_out = self.registry.left_out().find(|(name, _)| names.iter().any(|known| known == name));
        let reason = match left_out {
            Some((_, feature)) => {
                format!("{usual} needs the `{feature}` feature, without which this program was built")
            }
            None => format!("there is no component type {usual}"),
        };
        (usual, Err(reason))
    }

    /// The settings a type knows; what it does not know is noted, as Layotto's files carry much of that along.
    fn settings(
        &mut self,
        section: &Section,
        component: &Look<'_>,
        info: &TypeInfo,
        all: &[(&Section, Look<'_>)],
    ) -> Node {
        let known = Known::of(info);
        let mut settings = Vec::new();
        let beside = component.entries(&mut self.found).into_iter();
        let beside = beside.filter(|e| FRAME.iter().all(|key| !e.key().eq_ignore_ascii_case(key)));
        for setting in beside.chain(self.metadata(component)) {
            match known.spelled(setting.key()) {
                Some(key) => settings.push(entry(&key, &setting, setting.node().clone())),
                None if setting.node().value == Value::Null => {}
                None => self.found.note(&setting, format!("has no effect: {} does not know it", info.name)),
            }
        }
        settings.extend(self.secret_refs(component, &known, info, all));
        let says = |settings: &[Entry], key: &str| settings.iter().any(|e| e.key.eq_ignore_ascii_case(key));
        if let Some(prefix) = section.key_prefix.filter(|_| !says(&settings, "keyPrefix")) {
            settings.push(entry("keyPrefix", component, draft::text(prefix, component.at())));
        }
        if info.name == ROOTED && !says(&settings, "rootPath") {
            let message =
                "has no `rootPath`, as Layotto keeps files anywhere; here that is the working directory";
            self.found.note(component, message);
            settings.push(entry("rootPath", component, draft::text(".", component.at())));
        }
        if let Some(reference) = component.get("component_ref") {
            self.found.note(&reference, "has no effect: no component here takes another one");
        }
        Node { value: Value::Map(settings), at: component.at().clone() }
    }

    /// The metadata of a component. That of file stores may be a list of accounts; we know one.
    fn metadata<'n>(&mut self, component: &Look<'n>) -> Vec<Look<'n>> {
        let Some(metadata) = component.get("metadata") else { return Vec::new() };
        if !matches!(metadata.node().value, Value::List(_)) {
            return metadata.entries(&mut self.found);
        }
        let mut items = metadata.items(&mut self.found).into_iter();
        let first = items.next().map(|item| item.entries(&mut self.found)).unwrap_or_default();
        for further in items {
            self.found.note(&further, "has no effect: one set of metadata is read");
        }
        first
    }

    fn secret_refs(
        &mut self,
        component: &Look<'_>,
        known: &Known,
        info: &TypeInfo,
        all: &[(&Section, Look<'_>)],
    ) -> Vec<Entry> {
        let mut settings = Vec::new();
        for reference in component.list("secret_ref", &mut self.found) {
            let text =
                |keys: &[&str], found: &mut _| keys.iter().find_map(|key| reference.text_of(key, found));
            let store = text(&["store_name", "name"], &mut self.found);
            let (Some(store), Some(secret)) = (store, text(&["key"], &mut self.found)) else {
                self.found.problem(&reference, "a secret_ref needs `store_name` and `key`");
                continue;
            };
            let field = text(&["sub_key"], &mut self.found);
            let target = text(&["inject_as"], &mut self.found)
                .or_else(|| field.clone())
                .unwrap_or_else(|| secret.clone());
            let Some(setting) = known.spelled(&target) else {
                self.found.note(&reference, format!("has no effect: {} does not know '{target}'", info.name));
                continue;
            };
            let stores =
                all.iter().find(|(section, look)| section.kind == BlockKind::Secrets && look.key() == store);
            let store = stores.map_or(store, |(section, look)| key_of(section, look.key(), all));
            let fields = [("store", Some(store)), ("key", Some(secret)), ("field", field)];
            let at = reference.at();
            let fields =
                fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), draft::text(value?, at))));
            let place = draft::map([(secrets::KEY.to_owned(), draft::map(fields, at))], at);
            settings.push(entry(&setting, &reference, place));
        }
        settings
    }
}

fn entry(key: &str, written: &Look<'_>, node: Node) -> Entry {
    Entry { key: key.to_owned(), key_at: written.at().clone(), node }
}

/// Our name for a component: its own, or with its block's where another block has one of that name too.
fn key_of(section: &Section, name: &str, all: &[(&Section, Look<'_>)]) -> String {
    let alone = all.iter().filter(|(_, other)| other.key() == name).count() <= 1;
    if alone { name.to_owned() } else { format!("{}.{name}", section.kind.as_str()) }
}

/// The settings a type and its block know.
struct Known {
    names: Vec<String>,
    /// The type takes any.
    open: bool,
}

impl Known {
    fn of(info: &TypeInfo) -> Self {
        let schema = (info.schema)().to_value();
        let names = schema.get("properties").and_then(Json::as_object);
        let names = names.into_iter().flat_map(|properties| properties.keys().cloned());
        // Those of the block, which the backend never sees.
        let blocks = block_settings(info.kind).into_iter().map(|(name, _)| name.to_owned());
        Self {
            names: names.chain(blocks).collect(),
            open: schema.get("additionalProperties") != Some(&Json::Bool(false)),
        }
    }

    /// The setting as the type spells it.
    fn spelled(&self, written: &str) -> Option<String> {
        let known = self.names.iter().find(|name| name.eq_ignore_ascii_case(written));
        known.cloned().or_else(|| self.open.then(|| written.to_owned()))
    }
}
