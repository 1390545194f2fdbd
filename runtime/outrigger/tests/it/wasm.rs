//! WebAssembly filters in the running program: configured, swapped, refused.

mod swap;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use crate::{
    http::{get, post},
    idle::sleeps,
    ports::reserved,
    program::{Folder, Program, eventually},
};

const ROUTE: &str = "
listeners: { web: { address: '127.0.0.1:0' } }
routes: { all: { respond: { body: hello }, filters: { wasm: [marks] } } }
wasm: { plugins: { marks: { file: marks.wasm } } }
";

/// A filter that puts this text into the field `x-by` of every response.
fn marks(text: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "x-by")
          (data (i32.const 16) "{text}")
          (func (export "malloc") (param i32) (result i32) (i32.const 1024))
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (call $add (i32.const 2) (i32.const 0) (i32.const 4) (i32.const 16) (i32.const {length}))))"#,
        length = text.len()
    );
    wat::parse_str(text).unwrap()
}

fn put(folder: &Folder, module: &[u8]) {
    // In one step: nobody reads half a module.
    std::fs::write(folder.path("next.wasm"), module).unwrap();
    std::fs::rename(folder.path("next.wasm"), folder.path("marks.wasm")).unwrap();
}

fn by(program: &Program) -> Option<String> {
    let answer = get(program.web(), "/");
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    answer.header("x-by").map(str::to_owned)
}

#[test]
fn a_filter_is_swapped_when_its_file_changes() {
    let folder = Folder::with(ROUTE);
    put(&folder, &marks("first"));
    let program = folder.run();
    assert_eq!(by(&program).as_deref(), Some("first"));
    put(&folder, &marks("second"));
    eventually("the new filter is at work", || (by(&program).as_deref() == Some("second")).then_some(()));

    std::fs::write(folder.path("next.wasm"), "no module").unwrap();
    std::fs::rename(folder.path("next.wasm"), folder.path("marks.wasm")).unwrap();
    let refused = post(program.admin(), "/reload", "");
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(
        refused.body.contains("outrigger.yaml:6:35: wasm.plugins.marks.file: is no WebAssembly module"),
        "{}",
        refused.body
    );
    assert_eq!(by(&program).as_deref(), Some("second"), "the last good one stays");
    assert!(
        get(program.admin(), "/metrics")
            .body
            .contains("outrigger_wasm_crashes_total{plugin=\"marks\",reason=\"trap\"} 0\n")
    );
}

/// The file names a module that whoever tries it makes first: without it that is what is wrong with it.
#[test]
fn the_shipped_configuration_of_a_filter_works_beside_its_module() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/filter.yaml");
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("clusters.shop.endpoints=[{}]", backend.local_addr().unwrap());
    let folder =
        Folder::empty().arguments(&["--set", "listeners.web.address=127.0.0.1:0", "--set", &endpoint]);
    let file = folder.path("filter.yaml").display().to_string();
    let folder = folder.arguments(&["-c", &file]);
    folder.write("filter.yaml", &std::fs::read_to_string(shipped).unwrap());
    let checked = || {
        let checked = folder.command(&["check", "filter.yaml"]).output().unwrap();
        (checked.status.success(), String::from_utf8(checked.stderr).unwrap())
    };
    let (works, told) = checked();
    assert!(!works && told.contains("wasm.plugins.hello.file: cannot read "), "{told}");
    std::fs::write(folder.path("add_header.wasm"), marks("it")).unwrap();
    assert_eq!(checked(), (true, String::new()));

    let program = folder.run();
    let serving = std::thread::spawn(move || {
        let (mut client, _) = backend.accept().unwrap();
        let mut asked = [0; 1024];
        assert!(client.read(&mut asked).unwrap() > 0);
        client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").unwrap();
    });
    assert_eq!(by(&program).as_deref(), Some("it"));
    serving.join().unwrap();
}

/// Puts a mark before each piece of what a server says.
const SAYS: &str = r#"(module
  (import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "> ")
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_upstream_data") (param $id i32) (param $size i32) (param $end i32) (result i32)
    (if (local.get $size)
      (then (drop (call $set (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2)))))
    (i32.const 0)))"#;

#[test]
fn a_listener_of_byte_streams_has_filters_too() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = Folder::with(&format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: c, wasm: [marks, marks] }} }}\n\
         clusters: {{ c: {{ endpoints: ['{}'] }} }}\nwasm: {{ plugins: {{ marks: {{ file: marks.wasm }} }} }}\n",
        server.local_addr().unwrap()
    ));
    put(&folder, &wat::parse_str(SAYS).unwrap());
    let program = folder.run();
    let mut client = TcpStream::connect(program.web()).unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    client.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    accepted.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    accepted.write_all(b"welcome").unwrap();
    drop(accepted);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "> > welcome");
}

