//! Log, time, and what happens next with a stream.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outrigger_telemetry::logs::one_line;
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;
use tracing::{Level, debug, error, info, trace, warn};

use super::abi::{Side, Status};
use super::endpoints;
use super::local::Local;
use super::map;
use super::memory::{Answer, Guest, Place, Span, both, bytes, give, put, put_u32};
use super::state::State;
use crate::limits;

pub(crate) fn log(guest: &mut Guest<'_>, level: u32, message: Span) -> Answer {
    let (memory, state) = both(guest)?;
    let level = match level {
        0 => Level::TRACE,
        1 => Level::DEBUG,
        2 => Level::INFO,
        3 => Level::WARN,
        4 | 5 => Level::ERROR,
        _ => return Err(Status::BadArgument.into()),
    };
    state.write(level, message.of(memory)?);
    Ok(())
}

impl State {
    /// A line of the guest's in the log of the process.
    pub(crate) fn write(&mut self, level: Level, line: &[u8]) {
        if level > LevelFilter::current() || !self.lines.take(Instant::now()) {
            return;
        }
        self.tell_dropped();
        let line = line.get(..limits::LOG_LINE).unwrap_or(line);
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        let (plugin, line) = (&*self.plan.name, one_line(&text));
        match level {
            Level::TRACE => trace!(target: "wasm", plugin, "{line}"),
            Level::DEBUG => debug!(target: "wasm", plugin, "{line}"),
            Level::INFO => info!(target: "wasm", plugin, "{line}"),
            Level::WARN => warn!(target: "wasm", plugin, "{line}"),
            Level::ERROR => error!(target: "wasm", plugin, "{line}"),
        }
    }
}

impl State {
    /// Once lines may be written again.
    pub(crate) fn tell_dropped(&mut self) {
        let dropped = self.lines.dropped();
        if dropped > 0 {
            warn!(target: "wasm", plugin = &*self.plan.name, dropped, "more log lines in a second than a filter may write");
        }
    }
}

pub(crate) fn get_log_level(guest: &mut Guest<'_>, at: u32) -> Answer {
    let level = match LevelFilter::current().into_level() {
        Some(Level::TRACE) => 0,
        Some(Level::DEBUG) => 1,
        Some(Level::INFO) => 2,
        Some(Level::WARN) => 3,
        Some(Level::ERROR) => 4,
        None => 5,
    };
    Ok(put_u32(guest, at, level)?)
}

pub(crate) fn get_time(guest: &mut Guest<'_>, at: u32) -> Answer {
    Ok(put(guest, at, &nanoseconds(SystemTime::now()).to_le_bytes())?)
}

pub(crate) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The task that calls `on_tick`; ends with the instance.
pub(crate) struct Tick(JoinHandle<()>);

impl Drop for Tick {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) fn set_tick_period(guest: &mut Guest<'_>, milliseconds: u32) -> Answer {
    let state = guest.data_mut();
    state.ticks.remove(&state.root);
    if let (Some(home), true) = (&state.home, milliseconds > 0) {
        let (cell, root) = (home.cell.clone(), state.root);
        let period = Duration::from_millis(milliseconds.into());
        let task = home.worker.spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(cell) = cell.upgrade() else { return };
                // A tick that fails has ended the instance, and this task with it.
                let _ = cell.with(|vm| vm.tick(root));
            }
        });
        state.ticks.insert(root, Tick(task));
    }
    Ok(())
}

pub(crate) fn done(guest: &mut Guest<'_>) -> Answer {
    let state = guest.data_mut();
    if state.finish(state.current) { Ok(()) } else { Err(Status::NotFound.into()) }
}

pub(crate) fn set_effective_context(guest: &mut Guest<'_>, context: u32) -> Answer {
    let state = guest.data_mut();
    if !state.is_root(context) && !state.streams.contains_key(&context) {
        return Err(Status::BadArgument.into());
    }
    state.focus(context);
    Ok(())
}

pub(crate) fn continue_stream(guest: &mut Guest<'_>, side: u32) -> Answer {
    let stream = guest.data_mut().stream_mut()?;
    stream.resume(Side::of(side, stream.is_connection)?);
    Ok(())
}

/// The client gets an error, or is cut off where a head has left already; so is a connection.
pub(crate) fn close_stream(guest: &mut Guest<'_>, side: u32) -> Answer {
    let closed = Local::new(503, &[], b"closed by a filter\n".to_vec(), None)?;
    let stream = guest.data_mut().stream_mut()?;
    Side::of(side, stream.is_connection)?;
    stream.answer(closed);
    Ok(())
}

/// What `send_local_response` is given.
pub(crate) struct Answered {
    pub(crate) status: u32,
    pub(crate) body: Span,
    pub(crate) headers: Span,
    pub(crate) grpc: i32,
}

pub(crate) fn send_local_response(guest: &mut Guest<'_>, answered: Answered) -> Answer {
    let (headers, body) = (bytes(guest, answered.headers)?, bytes(guest, answered.body)?);
    if body.len() > guest.data().plan.max_buffer {
        return Err(Status::BadArgument.into());
    }
    let grpc = u32::try_from(answered.grpc).ok();
    let local = Local::new(answered.status, &map::decode(&headers)?, body, grpc)?;
    let stream = guest.data_mut().stream_mut()?;
    if stream.is_connection {
        return Err(Status::BadArgument.into());
    }
    stream.answer(local);
    Ok(())
}

/// The status of the gRPC call whose end is being told.
pub(crate) fn get_status(guest: &mut Guest<'_>, code: u32, place: Place) -> Answer {
    let (status, message) = {
        let arrived = guest.data().calls.arrived()?;
        (arrived.status, arrived.message.clone())
    };
    put_u32(guest, code, status)?;
    give(guest, message.as_bytes(), place)
}

/// Functions of the host that go beyond proxy-wasm. Envoy's has nothing to do: the route is found once.
pub(crate) fn call_foreign(guest: &mut Guest<'_>, name: Span, arguments: Span, place: Place) -> Answer {
    let (memory, _) = both(guest)?;
    arguments.of(memory)?;
    match name.of(memory)? {
        b"clear_route_cache" => give(guest, &[], place),
        endpoints::LIST => endpoints::list(guest, arguments, place),
        endpoints::CHOOSE => endpoints::choose(guest, arguments, place),
        _ => Err(Status::NotFound.into()),
    }
}
