//! Can be called for everything and does nothing: the tests have to notice.

use outrigger_guest::event::Answer;
use outrigger_guest::{Failure, binding, event, export, http, invoke, schedule};

struct Nothing;

export!(Nothing: http, event, schedule, binding, invoke);

impl http::Handler for Nothing {
    fn handle(_: http::Request) -> Result<http::Response, Failure> {
        Ok(http::Response::text(""))
    }
}

impl invoke::Handler for Nothing {
    fn handle(_: invoke::Call) -> Result<invoke::Answer, Failure> {
        Ok(invoke::Answer::text(""))
    }
}

impl event::Handler for Nothing {
    fn handle(_: event::Event) -> Result<Answer, Failure> {
        Ok(Answer::Success)
    }
}

impl schedule::Handler for Nothing {
    fn handle(_: schedule::Tick) -> Result<(), Failure> {
        Ok(())
    }
}

impl binding::Handler for Nothing {
    fn handle(_: binding::Input) -> Result<(), Failure> {
        Ok(())
    }
}
