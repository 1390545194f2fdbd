//! Buffers: bodies, configuration, and what calls have brought.

use super::abi::{Buffer, Status};
use super::memory::{Answer, Guest, Place, Span, both, bytes, give, length, put_u32};
use super::state::State;
use super::stream::{At, Chunk, Stream};

pub(crate) fn get_bytes(guest: &mut Guest<'_>, number: u32, start: u32, most: u32, place: Place) -> Answer {
    let whole = view(guest.data(), Buffer::of(number)?)?;
    // Of nothing, nothing is there to be had; beyond the end of something is a mistake.
    let start = start as usize;
    if start > whole.len() {
        return Err(Status::BadArgument.into());
    }
    let end = start.saturating_add(most as usize).min(whole.len());
    let part = whole.get(start..end).unwrap_or_default().to_vec();
    give(guest, &part, place)
}

pub(crate) fn get_status(guest: &mut Guest<'_>, number: u32, size: u32, flags: u32) -> Answer {
    let whole = length(view(guest.data(), Buffer::of(number)?)?.len());
    put_u32(guest, size, whole)?;
    Ok(put_u32(guest, flags, 0)?)
}

pub(crate) fn set_bytes(guest: &mut Guest<'_>, number: u32, start: u32, replaced: u32, new: Span) -> Answer {
    let buffer = Buffer::of(number)?;
    let new = bytes(guest, new)?;
    let (_, state) = both(guest)?;
    let limit = state.plan.max_buffer;
    let chunk = body_mut(state, buffer)?;
    // What came may be larger than what may be kept; it does not become larger still.
    if chunk.spliced(start as usize, replaced as usize, new.len()) > limit.max(chunk.len()) {
        return Err(Status::BadArgument.into());
    }
    chunk.splice(start as usize, replaced as usize, &new);
    Ok(())
}

/// 0.1.0: whatever configuration the callback under way is about.
pub(crate) fn get_configuration(guest: &mut Guest<'_>, place: Place) -> Answer {
    let config = guest.data().plan.config.clone();
    give(guest, &config, place)
}

fn view(state: &State, buffer: Buffer) -> Result<&[u8], Status> {
    Ok(match buffer {
        Buffer::VmConfig => &state.plan.vm_config,
        Buffer::PluginConfig => &state.plan.config,
        Buffer::RequestBody => of_request(state)?.request.body.as_slice(),
        Buffer::ResponseBody => of_request(state)?.response.body.as_slice(),
        Buffer::Downstream => of_connection(state)?.request.body.as_slice(),
        Buffer::Upstream => of_connection(state)?.response.body.as_slice(),
        Buffer::CallData => state.acting()?.data.as_slice(),
        Buffer::CallBody | Buffer::GrpcMessage => &state.calls.arrived()?.body,
    })
}

fn of_request(state: &State) -> Result<&Stream, Status> {
    state.stream().and_then(|stream| if stream.is_connection { Err(Status::NotFound) } else { Ok(stream) })
}

fn of_connection(state: &State) -> Result<&Stream, Status> {
    state.stream().and_then(|stream| if stream.is_connection { Ok(stream) } else { Err(Status::NotFound) })
}

/// A body can be changed while it is shown or held back.
fn body_mut(state: &mut State, buffer: Buffer) -> Result<&mut Chunk, Status> {
    if buffer == Buffer::CallData {
        return Ok(&mut state.acting_mut()?.data);
    }
    let stream = state.stream_mut()?;
    let (at, body) = match (buffer, stream.is_connection) {
        (Buffer::RequestBody, false) | (Buffer::Downstream, true) => {
            (stream.request.at, &mut stream.request.body)
        }
        (Buffer::ResponseBody, false) | (Buffer::Upstream, true) => {
            (stream.response.at, &mut stream.response.body)
        }
        _ => return Err(Status::BadArgument),
    };
    if at == At::Body || (at == At::Trailers && body.len() > 0) { Ok(body) } else { Err(Status::BadArgument) }
}
