//! `rpcs`: Layotto's channel to other applications leads into a listener of its own, where the route tables decide by
//! the header `id`. Here the same listener stands for every application that is not found otherwise.

use outrigger_net::Address;

use super::{
    Translator, draft,
    look::{Findings, Look},
};

impl Translator<'_> {
    /// Reads the channels. After the listeners, one of which they name.
    pub(super) fn channels(&mut self, root: &Look<'_>) {
        for rpcs in all(root) {
            for rpc in rpcs.entries(&mut self.found) {
                match rpc.get("config") {
                    Some(config) if rpc.key() == "mosn" => self.channel(&config),
                    _ => self.found.note(&rpc, "has no effect: calls go by the channel of `mosn`"),
                }
            }
        }
    }

    fn channel(&mut self, config: &Look<'_>) {
        config.note_unknown(&["channel"], &mut self.found);
        let mut channels = config.list("channel", &mut self.found).into_iter();
        let Some(channel) = channels.next() else { return };
        for further in channels {
            self.found.note(&further, "has no effect: the first channel is the one that is used");
        }
        channel.note_unknown(&["protocol", "listener", "size"], &mut self.found);
        let protocol = channel.text_of("protocol", &mut self.found).unwrap_or_default();
        if protocol != "http" {
            return self.found.note(&channel, format!("has no effect: calls go over http, not '{protocol}'"));
        }
        let Some(listener) = channel.get("listener") else {
            return self.found.problem(&channel, "a channel needs a `listener`");
        };
        let Some(name) = listener.text(&mut self.found) else { return };
        let address = match name.parse::<Address>() {
            Ok(_) => name,
            Err(_) => match self.draft.text(&["listeners", &name, "address"]) {
                // Listening everywhere is no place to connect to.
                Some(address) => address.replacen("0.0.0.0:", "127.0.0.1:", 1),
                None => return self.found.problem(&listener, format!("there is no proxy listener '{name}'")),
            },
        };
        let addresses = draft::list(vec![draft::text(address, &listener.node().at)], listener.at());
        self.draft.put(&["apps", "*", "addresses"], addresses, channel.at());
    }
}

/// The `rpcs` of every API listener. What is malformed on the way there has been told.
fn all<'n>(root: &Look<'n>) -> Vec<Look<'n>> {
    let told = &mut Findings::default();
    let mut found = Vec::new();
    for server in root.list("servers", told) {
        for listener in server.list("listeners", told) {
            for chain in listener.list("filter_chains", told) {
                let filters = chain.list("filters", told);
                let runtime = filters.iter().filter_map(|filter| filter.get("config")?.get("grpc_config"));
                found.extend(runtime.filter_map(|config| config.get("rpcs")));
            }
        }
    }
    found
}
