//! The guest's memory, from which nothing is believed: every pointer is checked each time it is used.

use std::sync::Arc;

use wasmtime::{Caller, Extern, Memory, TypedFunc};

use super::abi::Status;
use super::state::State;

pub(crate) type Guest<'a> = Caller<'a, State>;

/// Why a host call does not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The guest is told.
    Status(Status),
    /// The guest is ended.
    Trap(wasmtime::Error),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<wasmtime::Error> for Refusal {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

pub(crate) type Answer<T = ()> = Result<T, Refusal>;

/// What a guest gets to see of an answer.
pub(crate) fn told(answer: Answer) -> wasmtime::Result<u32> {
    match answer {
        Ok(()) => Ok(Status::Ok.code()),
        Err(Refusal::Status(status)) => Ok(status.code()),
        Err(Refusal::Trap(error)) => Err(error),
    }
}

/// A pointer and a length, as calls take them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub(crate) u32, pub(crate) u32);

impl Span {
    /// The bytes it means, if they exist.
    pub(crate) fn of(self, memory: &[u8]) -> Result<&[u8], Status> {
        let start = self.0 as usize;
        let end = start.checked_add(self.1 as usize).ok_or(Status::InvalidMemoryAccess)?;
        memory.get(start..end).ok_or(Status::InvalidMemoryAccess)
    }

    pub(crate) fn text(self, memory: &[u8]) -> Result<&str, Status> {
        std::str::from_utf8(self.of(memory)?).map_err(|_| Status::BadArgument)
    }
}

/// Where the host is to write where it put something: pointer and length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(pub(crate) u32, pub(crate) u32);

/// The memory, which a module may use in its start function, before we have looked for it.
fn memory(guest: &mut Guest<'_>) -> Result<Memory, Status> {
    if let Some(memory) = guest.data().memory {
        return Ok(memory);
    }
    let Some(Extern::Memory(memory)) = guest.get_export("memory") else {
        return Err(Status::InvalidMemoryAccess);
    };
    guest.data_mut().memory = Some(memory);
    Ok(memory)
}

fn allocate(guest: &mut Guest<'_>) -> Result<Arc<TypedFunc<u32, u32>>, Status> {
    if let Some(allocate) = &guest.data().allocate {
        return Ok(Arc::clone(allocate));
    }
    let found = ALLOCATE.iter().find_map(|name| guest.get_export(name)?.into_func());
    let typed = found.and_then(|found| found.typed(&*guest).ok()).ok_or(Status::InvalidMemoryAccess)?;
    Ok(Arc::clone(guest.data_mut().allocate.insert(Arc::new(typed))))
}

/// By which names modules let us allocate.
pub(crate) const ALLOCATE: [&str; 2] = ["malloc", "proxy_on_memory_allocate"];

/// Memory and state at once.
pub(crate) fn both<'g>(guest: &'g mut Guest<'_>) -> Result<(&'g mut [u8], &'g mut State), Status> {
    let memory = memory(guest)?;
    Ok(memory.data_and_store_mut(guest))
}

pub(crate) fn bytes(guest: &mut Guest<'_>, span: Span) -> Result<Vec<u8>, Status> {
    both(guest).and_then(|(memory, _)| span.of(memory).map(<[u8]>::to_vec))
}

pub(crate) fn text(guest: &mut Guest<'_>, span: Span) -> Result<String, Status> {
    both(guest).and_then(|(memory, _)| span.text(memory).map(str::to_owned))
}

pub(crate) fn put(guest: &mut Guest<'_>, at: u32, value: &[u8]) -> Result<(), Status> {
    let (memory, _) = both(guest)?;
    let start = at as usize;
    let end = start.checked_add(value.len()).ok_or(Status::InvalidMemoryAccess)?;
    memory.get_mut(start..end).ok_or(Status::InvalidMemoryAccess)?.copy_from_slice(value);
    Ok(())
}

pub(crate) fn put_u32(guest: &mut Guest<'_>, at: u32, value: u32) -> Result<(), Status> {
    put(guest, at, &value.to_le_bytes())
}

/// Lengths in WebAssembly have 32 bits; nothing we hold is longer.
pub(crate) fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Hands bytes to the guest, in memory it allocates for them.
pub(crate) fn give(guest: &mut Guest<'_>, bytes: &[u8], place: Place) -> Answer {
    let mut at = 0;
    if !bytes.is_empty() {
        // An allocator that asks for something that has to be allocated would go round for ever.
        if std::mem::replace(&mut guest.data_mut().allocating, true) {
            return Err(Status::InternalFailure.into());
        }
        let allocated = allocate(guest)
            .map_err(Refusal::from)
            .and_then(|allocate| allocate.call(&mut *guest, length(bytes.len())).map_err(Refusal::from));
        guest.data_mut().allocating = false;
        at = allocated?;
        if at == 0 {
            return Err(Status::InvalidMemoryAccess.into());
        }
        put(guest, at, bytes)?;
    }
    put_u32(guest, place.0, at)?;
    Ok(put_u32(guest, place.1, length(bytes.len()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_outside_memory_are_refused() {
        let memory = [0; 16];
        for (start, length, fits) in [
            (0, 16, true),
            (16, 0, true),
            (0, 17, false),
            (17, 0, false),
            (u32::MAX, 1, false),
            (1, u32::MAX, false),
        ] {
            assert_eq!(Span(start, length).of(&memory).is_ok(), fits, "{start} {length}");
        }
    }
}
