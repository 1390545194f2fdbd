//! Hello in the Layotto dialect.

use outrigger_blocks::Error;
use outrigger_proto::layotto as proto;
use tonic::{Request, Status};

use super::RuntimeService;
use crate::status::{self, Block};

impl RuntimeService {
    /// The data comes back as it came, for measuring with payloads of a chosen size.
    pub(super) async fn hello_say(
        &self,
        request: Request<proto::SayHelloRequest>,
    ) -> Result<proto::SayHelloResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let proto::SayHelloRequest { service_name, name, data } = request.into_inner();
        let hello = self.blocks.hello.say(&caller, &service_name, &name).await.map_err(error)?;
        Ok(proto::SayHelloResponse { hello, data })
    }
}

fn error(error: Error) -> Status {
    status::layotto::status(Block::Hello, &error)
}
