//! How much may wait, counted for all topics together.

use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger_component_api::Message;

/// What a message costs beside its bytes.
const OVERHEAD: usize = 128;

/// The room a message takes.
pub(super) fn size(message: &Message) -> usize {
    let metadata = message.metadata.iter().map(|(name, value)| name.len() + value.len() + OVERHEAD / 2);
    OVERHEAD + message.data.len() + metadata.sum::<usize>()
}

/// Messages and bytes that may still be taken in.
pub(super) struct Room {
    messages: usize,
    bytes: usize,
    used_messages: AtomicUsize,
    used_bytes: AtomicUsize,
}

impl Room {
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        Self { messages, bytes, used_messages: AtomicUsize::new(0), used_bytes: AtomicUsize::new(0) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the room of one message; false, and nothing taken, if there is too little.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let add = |counter: &AtomicUsize, more: usize, limit: usize| {
            let sum = |used: usize| used.checked_add(more).filter(|sum| *sum <= limit);
            counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
        };
        if !add(&self.used_messages, 1, self.messages) {
            return false;
        }
        let fits = add(&self.used_bytes, bytes, self.bytes);
        if !fits {
            self.used_messages.fetch_sub(1, Ordering::Relaxed);
        }
        fits
    }

    /// Whether one more message of this size would not fit, though it could.
    pub(super) fn is_short_of(&self, bytes: usize) -> bool {
        let free = self.bytes.saturating_sub(self.used_bytes.load(Ordering::Relaxed));
        bytes <= self.bytes && (self.used_messages.load(Ordering::Relaxed) >= self.messages || free < bytes)
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used_messages.fetch_sub(1, Ordering::Relaxed);
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
