//! `outrigger run -- APP`: order of start, variables, output, signals, exit codes, and nothing left behind.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, test_kill_process};

use crate::program::{Folder, Program, eventually};

const PLAIN: &str = "app: { id: orders, port: 8080 }\n";

fn sh(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

/// The process a line `app │ NAME=<id>` speaks of.
fn process(program: &mut Program, name: &str) -> Pid {
    let line = program.wait_for(&format!("app │ {name}="));
    let id = line.rsplit('=').next().unwrap().trim().parse().unwrap();
    Pid::from_raw(id).unwrap()
}

fn is_alive(process: Pid) -> bool {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    // A zombie has ended; who collects it depends on the machine's init.
    test_kill_process(process).is_ok() && !stat.contains(") Z ")
}

fn gone(what: &str, process: Pid) {
    eventually(&format!("{what} is gone"), || (!is_alive(process)).then_some(()));
}

#[test]
fn it_starts_when_the_api_listens_and_finds_it() {
    let script = r#"echo "ports=$runtime_GRPC_PORT $LAYOTTO_GRPC_PORT $DAPR_GRPC_PORT $DAPR_HTTP_PORT"
        echo "endpoint=$OUTRIGGER_GRPC_ENDPOINT sidecar=$LAYOTTO_SIDECAR_IP"
        echo "id=$APP_ID port=$APP_PORT protocol=$APP_PROTOCOL"
        (exec 3<>/dev/tcp/127.0.0.1/$runtime_GRPC_PORT) && echo listens
        echo complaint >&2"#;
    let folder = Folder::with(PLAIN);
    let mut program = folder.start(&["bash", "-c", script]);
    program.wait_ready();
    let port = program.api().port();
    assert_eq!(program.end().code(), Some(0));
    for line in [
        format!("app │ ports={port} {port} {port} {port}"),
        format!("app │ endpoint=http://127.0.0.1:{port} sidecar=127.0.0.1"),
        "app │ id=orders port=8080 protocol=http".to_owned(),
        "app │ listens".to_owned(),
        "app │ complaint".to_owned(),
    ] {
        assert!(program.log.contains(&line), "{line:?} is missing from:\n{}", program.log.join("\n"));
    }
    let others = program.log.iter().filter(|line| !line.starts_with("app │ "));
    assert!(others.clone().count() > 3);
    others.for_each(|line| assert!(line.starts_with("outrigger │ "), "{line}"));
}

#[test]
fn a_token_and_a_socket_are_passed_on() {
    let folder = Folder::empty();
    folder.write(
        "f.yaml",
        "api: { listeners: { s: { address: 'unix:api.sock' } }, token: sesame }\nadmin: { address: null }\n",
    );
    let script = "echo \"$OUTRIGGER_GRPC_ENDPOINT $OUTRIGGER_GRPC_SOCKET $DAPR_API_TOKEN\"; test -S api.sock";
    let output =
        folder.command(&[&["run", "-c", "f.yaml", "--"][..], &sh(script)].concat()).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(out, "app │ unix:api.sock api.sock sesame\n");
    assert!(output.status.success());
    assert!(!folder.path("api.sock").exists(), "the socket is removed at the end");
    assert!(!String::from_utf8(output.stderr).unwrap().contains("sesame"));
}

#[test]
fn its_exit_code_is_ours() {
    let check = |app: &[&str], expected: i32| {
        let folder = Folder::with(PLAIN);
        let mut program = folder.start(app);
        assert_eq!(program.end().code(), Some(expected), "{app:?}\n{}", program.log.join("\n"));
    };
    check(&["true"], 0);
    check(&sh("exit 7"), 7);
    check(&sh("kill -KILL $$"), 128 + 9);
    check(&["/nowhere/at/all"], 127);
    check(&["/etc/passwd"], 126);
}

#[test]
fn signals_reach_it() {
    let folder = Folder::with(PLAIN);
    let script = "for s in HUP USR1 USR2; do trap \"echo got $s\" $s; done
        trap 'echo got TERM; exit 5' TERM
        echo waiting; while :; do sleep 0.02; done";
    let mut program = folder.start(&sh(script));
    program.wait_for("app │ waiting");
    for (signal, name) in
        [(Signal::USR1, "USR1"), (Signal::USR2, "USR2"), (Signal::HUP, "HUP"), (Signal::TERM, "TERM")]
    {
        program.signal(signal);
        program.wait_for(&format!("app │ got {name}"));
    }
    assert_eq!(program.end().code(), Some(5));
    assert!(program.log.iter().any(|line| line.contains("configuration reloaded")), "SIGHUP is also for us");
}

#[test]
fn an_app_that_will_not_end_is_ended() {
    let folder = Folder::with("shutdown: { timeout: 300ms }\n");
    let mut program = folder.start(&sh("trap '' TERM INT; echo APP=$$; while :; do sleep 0.05; done"));
    let app = process(&mut program, "APP");
    let asked = Instant::now();
    program.signal(Signal::TERM);
    assert_eq!(program.end().code(), Some(128 + 9));
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    gone("the app", app);
}

#[test]
fn a_second_signal_means_now() {
    let folder = Folder::with("shutdown: { timeout: 1h }\n");
    let mut program = folder.start(&sh("trap 'echo no' INT; echo APP=$$; while :; do sleep 0.05; done"));
    process(&mut program, "APP");
    program.signal(Signal::INT);
    program.wait_for("app │ no");
    program.signal(Signal::INT);
    assert_eq!(program.end().code(), Some(128 + 9));
}

/// Leaves a child in the group, one that left the group, and one that forgot its environment.
const FAMILY: &str = "sleep 1000 & echo CHILD=$!
    setsid sleep 1000 & echo SETSID=$!
    env -i sleep 1000 & echo BARE=$!
    echo APP=$$; ";

fn family(program: &mut Program) -> Vec<Pid> {
    ["CHILD", "SETSID", "BARE", "APP"].map(|name| process(program, name)).to_vec()
}

#[test]
fn nothing_is_left_when_the_app_ends() {
    let folder = Folder::with(PLAIN);
    let mut program = folder.start(&sh(&format!("{FAMILY} exit 3")));
    let family = family(&mut program);
    assert_eq!(program.end().code(), Some(3));
    family.into_iter().for_each(|process| gone("a descendant", process));
}

#[test]
fn nothing_is_left_when_we_are_told_to_end() {
    let folder = Folder::with(PLAIN);
    let mut program = folder.start(&sh(&format!("{FAMILY} sleep 1000")));
    let family = family(&mut program);
    program.signal(Signal::TERM);
    program.end();
    family.into_iter().for_each(|process| gone("a descendant", process));
}

#[test]
fn nothing_is_left_when_we_are_killed() {
    let folder = Folder::with(PLAIN);
    let mut program = folder.start(&sh(&format!("trap '' TERM; {FAMILY} while :; do sleep 0.1; done")));
    let family = family(&mut program);
    assert!(family.iter().all(|process| is_alive(*process)));
    program.signal(Signal::KILL);
    family.into_iter().for_each(|process| gone("a descendant", process));
}

#[test]
fn alone_it_stops_within_its_deadline() {
    let folder = Folder::with("shutdown: { timeout: 500ms }\n");
    let mut program = folder.run();
    let idle = std::net::TcpStream::connect(program.api()).unwrap();
    eventually("the connection is counted", || {
        let listeners = crate::http::get(program.admin(), "/listeners").json();
        (listeners["listeners"][0]["connections"] == 1).then_some(())
    });
    let (status, took) = program.stop();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(15), "{took:?}");
    drop(idle);
}
