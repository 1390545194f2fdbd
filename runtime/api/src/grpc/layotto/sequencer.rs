//! Sequences in the Layotto dialect.

use outrigger_blocks::{Error, Increment};
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::sequencer_options::AutoIncrement;
use tonic::{Request, Status};

use super::RuntimeService;
use crate::status::{self, Block};

impl RuntimeService {
    pub(super) async fn sequencer_next(
        &self,
        request: Request<proto::GetNextIdRequest>,
    ) -> Result<proto::GetNextIdResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let proto::GetNextIdRequest { store_name, key, options, .. } = request.get_ref();
        let increment = increment(options.as_ref()).map_err(error)?;
        let next_id = self.blocks.sequencer.next(&caller, store_name, key, increment).await;
        Ok(proto::GetNextIdResponse { next_id: next_id.map_err(error)? })
    }
}

/// Without options it is weak, as in Layotto, whatever the comment in its proto file says.
fn increment(options: Option<&proto::SequencerOptions>) -> Result<Increment, Error> {
    let Some(options) = options else { return Ok(Increment::Weak) };
    match AutoIncrement::try_from(options.increment) {
        Ok(AutoIncrement::Weak) => Ok(Increment::Weak),
        Ok(AutoIncrement::Strong) => Ok(Increment::Strong),
        Err(_) => Err(Error::invalid(format!("options.increment has no value {}", options.increment))),
    }
}

fn error(error: Error) -> Status {
    status::layotto::status(Block::Sequencer, &error)
}
