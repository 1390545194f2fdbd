//! The open streams of a connection, as far as the rules need to know them.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Stream {
    id: u32,
    opened: Instant,
    /// What we may still send; negative after the client lowered its settings.
    window: i64,
    /// Since when the window has kept a started answer from going on.
    blocked: Option<Instant>,
    /// Since when we have been answering.
    answering: Option<Instant>,
    /// Some of the answer's body was sent.
    pub(super) answered: bool,
    request_ended: bool,
    answer_ended: bool,
}

/// Sorted by id, as streams are opened in that order; few enough for a plain list.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Vec<Stream>,
    last: u32,
}

impl Stream {
    pub(super) fn is_younger_than(&self, age: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.opened) < age
    }

    pub(super) fn starts_answer(&mut self, now: Instant) {
        self.answering.get_or_insert(now);
        self.see(now);
    }

    /// Moves the window by what was sent (negative), allowed, or changed in the settings.
    pub(super) fn move_window(&mut self, by: i64, now: Instant) {
        self.window += by;
        self.see(now);
    }

    fn see(&mut self, now: Instant) {
        let blocked = self.answering.is_some() && !self.answer_ended && self.window <= 0;
        self.blocked = blocked.then(|| self.blocked.unwrap_or(now));
    }
}

impl Streams {
    /// Opens a stream if it is a new one of the client; says whether it did.
    pub(super) fn open(&mut self, id: u32, window: i64, now: Instant) -> bool {
        let is_new = id % 2 == 1 && id > self.last;
        if is_new {
            self.last = id;
            self.open.push(Stream {
                id,
                opened: now,
                window,
                blocked: None,
                answering: None,
                answered: false,
                request_ended: false,
                answer_ended: false,
            });
        }
        is_new
    }

    /// The highest stream the client has opened.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        let place = self.find(id)?;
        self.open.get_mut(place)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Stream> {
        self.find(id).map(|place| self.open.remove(place))
    }

    pub(super) fn end_request(&mut self, id: u32) {
        if self.get(id).is_some_and(|stream| {
            stream.request_ended = true;
            stream.answer_ended
        }) {
            self.remove(id);
        }
    }

    pub(super) fn end_answer(&mut self, id: u32) {
        if self.get(id).is_some_and(|stream| {
            stream.answer_ended = true;
            stream.blocked = None;
            stream.request_ended
        }) {
            self.remove(id);
        }
    }

    pub(super) fn move_all_windows(&mut self, by: i64, now: Instant) {
        self.open.iter_mut().for_each(|stream| stream.move_window(by, now));
    }

    /// The stream blocked for longest, and since when.
    pub(super) fn longest_blocked(&self) -> Option<(u32, Instant)> {
        self.open
            .iter()
            .filter_map(|stream| stream.blocked.map(|since| (stream.id, since)))
            .min_by_key(|(_, since)| *since)
    }

    /// Since when at least one answer has been under way.
    pub(super) fn answering(&self) -> Option<Instant> {
        self.open.iter().filter(|stream| !stream.answer_ended).filter_map(|stream| stream.answering).min()
    }

    fn find(&self, id: u32) -> Option<usize> {
        self.open.binary_search_by_key(&id, |stream| stream.id).ok()
    }
}
