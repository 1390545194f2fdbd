//! `servers`: the log, and listeners told apart by their filters. One with `grpc` is the API, one with the actuator's
//! filter, or that of the management of functions, is admin, one with `proxy` is the data plane's; others are not opened, and noted.

use super::{
    Translator, draft,
    look::Look,
    routes::{Table, Tables},
};
use crate::config::node::{Node, Value};

/// Keys of a server that are read, or change nothing worth a note.
const SERVER: [&str; 6] = [
    "default_log_path",
    "default_log_level",
    "routers",
    "listeners",
    "mosn_server_name",
    "global_log_roller",
];

/// Keys of a listener, likewise. A listener takes connections whatever its direction is called.
const LISTENER: [&str; 9] = [
    "name",
    "type",
    "address",
    "bind_port",
    "network",
    "filter_chains",
    "stream_filters",
    "use_original_dst",
    "inspector",
];

/// Stream filters of listeners that are ours for admin: the actuator's, and the one of the management of functions.
const ADMIN: [&str; 2] = ["actuator_filter", "wasm_filter"];

/// Stream filters that need no note: they are what tells a listener's kind, or are always on here.
const SILENT: [&str; 3] = [ADMIN[0], ADMIN[1], "grpc_metric"];

/// Functions.
const FUNCTIONS: &str = "Layotto";

