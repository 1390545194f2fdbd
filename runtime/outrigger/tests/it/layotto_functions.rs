//! Layotto's functions on the real program: called, changed and managed as its documentation says.

use std::{net::SocketAddr, path::Path};

use outrigger_sdk::{Client, Options};

use crate::{
    http::{Answer, get, post, send},
    ports::reserved,
    program::{Folder, Program, eventually},
};

/// A function of this id. `$ask` answers with what it is given in 8 and 12; `$say` writes to the response.
fn function(id: &str, import: &str, data: &str, code: &str) -> Vec<u8> {
    let length = id.len();
    let text = format!(
        r#"(module
          (import "env" "proxy_get_buffer_bytes" (func $get (param i32 i32 i32 i32 i32) (result i32)))
          (import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))
          {import}
          (memory (export "memory") 2)
          (global $heap (mut i32) (i32.const 65536))
          (data (i32.const 32) "{id}") {data}
          (func (export "malloc") (param $n i32) (result i32)
            (global.set $heap (i32.add (i32.const 65536) (i32.and (i32.add (global.get $heap) (i32.const 256)) (i32.const 65535))))
            (global.get $heap))
          (func $ok (param i32) (if (local.get 0) (then unreachable)))
          (func $say (param i32 i32)
            (call $ok (call $set (i32.const 1) (i32.const 0x7fffffff) (i32.const 0) (local.get 0) (local.get 1))))
          (func (export "proxy_abi_version_0_2_0"))
          (func (export "proxy_get_id")
            (call $ok (call $set (i32.const 8) (i32.const 0) (i32.const 0x7fffffff) (i32.const 32) (i32.const {length}))))
          (func (export "proxy_on_request_body") (param $id i32) (param $size i32) (param $end i32) (result i32)
            (local $at i32)
            (call $ok (call $get (i32.const 0) (i32.const 0) (local.get $size) (i32.const 8) (i32.const 12)))
            (local.set $at (i32.load (i32.const 8)))
            {code}
            (i32.const 0)))"#
    );
    wat::parse_str(text).unwrap()
}

/// Asks `id_2` for the stock of the book in its query, and puts `ending` after what it says.
fn shop(ending: &str) -> Vec<u8> {
    let (import, length) = (
        r#"(import "env" "proxy_invoke_service" (func $invoke (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#,
        ending.len(),
    );
    let data = format!(
        r#"(data (i32.const 64) "id_2") (data (i32.const 128) "There are ") (data (i32.const 192) " inventories for ")
           (data (i32.const 256) "{ending}")"#
    );
    let code = format!(
        r#"(call $ok (call $invoke (i32.const 64) (i32.const 4) (i32.const 0) (i32.const 0)
             (i32.add (local.get $at) (i32.const 5)) (i32.sub (local.get $size) (i32.const 5)) (i32.const 8) (i32.const 12)))
           (call $say (i32.const 128) (i32.const 10))
           (call $say (i32.load (i32.const 8)) (i32.load (i32.const 12)))
           (call $say (i32.const 192) (i32.const 17))
           (call $say (i32.add (local.get $at) (i32.const 5)) (i32.sub (local.get $size) (i32.const 5)))
           (call $say (i32.const 256) (i32.const {length}))"#
    );
    function("id_1", import, &data, &code)
}

/// Looks the stock of a book up.
fn stock() -> Vec<u8> {
    function(
        "id_2",
        r#"(import "env" "proxy_get_state" (func $state (param i32 i32 i32 i32 i32 i32) (result i32)))"#,
        r#"(data (i32.const 64) "state_demo")"#,
        r#"(call $ok (call $state (i32.const 64) (i32.const 10) (local.get $at) (local.get $size) (i32.const 8) (i32.const 12)))
           (call $say (i32.load (i32.const 8)) (i32.load (i32.const 12)))"#,
    )
}

struct Shop {
    folder: Folder,
    program: Program,
    web: SocketAddr,
}

impl Shop {
    /// The file that ships, on free ports.
    fn open() -> Self {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/layotto/functions.json"));
        let text = std::fs::read_to_string(shipped).unwrap();
        let web = reserved();
        let text =
            text.replace(":34904", ":0").replace(":34998", ":0").replace("127.0.0.1:2045", &web.to_string());
        let folder = Folder::bare().arguments(&["-c", "config.json"]);
        folder.write("config.json", &text);
        std::fs::create_dir(folder.path("functions")).unwrap();
        put(&folder, "book_shop.wasm", &shop("."));
        put(&folder, "book_stock.wasm", &stock());
        let program = folder.run();
        let shop = Self { folder, program, web };
        shop.save("book1", "100");
        shop
    }