/// Sends each request to the endpoint its field `x-to` names in JSON, and says in `x-from` who answered.
const PICKS: &str = r#"(module
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_call_foreign_function" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "x-to") (data (i32.const 32) "outrigger_choose_endpoint") (data (i32.const 64) "x-from")
  (data (i32.const 80) "upstream\00address")
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (i32.eqz (call $get (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 4)))
      (then (drop (call $call (i32.const 32) (i32.const 25) (i32.load (i32.const 0)) (i32.load (i32.const 4))
        (i32.const 8) (i32.const 12)))))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (if (i32.eqz (call $property (i32.const 80) (i32.const 16) (i32.const 0) (i32.const 4)))
      (then (drop (call $add (i32.const 2) (i32.const 64) (i32.const 6) (i32.load (i32.const 0)) (i32.load (i32.const 4))))))
    (i32.const 0)))"#;

#[test]
fn a_filter_picks_the_endpoint() {
    let server = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).unwrap();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                    .unwrap();
            }
        });
        address
    };
    let (one, two) = (server(), server());
    let gone = reserved();
    let folder = Folder::with(&format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}\n\
         routes: {{ all: {{ backends: [ {{ cluster: c }} ], filters: {{ wasm: [marks] }},\
         retry: {{ attempts: 2, on: [connect_failure] }} }} }}\n\
         clusters: {{ c: {{ endpoints: ['{one}', '{two}', '{gone}'] }} }}\n\
         wasm: {{ plugins: {{ marks: {{ file: marks.wasm }} }} }}\n"
    ));
    put(&folder, &wat::parse_str(PICKS).unwrap());
    let program = folder.run();
    let ask = |to: &str| {
        let answer = crate::http::send(program.web(), "GET", "/", &[("x-to", to)], "");
        (answer.status, answer.header("x-from").map(str::to_owned))
    };
    for _ in 0..5 {
        for there in [one, two] {
            let told = ask(&format!(r#"{{"address":"{there}"}}"#));
            assert_eq!(told, (200, Some(there.to_string())));
        }
    }
    assert_eq!(ask(&format!(r#"{{"address":"{gone}","strict":true}}"#)), (503, None));
    let (status, elsewhere) = ask(&format!(r#"{{"address":"{gone}"}}"#));
    assert!(status == 200 && elsewhere.is_some_and(|from| from != gone.to_string()));
}

#[test]
fn mistakes_are_told_at_their_place() {
    let check = |text: &str, expected: &str| {
        let folder = Folder::empty();
        put(&folder, &marks("x"));
        folder.write("f.yaml", text);
        let output = folder.command(&["check", "f.yaml"]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(expected), "{text}\n{error}");
    };
    check("wasm: { plugin: {} }", "f.yaml:1:9: wasm.plugin: unknown key `plugin` (did you mean `plugins`?)");
    check(
        "wasm: { plugins: { marks: { file: marks.wasm, failure: opn } } }",
        "f.yaml:1:56: wasm.plugins.marks.failure: unknown value `opn` (did you mean `open`?)",
    );
    check(
        "wasm: { plugins: { marks: { file: marks.wasm, deadline: 1h } } }",
        "f.yaml:1:57: wasm.plugins.marks.deadline: must be between 1ms and 1s",
    );
    check(
        "wasm: { plugins: { marks: { file: nowhere.wasm } } }",
        "f.yaml:1:35: wasm.plugins.marks.file: cannot read nowhere.wasm",
    );
    check(
        "routes: { all: { respond: {}, filters: { wasm: [marsk] } } }\nlisteners: { web: { address: '127.0.0.1:0' } }\n\
         wasm: { plugins: { marks: { file: marks.wasm } } }",
        "f.yaml:1:49: routes.all.filters.wasm[0]: no plugin `marsk` under `wasm.plugins`; there are marks",
    );
}

#[test]
fn a_filter_that_has_nothing_to_do_wakes_nobody() {
    let folder = Folder::with(ROUTE);
    put(&folder, &marks("x"));
    let program = folder.run();
    for _ in 0..10 {
        assert_eq!(by(&program).as_deref(), Some("x"));
    }
    assert_eq!(sleeps(&program), Ok(()));
}
