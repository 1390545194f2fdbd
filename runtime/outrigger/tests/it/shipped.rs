//! The configurations that ship for Redis and etcd, on a real one: each of their components comes up.

use std::path::Path;

use crate::{
    http::get,
    program::{Folder, eventually},
    servers::Server,
};

/// Runs the file of this name with these variables, and waits until so many components are ready.
fn comes_up(name: &str, variables: &[(&str, &str)], components: usize) {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs")).join(name);
    let folder = Folder::empty().arguments(&["-c", &file.display().to_string()]);
    let folder = variables.iter().fold(folder, |folder, (name, value)| folder.env(name, value));
    let program = folder.run();
    let ready = eventually("readiness", || {
        let answer = get(program.admin(), "/actuator/health/readiness");
        (answer.status == 200).then(|| answer.json())
    });
    let up = ready["components"].as_object().unwrap();
    let up = up.iter().filter(|(name, part)| *name != "runtime_startup" && part["status"] == "UP");
    assert_eq!(up.count(), components, "{ready}");
}

#[cfg(feature = "redis")]
#[test]
fn the_redis_file_works_as_it_is() {
    let Some(mut redis) = Server::redis(&["--requirepass", "hunter2"]) else { return };
    redis.start();
    let address = format!("127.0.0.1:{}", redis.port());
    comes_up("redis.yaml", &[("REDIS", &address), ("REDIS_PASSWORD", "hunter2")], 7);
}

#[cfg(feature = "etcd")]
#[test]
fn the_etcd_file_works_as_it_is() {
    let Some(mut etcd) = Server::etcd() else { return };
    etcd.start();
    comes_up("etcd.yaml", &[("ETCD", &format!("127.0.0.1:{}", etcd.port()))], 5);
}
