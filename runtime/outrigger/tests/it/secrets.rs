//! Secrets over the API: read within the rules, refused with a reason, and never in a log, a dump or an error.

use outrigger_proto::layotto as proto;
use tonic::{Code, Response, Status};

use crate::{
    http,
    layotto::{Client, refused, run},
    program::Folder,
};

const CONFIG: &str = "
app: { id: orders }
log: { level: trace }
components:
  vault:
    type: secretstores.local.file
    settings: { secretsFile: secrets.json, deniedSecrets: ['db:admin'] }
  strict:
    type: secretstores.local.env
    settings: { prefix: SHOP_, defaultAccess: deny, allowedSecrets: [MAIL] }
  theirs:
    type: secretstores.local.env
    scopes: [billing]
";

/// A file as Layotto's demo has it, and what none of it may show up in.
const FILE: &str =
    r#"{"db": {"user": "carol", "password": "hunter2", "admin": "hunter3"}, "token": "hunter4"}"#;

fn folder() -> Folder {
    let folder = Folder::with(CONFIG).env("SHOP_MAIL", "hunter5").env("SHOP_ROOT", "hunter6");
    folder.write("secrets.json", FILE);
    folder
}

impl Client {
    async fn secret(&mut self, store: &str, key: &str) -> Result<Vec<(String, String)>, Status> {
        let request =
            proto::GetSecretRequest { store_name: store.into(), key: key.into(), ..Default::default() };
        self.runtime.get_secret(request).await.map(|answer| answer.into_inner().data.into_iter().collect())
    }

    async fn secrets(&mut self, store: &str) -> Result<Vec<(String, String)>, Status> {
        let request = proto::GetBulkSecretRequest { store_name: store.into(), ..Default::default() };
        let data = self.runtime.get_bulk_secret(request).await.map(Response::into_inner)?.data;
        Ok(data.into_values().flat_map(|secret| secret.secrets).collect())
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn secrets_are_read_within_the_rules_and_appear_nowhere_else() {
    let folder = folder();
    let mut program = folder.run();
    run(&program, async |c| {
        assert_eq!(c.secret("vault", "db:password").await.unwrap(), [pair("db:password", "hunter2")]);
        assert_eq!(c.secret("strict", "MAIL").await.unwrap(), [pair("MAIL", "hunter5")]);
        let all = [pair("db:password", "hunter2"), pair("db:user", "carol"), pair("token", "hunter4")];
        assert_eq!(c.secrets("vault").await.unwrap(), all);
        assert_eq!(c.secrets("strict").await.unwrap(), [pair("MAIL", "hunter5")]);

        refused(c.secret("vault", "db:admin").await, Code::PermissionDenied, "'db:admin'");
        refused(c.secret("strict", "ROOT").await, Code::PermissionDenied, "'ROOT'");
        refused(c.secret("strict", "NEVER").await, Code::PermissionDenied, "'NEVER'");
        refused(c.secret("theirs", "PATH").await, Code::PermissionDenied, "not open to app 'orders'");
        refused(c.secrets("theirs").await, Code::PermissionDenied, "not open to app 'orders'");
        refused(c.secret("vault", "db:pasword").await, Code::NotFound, "db:pasword");
        refused(c.secret("vault", "").await, Code::InvalidArgument, "key is empty");
        refused(c.secret("valut", "token").await, Code::InvalidArgument, "did you mean 'vault'?");
        refused(c.secrets("valut").await, Code::InvalidArgument, "did you mean 'vault'?");
        refused(c.secrets("").await, Code::InvalidArgument, "store_name is empty");
    });
    let dump = http::get(program.admin(), "/config").body;
    let metrics = http::get(program.admin(), "/metrics").body;
    assert!(metrics.contains("outrigger_block_calls_total{block=\"secrets\",component=\"vault\",op=\"get\""));
    program.stop();
    program.end();
    let log = program.log.join("\n");
    assert!(log.contains(" TRACE ") || log.contains("DEBUG"), "the log holds everything there is:\n{log}");
    for (shown, what) in [(&log, "log"), (&dump, "dump"), (&metrics, "metrics")] {
        assert!(!shown.contains("hunter"), "the {what} shows a secret:\n{shown}");
    }
}

#[test]
fn a_broken_store_is_an_error_that_quotes_nothing() {
    let folder = folder();
    let program = folder.run();
    run(&program, async |c| {
        c.secret("vault", "token").await.unwrap();
        folder.write("secrets.json", "{\"token\" \"hunter2\"}");
        for refusal in [c.secret("vault", "token").await, c.secrets("vault").await] {
            let status = refusal.unwrap_err();
            assert!(status.message().contains("not a JSON object"), "{status}");
            assert!(!format!("{status:?}").contains("hunter2"), "{status:?}");
        }
    });
}

#[test]
fn without_a_store_the_answer_says_what_to_add() {
    let folder = Folder::with("components: {}\n");
    let program = folder.run();
    run(&program, async |c| {
        let words = "no secret store is configured: add one under 'components'";
        refused(c.secret("vault", "token").await, Code::FailedPrecondition, words);
        refused(c.secrets("vault").await, Code::FailedPrecondition, words);
    });
}

#[test]
fn a_store_that_cannot_be_made_keeps_saying_why() {
    let folder = folder();
    folder.write("secrets.json", "{\"token\" \"hunter2\"}");
    let program = folder.run();
    run(&program, async |c| {
        for _ in 0..2 {
            refused(c.secret("vault", "token").await, Code::Unavailable, "not a JSON object");
        }
    });
}
