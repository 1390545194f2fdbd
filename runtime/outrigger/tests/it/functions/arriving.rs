//! What can be done while functions of the folder are not there yet.

use super::*;
use crate::component::answers;

/// Starting it ends with the time it is given for that, whatever the machine.
fn spinning() -> Vec<u8> {
    answers(
        r#"(func $spin (loop $on (br $on)))
           (start $spin)
           (func (export "outrigger:functions/http@0.1.0#handle")
             (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
             unreachable)"#,
    )
}

#[test]
fn readiness_names_those_that_are_on_their_way_and_nobody_else_waits_for_them() {
    let folder = Folder::with(FOLDER);
    fs::create_dir(folder.path("deployed")).unwrap();
    put(&folder.path("deployed/hello.wasm"), &answering("hello"));
    // Two at a time: together they take much longer than the start waits.
    for name in ["spin-a", "spin-b", "spin-c", "spin-d", "spin-e"] {
        fs::write(folder.path(&format!("deployed/{name}.yaml")), "cpu: 1h").unwrap();
        put(&folder.path(&format!("deployed/{name}.wasm")), &spinning());
    }
    fs::write(folder.path("other.wasm"), answering("other")).unwrap();
    let program = folder.run();
    let readiness = || get(program.admin(), "/actuator/health/readiness");
    let arriving = readiness();
    assert_eq!(arriving.status, 503, "{}", arriving.body);
    let functions = &arriving.json()["components"]["functions"];
    let reason = functions["details"]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("being compiled: spin-") && reason.contains("spin-e"), "{}", arriving.body);
    assert_eq!(get(program.admin(), "/actuator/health/liveness").status, 200);

    assert_eq!(says(&program).as_deref(), Some("hello"));
    done(cli(&folder, program.admin(), &["deploy", "other.wasm"]));
    done(cli(&folder, program.admin(), &["remove", "other"]));
    assert_eq!(readiness().status, 503, "an operator did not wait for them");

    let are_left = |names: &[&str]| names.iter().any(|name| readiness().body.contains(name));
    eventually("the last one is tried", || (!are_left(&["spin-c", "spin-d"])).then_some(()));
    let now = eventually("no more are on their way", || Some(readiness()).filter(|it| it.status == 200));
    assert!(now.json()["components"]["functions"].is_null(), "{}", now.body);
    let refused = get(program.admin(), "/functions/spin-e").json();
    assert_eq!(refused["versions"][0]["state"], "refused");
}
