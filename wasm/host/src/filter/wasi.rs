//! What compilers expect of an operating system: clocks, random numbers, two streams to write to, and nothing else. No
//! files, no network, no environment.

use std::time::{Instant, SystemTime};

use tracing::Level;
use wasmtime::{Caller, ExternType, Linker, Module, Val, ValType};

use super::control::nanoseconds;
use super::memory::{Answer, Guest, Refusal, Span, both, put, put_u32};
use super::state::State;
use crate::limits::{LOG_LINE, RANDOM};

/// Under both names modules import it by.
const NAMES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

const SUCCESS: u32 = 0;
const BAD_DESCRIPTOR: u32 = 8;
const FAULT: u32 = 21;
const INVALID: u32 = 28;
const NOT_SUPPORTED: i32 = 58;

/// A module that ends itself.
#[derive(Debug, thiserror::Error)]
#[error("the module exited with code {0}")]
pub(crate) struct Exit(pub(crate) u32);

type Asked = wasmtime::Result<u32>;

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    for name in NAMES {
        linker
            .func_wrap(
                name,
                "fd_write",
                |mut guest: Guest<'_>, fd: u32, list: u32, count: u32, written: u32| {
                    errno(fd_write(&mut guest, fd, list, count, written))
                },
            )?
            .func_wrap(name, "clock_time_get", |mut guest: Guest<'_>, clock: u32, _: u64, at: u32| {
                errno(clock_time_get(&mut guest, clock, at))
            })?
            .func_wrap(name, "random_get", |mut guest: Guest<'_>, at: u32, length: u32| {
                errno(random_get(&mut guest, at, length))
            })?
            .func_wrap(name, "environ_sizes_get", nothing_of)?
            .func_wrap(name, "args_sizes_get", nothing_of)?
            .func_wrap(name, "environ_get", |_: Guest<'_>, _: u32, _: u32| SUCCESS)?
            .func_wrap(name, "args_get", |_: Guest<'_>, _: u32, _: u32| SUCCESS)?
            .func_wrap(name, "sched_yield", |_: Guest<'_>| SUCCESS)?
            .func_wrap(name, "fd_close", |_: Guest<'_>, _: u32| BAD_DESCRIPTOR)?
            .func_wrap(name, "fd_seek", |_: Guest<'_>, _: u32, _: u64, _: u32, _: u32| BAD_DESCRIPTOR)?
            .func_wrap(name, "fd_read", |_: Guest<'_>, _: u32, _: u32, _: u32, _: u32| BAD_DESCRIPTOR)?
            .func_wrap(name, "fd_fdstat_set_flags", |_: Guest<'_>, _: u32, _: u32| SUCCESS)?
            .func_wrap(name, "fd_fdstat_get", |mut guest: Guest<'_>, fd: u32, at: u32| {
                errno(fd_fdstat_get(&mut guest, fd, at))
            })?
            // Anything but a bad descriptor, and start-up code asks for ever.
            .func_wrap(name, "fd_prestat_get", |_: Guest<'_>, _: u32, _: u32| BAD_DESCRIPTOR)?
            .func_wrap(name, "fd_prestat_dir_name", |_: Guest<'_>, _: u32, _: u32, _: u32| BAD_DESCRIPTOR)?
            .func_wrap(
                name,
                "poll_oneoff",
                |mut guest: Guest<'_>, from: u32, to: u32, count: u32, done: u32| {
                    errno(poll_oneoff(&mut guest, from, to, count, done))
                },
            )?
            .func_wrap(name, "proc_exit", |_: Guest<'_>, code: u32| -> wasmtime::Result<()> {
                Err(Exit(code).into())
            })?;
    }
    Ok(())
}

/// Whatever else of WASI a module imports exists, and answers that it is not supported: importing is not using.
pub(crate) fn link_rest(linker: &mut Linker<State>, module: &Module) {
    for import in module.imports().filter(|import| NAMES.contains(&import.module())) {
        let ExternType::Func(kind) = import.ty() else { continue };
        let mut results = kind.results();
        if !matches!((results.next(), results.next()), (Some(ValType::I32), None)) {
            continue;
        }
        let refuse = |_: Caller<'_, State>, _: &[Val], results: &mut [Val]| {
            if let Some(result) = results.first_mut() {
                *result = Val::I32(NOT_SUPPORTED);
            }
            Ok(())
        };
        // It fails for what is there already, which is as it should be.
        let _ = linker.func_new(import.module(), import.name(), kind.clone(), refuse);
    }
}

fn errno(answer: Answer<u32>) -> Asked {
    match answer {
        Ok(errno) => Ok(errno),
        Err(Refusal::Status(_)) => Ok(FAULT),
        Err(Refusal::Trap(error)) => Err(error),
    }
}

/// What has been written to standard output and error since the last end of a line.
#[derive(Debug, Default)]
pub(crate) struct Console {
    output: Vec<u8>,
    error: Vec<u8>,
}

impl Console {
    fn of(&mut self, level: Level) -> &mut Vec<u8> {
        if level == Level::ERROR { &mut self.error } else { &mut self.output }
    }
}

impl State {
    /// Some write a line in many pieces. One that does not end is written as far as a line may go.
    fn print(&mut self, level: Level, text: &[u8]) {
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LOG_LINE) {
                let line = self.console.of(level);
                line.extend_from_slice(part);
                if line.ends_with(b"\n") || line.len() >= LOG_LINE {
                    self.print_line(level);
                }
            }
        }
    }

    fn print_line(&mut self, level: Level) {
        let line = std::mem::take(self.console.of(level));
        if !line.trim_ascii_end().is_empty() {
            self.write(level, &line);
        }
    }

    /// There will be no more.
    pub(super) fn flush(&mut self) {
        self.print_line(Level::INFO);
        self.print_line(Level::ERROR);
        self.tell_dropped();
    }
}

/// Standard output and error are the log, line by line.
fn fd_write(guest: &mut Guest<'_>, fd: u32, list: u32, count: u32, written: u32) -> Answer<u32> {
    let level = match fd {
        1 => Level::INFO,
        2 => Level::ERROR,
        _ => return Ok(BAD_DESCRIPTOR),
    };
    if count > 1024 {
        return Ok(INVALID);
    }
    let (memory, state) = both(guest)?;
    let mut text = Vec::new();
    for pair in Span(list, count * 8).of(memory)?.chunks_exact(8) {
        let (at, length) = pair.split_at(4);
        let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).unwrap_or_default();
        let part = Span(number(at), number(length)).of(memory)?;
        if text.len() + part.len() > 1 << 20 {
            return Ok(INVALID);
        }
        text.extend_from_slice(part);
    }
    state.print(level, &text);
    put_u32(guest, written, u32::try_from(text.len()).unwrap_or(u32::MAX))?;
    Ok(SUCCESS)
}