    fn save(&self, key: &str, value: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options =
                Options { endpoint: format!("http://{}", self.program.api()), ..Options::default() };
            let client = Client::connect_with(options).await.unwrap();
            client.state("state_demo").save((key, value.to_owned())).await.unwrap();
        });
    }

    /// `curl -H 'id:id_1' 'localhost:2045?name=book1'`
    fn ask(&self, id: &str) -> Answer {
        send(self.web, "GET", "/?name=book1", &[("id", id)], "")
    }

    fn says(&self) -> (u16, String) {
        let answer = self.ask("id_1");
        (answer.status, answer.body)
    }

    fn manage(&self, what: &str, body: &str) -> (u16, String) {
        let answer = post(self.program.admin(), &format!("/wasm/{what}"), body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        (answer.status, answer.body)
    }
}

/// In one step: nobody reads half a module.
fn put(folder: &Folder, name: &str, module: &[u8]) {
    std::fs::write(folder.path("next.wasm"), module).unwrap();
    std::fs::rename(folder.path("next.wasm"), folder.path("functions").join(name)).unwrap();
}

const STOCK: &str = "There are 100 inventories for book1.";

#[test]
fn the_bookstore_of_the_documentation() {
    let shop = Shop::open();
    assert_eq!(shop.says(), (200, STOCK.to_owned()));
    shop.save("book1", "99");
    assert_eq!(shop.says().1, "There are 99 inventories for book1.");
    assert_eq!(shop.ask("id_3").status, 404);
    assert_eq!(get(shop.web, "/?name=book1").status, 404);
    // A function is what the header says, on whichever path and with whichever method.
    let direct = send(shop.web, "POST", "/anything", &[("id", "id_2")], "book1");
    assert_eq!((direct.status, direct.body.as_str()), (200, "99"));
    let refused = post(shop.program.admin(), "/wasm/other", "{}");
    assert_eq!((refused.status, refused.body.as_str()), (404, ""));
}

#[test]
fn a_changed_module_takes_over_between_two_requests() {
    let shop = Shop::open();
    let put_next = |ending: &str| put(&shop.folder, "book_shop.wasm", &self::shop(ending));
    for ending in ["!", "?"] {
        put_next(ending);
        let expected = format!("There are 100 inventories for book1{ending}");
        // Not one of them fails meanwhile.
        eventually("the new module answers", || {
            let (status, text) = shop.says();
            assert_eq!(status, 200, "{text}");
            (text == expected).then_some(())
        });
    }
}

#[test]
fn functions_are_managed_as_in_layotto() {
    let shop = Shop::open();
    assert_eq!(shop.manage("uninstall", r#"{"name":"id_1"}"#), (200, String::new()));
    assert_eq!(shop.ask("id_1").status, 404);
    let told = (500, r#"{"error":"id_1 is not registered"}"#.to_owned());
    assert_eq!(shop.manage("uninstall", r#"{"name":"id_1"}"#), told);
    assert_eq!(shop.manage("update", r#"{"name":"id_1","instance_num":2}"#), told);
    let install = r#"{"name":"id_1","instance_num":1,"vm_config":{"engine":"wasmtime","path":"functions/book_shop.wasm"}}"#;
    assert_eq!(shop.manage("install", install), (200, String::new()));
    assert_eq!(shop.says(), (200, STOCK.to_owned()));
    let told = (500, r#"{"error":"id_1 is already registered"}"#.to_owned());
    assert_eq!(shop.manage("install", install), told);
    assert_eq!(shop.manage("update", r#"{"name":"id_1","instance_num":2}"#), (200, String::new()));
    assert_eq!(shop.says(), (200, STOCK.to_owned()));
    // What was installed is watched, and stays when the file is read again.
    put(&shop.folder, "book_shop.wasm", &self::shop("!"));
    eventually("the new module answers", || shop.says().1.ends_with('!').then_some(()));
    let missing = install.replace("id_1", "other").replace("book_shop", "nowhere");
    let (status, error) = shop.manage("install", &missing);
    assert!(status == 500 && error.contains("cannot read functions/nowhere.wasm"), "{status} {error}");
    assert_eq!(post(shop.program.admin(), "/reload", "").status, 200, "nothing is left of it");
    assert_eq!(shop.manage("update", "{").0, 500);
}
