//! A life of the process: start, run beside the application, hear signals, end.

use std::{ffi::OsString, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use outrigger_net::{Address, Workers};
use rustix::process::Signal;

use crate::{
    app::{App, Logs, Options},
    child::{self, AppCommand, Child},
    config::{Config, Sources},
    listeners::Kind,
    reload::{self, Watch},
    signals::Signals,
    tokens,
};

/// How long the workers have rested when the program is let go.
const SETTLING: Duration = Duration::from_millis(500);

/// What to run.
pub struct Plan {
    pub sources: Sources,
    /// Reload when files change.
    pub watch: bool,
    /// Program and arguments; empty for the sidecar alone.
    pub app: Vec<OsString>,
}

/// A whole life, on a control runtime of its own.
pub fn run(plan: Plan) -> anyhow::Result<ExitCode> {
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Blocking work is rare here: standard output of the application, waiting for threads to end.
        .max_blocking_threads(8)
        .build()
        .context("starting the control runtime")?;
    let code = control.block_on(live(plan))?;
    control.shutdown_background();
    Ok(ExitCode::from(code))
}

/// Runs until told to stop, or until the application ends; the result is the exit code.
pub async fn live(plan: Plan) -> anyhow::Result<u8> {
    // Before anything listens: a signal that comes early must find us ready for it.
    let mut signals = Signals::listen().context("listening to signals")?;
    let seen = reload::digest(&plan.sources.files);
    let prefix = if plan.app.is_empty() { "" } else { "outrigger │ " };
    let app = App::start(Options { sources: plan.sources, logs: Logs::Own { prefix } }).await?;

    let files = plan.watch.then(|| app.watched.subscribe());
    let mut watch =
        Watch::new(files.unwrap_or_else(Watch::nothing), seen).context("watching the configuration files")?;
    // Ends by itself, or with the runtime.
    tokio::spawn(settle(Arc::clone(&app.workers)));

    let code = match plan.app.split_first() {
        None => {
            alone(&app, &mut signals, &mut watch).await;
            0
        }
        Some((program, args)) => {
            let env = environment(&app);
            let command = AppCommand { program: program.clone(), args: args.to_vec(), env };
            beside(&app, &command, &mut signals, &mut watch).await
        }
    };
    // A second signal to stop means: now.
    tokio::select! {
        () = Arc::clone(&app).stop() => {}
        () = signals.stop() => tracing::warn!("stopping at once"),
    }
    Ok(code)
}

/// Gives back the pages of the program whenever it comes to rest: command line, configuration and connecting are most of
/// the code that has run, and that is most of the memory. Whoever comes later uses other code, once, too. A process at work
/// keeps all of it, as what it uses would only be mapped again, in the middle of requests. Once it is given back only a new
/// connection counts as unrest, so that an idle process sleeps.
async fn settle(workers: Arc<Workers>) {
    loop {
        // Before the rest: whoever comes at its very end has not been at work yet.
        let (arrival, worked) = (workers.arrival(), workers.worked());
        tokio::time::sleep(SETTLING).await;
        if workers.worked() != worked {
            continue;
        }
        if let Err(error) = outrigger_net::release_program() {
            tracing::debug!(%error, "the program stays mapped");
            return;
        }
        arrival.await;
    }
}

async fn alone(app: &Arc<App>, signals: &mut Signals, watch: &mut Watch) {
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::TERM | Signal::INT | Signal::QUIT => return,
                Signal::HUP => drop(app.reload("signal").await),
                _ => {}
            },
            () = watch.changed() => drop(app.reload("files").await),
        }
    }
}

/// The application decides when it is over, unless it is told to end and does not.
async fn beside(app: &Arc<App>, command: &AppCommand, signals: &mut Signals, watch: &mut Watch) -> u8 {
    let mut child = match Child::start(command) {
        Ok(child) => child,
        Err(error) => {
            tracing::error!("{error:#}");
            return child::start_failure_code(&error);
        }
    };
    tracing::info!(program = %command.program.display(), "app started");
    let mut told = false;
    let mut deadline = std::pin::pin!(tokio::time::sleep(std::time::Duration::MAX));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            signal = signals.next() => {
                let ending = matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT);
                if ending && told {
                    child.signal(Signal::KILL);
                    continue;
                }
                child.signal(signal);
                if ending {
                    told = true;
                    let patience = app.snapshot().loaded.config.shutdown.timeout;
                    deadline.as_mut().reset(tokio::time::Instant::now() + patience);
                } else if signal == Signal::HUP {
                    app.reload("signal").await;
                }
            }
            () = &mut deadline, if told => {
                tracing::warn!("the app did not end in time");
                child.signal(Signal::KILL);
                told = false;
            }
            () = watch.changed() => drop(app.reload("files").await),
        }
    };
    let code = match status {
        Ok(status) => {
            tracing::info!(%status, "app ended");
            child::exit_code(status)
        }
        Err(error) => {
            tracing::error!(%error, "the app cannot be waited for");
            1
        }
    };
    child.clean_up().await;
    code
}

/// The variables by which the SDKs of Layotto and Dapr, and ours, find the API.
fn environment(app: &App) -> Vec<(&'static str, String)> {
    let snapshot = app.snapshot();
    let config: &Config = &snapshot.loaded.config;
    let mut env = Vec::new();
    let mut api = app.listeners.all();
    api.retain(|listener| listener.kind == Kind::Api.as_str());
    let tcp = api.iter().find_map(|listener| match listener.address {
        Address::Tcp(tcp) => Some((crate::config::reachable(tcp), listener.tls)),
        Address::Unix(_) => None,
    });
    let sockets = || api.iter().map(|listener| &listener.address);
    if let Some((tcp, tls)) = tcp {
        let port = tcp.port().to_string();
        for name in ["runtime_GRPC_PORT", "LAYOTTO_GRPC_PORT", "DAPR_GRPC_PORT", "DAPR_HTTP_PORT"] {
            env.push((name, port.clone()));
        }
        for name in ["LAYOTTO_SIDECAR_IP", "DAPR_RUNTIME_HOST", "DAPR_SIDECAR_IP"] {
            env.push((name, tcp.ip().to_string()));
        }
        let scheme = if tls { "https" } else { "http" };
        env.push(("OUTRIGGER_GRPC_ENDPOINT", format!("{scheme}://{tcp}")));
    } else if let Some(socket) = sockets().next() {
        env.push(("OUTRIGGER_GRPC_ENDPOINT", socket.to_string()));
    }
    if let Some(Address::Unix(path)) = sockets().find(|address| matches!(address, Address::Unix(_))) {
        env.push(("OUTRIGGER_GRPC_SOCKET", path.display().to_string()));
    }
    if let Some(token) = tokens::for_app(config, &|name| app.sources.variable(name)) {
        for name in ["OUTRIGGER_API_TOKEN", "LAYOTTO_API_TOKEN", "DAPR_API_TOKEN"] {
            env.push((name, token.clone()));
        }
    }
    if !config.app.id.is_empty() {
        env.push(("APP_ID", config.app.id.clone()));
    }
    if let Some(port) = config.app.port {
        env.push(("APP_PORT", port.to_string()));
        env.push(("APP_PROTOCOL", config.app.protocol.as_str().to_owned()));
        env.push(("APP_CHANNEL_ADDRESS", config.app.host.clone()));
    }
    env
}
