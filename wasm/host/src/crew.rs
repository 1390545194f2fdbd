//! Which plugins share instances: those of one `vm_id`, if they are the same module and want the same instance.

use std::sync::Arc;

use outrigger_blocks::function::Module as Binary;
use outrigger_http::Problem;
use tokio::runtime::Handle;

use crate::config::{Failure, PluginConfig, bytes_of};
use crate::filter::measures::Measures;
use crate::filter::state::{Plan, Services};
use crate::instance::Blueprint;
use crate::plugin::{Cell, Plugin};

/// A plugin of a configuration, before there are instances of it. Its module is read again when its turn has come, so
/// that there is never more than one of them in memory.
pub(crate) struct Wanted {
    pub(crate) name: Arc<str>,
    pub(crate) config: PluginConfig,
    /// Of its module.
    pub(crate) sha256: Arc<str>,
}

/// What a crew is made of.
pub(crate) struct Parts {
    pub(crate) failure: Failure,
    pub(crate) blueprint: Arc<Blueprint>,
    pub(crate) services: Services,
    /// One for each plugin, in the order of the blueprint's.
    pub(crate) measures: Box<[Arc<Measures>]>,
}

/// The plugins that share instances, of which there is one for each worker. Most are alone.
pub(crate) struct Crew {
    size: usize,
    pub(crate) cells: Box<[Arc<Cell>]>,
}

impl Crew {
    pub(crate) fn assemble(wanted: Vec<Wanted>, parts: Parts, workers: &[Handle]) -> Vec<Plugin> {
        let cells = workers.iter().map(|worker| Cell::new(&parts, worker)).collect();
        let crew = Arc::new(Self { size: wanted.len(), cells });
        let seats = wanted.into_iter().zip(parts.measures).enumerate();
        seats.map(|(seat, (wanted, measures))| wanted.seated(seat, &crew, measures)).collect()
    }

    /// Whether it is all of these plugins and nobody else.
    pub(crate) fn is(self: &Arc<Self>, plugins: &[&Arc<Plugin>]) -> bool {
        self.size == plugins.len() && plugins.iter().all(|plugin| Arc::ptr_eq(&plugin.crew, self))
    }
}

impl Wanted {
    pub(crate) fn new(name: &str, config: &PluginConfig, binary: &Binary) -> Result<Self, Vec<Problem>> {
        match &config.sha256 {
            Some(sha256) if !binary.is(sha256) => {
                let message = format!("the file has another digest: {}", binary.sha256());
                Err(vec![Problem::new("sha256", message)])
            }
            _ => Ok(Self { name: name.into(), config: config.clone(), sha256: Arc::clone(binary.sha256()) }),
        }
    }

    /// What its file holds by now, if that is still the module that was asked for.
    pub(crate) fn module(&self, binary: Binary) -> Result<Binary, String> {
        let is_same = self.sha256 == *binary.sha256();
        is_same.then_some(binary).ok_or_else(|| "the file was changed while it was being read".to_owned())
    }

    fn vm_id(&self) -> &str {
        self.config.vm_id.as_deref().unwrap_or(&self.name)
    }

    fn shares_with(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.config, &other.config);
        self.vm_id() == other.vm_id()
            && self.sha256 == other.sha256
            && ours.vm_config == theirs.vm_config
            && (ours.memory, ours.deadline, ours.failure) == (theirs.memory, theirs.deadline, theirs.failure)
    }

    fn seated(self, seat: usize, crew: &Arc<Crew>, measures: Arc<Measures>) -> Plugin {
        let Self { name, config, sha256 } = self;
        Plugin { name, config, sha256, measures, crew: Arc::clone(crew), seat }
    }

    pub(crate) fn plan(&self) -> Plan {
        let config = &self.config;
        Plan {
            name: Arc::clone(&self.name),
            root_id: config.root_id.clone(),
            vm_id: self.vm_id().to_owned(),
            vm_config: bytes_of(config.vm_config.as_ref()).into(),
            config: bytes_of(config.config.as_ref()).into(),
            memory: config.memory,
            deadline: config.deadline,
            max_buffer: config.max_buffer,
            grants: None,
        }
    }
}

/// Puts together those that share instances, in the order of their names. In each there is one at least.
pub(crate) fn crews(wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    let mut crews: Vec<Vec<Wanted>> = Vec::new();
    for plugin in wanted {
        let shared = crews.iter_mut().find(|crew| crew.iter().any(|other| other.shares_with(&plugin)));
        match shared {
            Some(crew) => crew.push(plugin),
            None => crews.push(vec![plugin]),
        }
    }
    crews
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn module(content: &str) -> Binary {
        Binary::from(content.as_bytes().to_vec())
    }

    #[test]
    fn what_is_of_one_instance_is_the_same_for_all_who_share_it() {
        let wanted = |name: &str, content: &str, besides: serde_json::Value| {
            let mut config = json!({ "file": "x", "vm_id": "v" });
            config.as_object_mut().unwrap().extend(besides.as_object().unwrap().clone());
            Wanted::new(name, &serde_json::from_value(config).unwrap(), &module(content)).unwrap()
        };
        let crews = crews(vec![
            wanted("a", "1", json!({ "root_id": "a", "config": "a", "max_buffer": 1 })),
            wanted("b", "2", json!({})),
            wanted("c", "1", json!({ "root_id": "c", "body_before_head": true })),
            wanted("d", "1", json!({ "vm_id": "other" })),
            wanted("e", "1", json!({ "vm_config": "e" })),
            wanted("f", "1", json!({ "memory": 65536 })),
            wanted("g", "1", json!({ "deadline": "1ms" })),
            wanted("h", "1", json!({ "failure": "open" })),
            wanted("v", "1", json!({ "vm_id": null })),
        ]);
        let names: Vec<Vec<_>> =
            crews.iter().map(|crew| crew.iter().map(|plugin| &*plugin.name).collect()).collect();
        let expected: [&[&str]; 7] = [&["a", "c", "v"], &["b"], &["d"], &["e"], &["f"], &["g"], &["h"]];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_file_that_changes_under_our_eyes_is_not_taken_for_what_it_was() {
        let config = serde_json::from_value(json!({ "file": "x" })).unwrap();
        let wanted = Wanted::new("a", &config, &module("1")).unwrap();
        let taken = |content| wanted.module(module(content)).map(|_| ());
        assert_eq!(taken("1"), Ok(()));
        assert_eq!(taken("2"), Err("the file was changed while it was being read".to_owned()));
    }
}
