//! Says which version of it answers.

use outrigger_guest::{Failure, export, http};

const VERSION: &str = if cfg!(feature = "v2") { "2" } else { "1" };

struct Answer;

export!(Answer: http);

impl http::Handler for Answer {
    fn handle(_: http::Request) -> Result<http::Response, Failure> {
        Ok(http::Response::text(VERSION))
    }
}