impl Translator<'_> {
    pub(super) fn servers(&mut self, root: &Look<'_>) {
        for server in root.list("servers", &mut self.found) {
            server.note_unknown(&SERVER, &mut self.found);
            self.log(&server);
            let tables = Tables::read(&server, &mut self.found);
            for listener in server.list("listeners", &mut self.found) {
                self.listener(&listener, &tables);
            }
        }
    }

    fn log(&mut self, server: &Look<'_>) {
        if let Some(path) = server.get("default_log_path")
            && path
                .text(&mut self.found)
                .is_some_and(|path| !["", "stdout", "stderr"].contains(&path.as_str()))
        {
            self.found.note(&path, "has no effect: the log goes to standard error");
        }
        let Some(level) = server.get("default_log_level") else { return };
        let Some(text) = level.text(&mut self.found) else { return };
        let ours = match text.to_ascii_uppercase().as_str() {
            "TRACE" => "info,outrigger=trace",
            // That of our own crates: those of the libraries' would drown them.
            "DEBUG" => "info,outrigger=debug",
            "" | "INFO" => "info",
            "WARN" => "warn",
            "ERROR" | "FATAL" => "error",
            _ => {
                let known = "TRACE, DEBUG, INFO, WARN, ERROR, FATAL";
                return self.found.problem(&level, format!("unknown level '{text}' (known: {known})"));
            }
        };
        self.draft.put(&["log", "level"], draft::text(ours, &level.node().at), level.at());
    }

    fn listener(&mut self, listener: &Look<'_>, tables: &Tables<'_>) {
        listener.note_unknown(&LISTENER, &mut self.found);
        let Some(name) = listener.text_of("name", &mut self.found) else {
            return self.found.problem(listener, "a listener needs a `name`");
        };
        let streams = self.stream_filters(&name, listener);
        let filters = self.filters(listener);
        let filter = |wanted: &str| filters.iter().find(|(kind, _)| kind == wanted).map(|(_, filter)| filter);
        let opens = listener.get("bind_port").is_none() || listener.flag("bind_port", &mut self.found);
        if let Some(grpc) = filter("grpc") {
            if let Some(address) = self.address(listener).filter(|_| opens) {
                let path = ["api", "listeners", &name, "address"];
                self.draft.put(&path, address, listener.at());
            }
            self.runtime(grpc);
        } else if !opens {
            self.found.note(listener, "is not opened: its bind_port is not true");
        } else if let Some(kind) = streams.iter().find(|kind| ADMIN.contains(&kind.as_str())) {
            self.admin(listener, kind);
        } else if let Some(proxy) = filter("proxy") {
            self.proxy(&name, listener, proxy, tables);
        } else {
            let kinds: Vec<_> = filters
                .iter()
                .map(|(kind, _)| kind.as_str())
                .chain(streams.iter().map(String::as_str))
                .collect();
            self.found.note(
                listener,
                format!("is not opened: nothing here serves its filters ({})", kinds.join(", ")),
            );
        }
    }

    /// There is one listener for admin, and it serves the actuator and the management of functions alike: the actuator's
    /// where a file has both.
    fn admin(&mut self, listener: &Look<'_>, kind: &str) {
        let is_actuator = kind == ADMIN[0];
        let other = self.draft.text(&["admin", "address"]);
        if let Some(address) = other.as_ref().filter(|_| !is_actuator) {
            let message = format!("is not opened: /wasm is served on the admin listener, {address}");
            return self.found.note(listener, message);
        }
        let Some(address) = self.address(listener) else { return };
        if let Some(other) = other {
            let message = format!("is the admin listener, and serves /wasm too; {other} is not opened");
            self.found.note(listener, message);
        }
        self.draft.put(&["admin", "address"], address, listener.at());
    }

    /// The kinds of the stream filters; those without effect are noted.
    fn stream_filters(&mut self, name: &str, listener: &Look<'_>) -> Vec<String> {
        let mut kinds = Vec::new();
        for filter in listener.list("stream_filters", &mut self.found) {
            let Some(kind) = filter.text_of("type", &mut self.found) else { continue };
            if kind == FUNCTIONS {
                self.functions(name, &filter);
            } else if !SILENT.contains(&kind.as_str()) {
                self.found.note(&filter, format!("the stream filter {kind} has no effect"));
            }
            kinds.push(kind);
        }
        kinds
    }

    /// The network filters of all chains, by kind.
    fn filters<'n>(&mut self, listener: &Look<'n>) -> Vec<(String, Look<'n>)> {
        let mut filters = Vec::new();
        for chain in listener.list("filter_chains", &mut self.found) {
            for context in ["tls_context", "tls_context_set"].iter().filter_map(|key| chain.get(key)) {
                if asks_for_tls(&context) {
                    let message = "TLS of listeners is not read from a Layotto file; use an outrigger.yaml";
                    self.found.problem(&context, message);
                }
            }
            for filter in chain.list("filters", &mut self.found) {
                filters.extend(filter.text_of("type", &mut self.found).map(|kind| (kind, filter)));
            }
        }
        filters
    }

    fn runtime(&mut self, grpc: &Look<'_>) {
        let Some(config) = grpc.get("config") else {
            return self.found.problem(grpc, "the grpc filter needs a `config`");
        };
        if let Some(server) = config.get("server_name")
            && server.text(&mut self.found).is_some_and(|name| name != "runtime")
        {
            self.found.problem(&server, "expected `runtime`: no other gRPC server can be started");
        }
        if let Some(grpc_config) = config.get("grpc_config") {
            self.grpc_config(&grpc_config);
        }
    }

    fn proxy(&mut self, name: &str, listener: &Look<'_>, proxy: &Look<'_>, tables: &Tables<'_>) {
        let Some(config) = proxy.get("config") else {
            return self.found.problem(proxy, "the proxy filter needs a `config`");
        };
        for side in ["downstream_protocol", "upstream_protocol"] {
            let Some(protocol) = config.get(side) else { continue };
            let text = protocol.text(&mut self.found).unwrap_or_default();
            if !["auto", "http1", "http2"].contains(&text.to_ascii_lowercase().as_str()) {
                let message = format!(
                    "the listener '{name}' is not opened: the proxy speaks HTTP/1 and HTTP/2, not {text}"
                );
                return self.found.note(&protocol, message);
            }
        }
        let table = config.text_of("router_config_name", &mut self.found);
        let table = table.and_then(|wanted| tables.find(&wanted));
        let Some(table) = table.filter(Table::has_hosts) else {
            let message = format!("the listener '{name}' is not opened: its router has no virtual_hosts");
            return self.found.note(&config, message);
        };
        let Some(address) = self.address(listener) else { return };
        self.draft.put(&["listeners", name, "address"], address, listener.at());
        let upstream = config.text_of("upstream_protocol", &mut self.found).unwrap_or_default();
        self.routes(name, &table, upstream.eq_ignore_ascii_case("http2"));
    }

    /// Where a listener listens, in our spelling.
    fn address(&mut self, listener: &Look<'_>) -> Option<Node> {
        let Some(address) = listener.get("address") else {
            self.found.problem(listener, "a listener needs an `address`");
            return None;
        };
        let text = address.text(&mut self.found)?;
        let network = listener.text_of("network", &mut self.found).unwrap_or_default();
        let ours = match network.as_str() {
            "unix" => format!("unix:{text}"),
            "" | "tcp" => numeric(&text),
            other => {
                self.found.problem(&address, format!("the network '{other}' is neither tcp nor unix"));
                return None;
            }
        };
        Some(draft::text(ours, &address.node().at))
    }
}

/// Go takes `:80` for all addresses, and names; the one name a listener or endpoint of this machine has is known.
pub(super) fn numeric(address: &str) -> String {
    match address.split_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => address.to_owned(),
    }
}

/// Whether a TLS context is more than the empty one that examples carry along.
pub(super) fn asks_for_tls(context: &Look<'_>) -> bool {
    let on = |context: &Node| context.get("status").is_some_and(|status| status.value == Value::Bool(true));
    match &context.node().value {
        Value::List(contexts) => contexts.iter().any(on),
        _ => on(context.node()),
    }
}