fn clock_time_get(guest: &mut Guest<'_>, clock: u32, at: u32) -> Answer<u32> {
    let now = match clock {
        0 => nanoseconds(SystemTime::now()),
        1 => u64::try_from(Instant::now().duration_since(*STARTED).as_nanos()).unwrap_or(u64::MAX),
        _ => return Ok(INVALID),
    };
    put(guest, at, &now.to_le_bytes())?;
    Ok(SUCCESS)
}

static STARTED: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

fn random_get(guest: &mut Guest<'_>, at: u32, length: u32) -> Answer<u32> {
    use ring::rand::SecureRandom as _;
    if length > RANDOM {
        return Ok(INVALID);
    }
    let mut random = vec![0; length as usize];
    if ring::rand::SystemRandom::new().fill(&mut random).is_err() {
        return Ok(INVALID);
    }
    put(guest, at, &random)?;
    Ok(SUCCESS)
}

fn nothing_of(mut guest: Guest<'_>, count: u32, size: u32) -> Asked {
    let zero = |guest: &mut Guest<'_>| -> Answer<u32> {
        put_u32(guest, count, 0)?;
        put_u32(guest, size, 0)?;
        Ok(SUCCESS)
    };
    errno(zero(&mut guest))
}

/// The standard streams are character devices.
fn fd_fdstat_get(guest: &mut Guest<'_>, fd: u32, at: u32) -> Answer<u32> {
    if fd > 2 {
        return Ok(BAD_DESCRIPTOR);
    }
    let mut stat = [0; 24];
    stat[0] = 2;
    put(guest, at, &stat)?;
    Ok(SUCCESS)
}

/// Nobody waits inside a filter: every clock that is subscribed to has run out.
fn poll_oneoff(guest: &mut Guest<'_>, from: u32, to: u32, count: u32, done: u32) -> Answer<u32> {
    if count == 0 || count > 64 {
        return Ok(INVALID);
    }
    let (memory, _) = both(guest)?;
    let mut events = Vec::with_capacity(count as usize * 32);
    for subscription in Span(from, count * 48).of(memory)?.chunks_exact(48) {
        let (user, kind) = subscription.split_at(8);
        events.extend_from_slice(user);
        events.extend([0, 0]);
        events.extend(kind.first());
        events.resize(events.len() + 21, 0);
    }
    put(guest, to, &events)?;
    put_u32(guest, done, count)?;
    Ok(SUCCESS)
}
