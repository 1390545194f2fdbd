//! The API through clients in other languages (`runtime/api/tests/clients`), over TCP and a Unix socket, on both
//! stores that need no server.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::cases::Cases;
use crate::process::scratch;
use crate::sidecar::Sidecar;
use crate::tools;
use crate::workspace::{finish, output, root, transcript};

/// Language, and the script in its directory.
const CLIENTS: &[(&str, &str)] = &[("python", "state.py"), ("node", "state.js")];

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    let dir = scratch()?;
    let config = format!(
        "app: {{ id: orders }}\ncomponents:\n  memory: {{ type: state.in-memory }}\n  \
         sqlite: {{ type: state.sqlite, settings: {{ path: \"{}\" }} }}\n",
        dir.path().join("state.db").display()
    );
    let sidecar = Sidecar::start("clients-outrigger", &config, &[])?;
    let endpoints = [
        ("TCP", format!("127.0.0.1:{}", sidecar.api)),
        ("a Unix socket", format!("unix:{}", sidecar.api_socket.display())),
    ];
    for (language, script) in CLIENTS {
        for (transport, endpoint) in &endpoints {
            for store in ["memory", "sqlite"] {
                cases.case(&format!("state from {language} over {transport} on {store}"), || {
                    output(&mut client(language, script, endpoint, store)).map(drop)
                });
            }
        }
        let [(_, endpoint), _] = &endpoints;
        cases.case(&format!("planted: the {language} client notices a missing store"), || {
            let output = finish(&mut client(language, script, endpoint, "nowhere"))?;
            ensure!(!output.status.success(), "{}", transcript(&output));
            Ok(())
        });
    }
    Ok(())
}

fn client(language: &str, script: &str, endpoint: &str, store: &str) -> Command {
    let dir = root().join("runtime/api/tests/clients").join(language);
    let mut command = Command::new("timeout");
    command
        .arg("120")
        .current_dir(&dir)
        .env("NODE_PATH", tools::node_path())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    match language {
        "python" => command.arg(tools::python("python")),
        program => command.arg(program),
    };
    // The Node client also looks for its packages from the working directory.
    if language == "node" {
        command.current_dir(root().join(".tools/node"));
    }
    command.arg(dir.join(script)).args([endpoint, store]);
    command
}
