//! The rules: what each frame, in or out, does to the budgets. Pure; time is passed in.

use std::time::Duration;

use tokio::time::Instant;

use super::budget::Budget;
use super::limits::{Flood, FloodLimits};
use super::scan::{Head, Seen, kind};
use super::streams::Streams;

/// RFC 9113 section 6.9.2.
const DEFAULT_WINDOW: i64 = 65_535;
const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 0x4;

/// A reset within this time of the request is a rapid one.
const RAPID: Duration = Duration::from_secs(1);

/// The most credit a client can save up: what it may send at once after we have sent it a lot.
const MOST_CREDIT: u32 = 10_000;

mod code {
    pub(super) const NO_ERROR: u32 = 0x0;
    pub(super) const INTERNAL_ERROR: u32 = 0x2;
    pub(super) const REFUSED_STREAM: u32 = 0x7;
    pub(super) const CANCEL: u32 = 0x8;
    pub(super) const ENHANCE_YOUR_CALM: u32 = 0xb;
}

#[derive(Debug)]
pub(super) struct Ledger {
    limits: FloodLimits,
    streams: Streams,
    initial_window: i64,
    window: i64,
    /// Since when the connection's window has been shut.
    shut: Option<Instant>,
    /// Frames and bytes of the header block being received.
    block: Option<(u32, u32)>,
    rapid: Rapid,
    stream_errors: Budget,
    control: Control,
}

/// One budget for each kind of frame that costs the client nothing.
#[derive(Debug)]
struct Control {
    ping: Budget,
    settings: Budget,
    priority: Budget,
    window_update: Budget,
    empty_data: Budget,
    late_reset: Budget,
    unknown: Budget,
}

/// The share of requests that were reset at once, of late: both numbers are halved as they grow, so a long good life
/// is no licence.
#[derive(Debug)]
struct Rapid {
    requests: u32,
    resets: u32,
    second: Instant,
    resets_in_second: u32,
}

/// What is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stalled {
    Stream(u32),
    Connection,
}

impl Ledger {
    pub(super) fn new(limits: FloodLimits, now: Instant) -> Self {
        let control = || Budget::full(now, limits.control_frames_per_second);
        Self {
            streams: Streams::default(),
            initial_window: DEFAULT_WINDOW,
            window: DEFAULT_WINDOW,
            shut: None,
            block: None,
            rapid: Rapid { requests: 0, resets: 0, second: now, resets_in_second: 0 },
            stream_errors: Budget::full(now, limits.stream_errors_burst),
            control: Control {
                ping: control(),
                settings: control(),
                priority: control(),
                window_update: control(),
                empty_data: control(),
                late_reset: control(),
                unknown: control(),
            },
            limits,
        }
    }

    /// The highest stream the client has opened.
    pub(super) fn last_stream(&self) -> u32 {
        self.streams.last()
    }

    /// Something the client sent.
    pub(super) fn received(&mut self, seen: Seen, now: Instant) -> Result<(), Flood> {
        match seen {
            Seen::Head(head) => match head.kind {
                kind::DATA => self.received_data(head, now),
                kind::HEADERS => self.received_headers(head, now),
                kind::CONTINUATION => self.received_block(head),
                kind::RST_STREAM => self.received_reset(head.stream, now),
                kind::SETTINGS => self.spend(Flood::Settings, now),
                kind::PING => self.spend(Flood::Ping, now),
                kind::PRIORITY | kind::PRIORITY_UPDATE => self.spend(Flood::Priority, now),
                kind::WINDOW_UPDATE => self.spend(Flood::WindowUpdate, now),
                // Ends the connection soon, or is an error the library answers by ending it.
                kind::GOAWAY | kind::PUSH_PROMISE => Ok(()),
                _ => self.spend(Flood::UnknownFrame, now),
            },
            Seen::Item { head, index: _, bytes } => match head.kind {
                kind::SETTINGS => self.received_setting(bytes, now),
                kind::WINDOW_UPDATE => self.received_increment(head.stream, bytes, now),
                // All of it is padding: as good as empty.
                kind::DATA if u32::from(first(bytes)) + 1 >= head.length && !head.ends_stream() => {
                    self.spend(Flood::EmptyData, now)
                }
                _ => Ok(()),
            },
        }
    }

    /// Something we sent.
    pub(super) fn sent(&mut self, seen: Seen, now: Instant) -> Result<(), Flood> {
        match seen {
            Seen::Head(head) => {
                self.sent_head(head, now);
                Ok(())
            }
            Seen::Item { head, index, bytes } => match (head.kind, index) {
                (kind::RST_STREAM, _) => self.sent_reset(head.stream, number(bytes), now),
                (kind::GOAWAY, 1) if number(bytes) == code::ENHANCE_YOUR_CALM => Err(Flood::Codec),
                _ => Ok(()),
            },
        }
    }

    /// What has been stuck for longest, and since when.
    pub(super) fn stalled(&self) -> Option<(Stalled, Instant)> {
        let stream = self.streams.longest_blocked().map(|(id, since)| (Stalled::Stream(id), since));
        // A shut window only matters to an answer under way.
        let connection =
            self.shut.zip(self.streams.answering()).map(|(shut, from)| (Stalled::Connection, shut.max(from)));
        stream.into_iter().chain(connection).min_by_key(|(_, since)| *since)
    }

    /// Forgets a stream that was reset on the client's behalf.
    pub(super) fn forget(&mut self, id: u32) {
        self.streams.remove(id);
    }

    fn received_data(&mut self, head: Head, now: Instant) -> Result<(), Flood> {
        if head.ends_stream() {
            self.streams.end_request(head.stream);
            return Ok(());
        }
        if head.length == 0 { self.spend(Flood::EmptyData, now) } else { Ok(()) }
    }

    fn received_headers(&mut self, head: Head, now: Instant) -> Result<(), Flood> {
        if self.streams.open(head.stream, self.initial_window, now) {
            self.rapid.request(self.limits.rapid_reset_after);
            // A cancelled request may meet its answer on the way.
            self.control.late_reset.credit(1, MOST_CREDIT);
        }
        if head.ends_stream() {
            self.streams.end_request(head.stream);
        }
        self.block = Some((0, 0));
        self.grow_block(head, 0)
    }

    fn received_block(&mut self, head: Head) -> Result<(), Flood> {
        self.grow_block(head, 1)
    }

    fn grow_block(&mut self, head: Head, continuations: u32) -> Result<(), Flood> {
        let (frames, bytes) = self.block.unwrap_or_default();
        let (frames, bytes) = (frames + continuations, bytes.saturating_add(head.length));
        self.block = (!head.ends_headers()).then_some((frames, bytes));
        if frames > self.limits.continuation_frames || bytes > self.limits.header_block_bytes {
            return Err(Flood::Continuation);
        }
        Ok(())
    }

    fn received_reset(&mut self, id: u32, now: Instant) -> Result<(), Flood> {
        let Some(stream) = self.streams.remove(id) else { return self.spend(Flood::LateReset, now) };
        // Once we answered, the client has waited for us, which bounds how fast it can go on.
        if stream.answered || !stream.is_younger_than(RAPID, now) {
            return Ok(());
        }
        self.rapid.reset(&self.limits, now)
    }

    fn received_setting(&mut self, bytes: [u8; 6], now: Instant) -> Result<(), Flood> {
        let [i0, i1, v0, v1, v2, v3] = bytes;
        if u16::from_be_bytes([i0, i1]) == SETTINGS_INITIAL_WINDOW_SIZE {
            let window = i64::from(u32::from_be_bytes([v0, v1, v2, v3]));
            self.streams.move_all_windows(window - self.initial_window, now);
            self.initial_window = window;
        }
        Ok(())
    }

    fn received_increment(&mut self, id: u32, bytes: [u8; 6], now: Instant) -> Result<(), Flood> {
        let increment = i64::from(number(bytes) & 0x7fff_ffff);
        if id == 0 {
            self.move_window(increment, now);
        } else if let Some(stream) = self.streams.get(id) {
            stream.move_window(increment, now);
        }
        Ok(())
    }

    fn sent_head(&mut self, head: Head, now: Instant) {
        match head.kind {
            kind::DATA => {
                let length = i64::from(head.length);
                self.move_window(-length, now);
                if let Some(stream) = self.streams.get(head.stream) {
                    stream.answered = true;
                    stream.move_window(-length, now);
                }
                self.control.window_update.credit(self.limits.window_updates_per_data, MOST_CREDIT);
                // gRPC clients measure the path with a PING for each round of data.
                self.control.ping.credit(1, MOST_CREDIT);
            }
            kind::HEADERS => {
                if let Some(stream) = self.streams.get(head.stream) {
                    stream.starts_answer(now);
                }
                self.control.ping.credit(1, MOST_CREDIT);
            }
            // Each is answered with one.
            kind::PING if !head.is_ack() => self.control.ping.credit(1, MOST_CREDIT),
            kind::SETTINGS if !head.is_ack() => self.control.settings.credit(1, MOST_CREDIT),
            _ => {}
        }
        if head.ends_stream() {
            self.streams.end_answer(head.stream);
        }
    }

    fn sent_reset(&mut self, id: u32, reason: u32, now: Instant) -> Result<(), Flood> {
        self.streams.remove(id);
        match reason {
            // What an upstream or a full server makes us send is not the client's doing.
            code::NO_ERROR | code::INTERNAL_ERROR | code::REFUSED_STREAM | code::CANCEL => Ok(()),
            _ => {
                let FloodLimits { stream_errors_per_second, stream_errors_burst, .. } = self.limits;
                let allowed = self.stream_errors.take(now, stream_errors_per_second, stream_errors_burst);
                if allowed { Ok(()) } else { Err(Flood::MadeYouReset) }
            }
        }
    }

    fn move_window(&mut self, by: i64, now: Instant) {
        self.window += by;
        self.shut = (self.window <= 0).then(|| self.shut.unwrap_or(now));
    }

    /// Takes from the budget of a kind of control frame.
    fn spend(&mut self, flood: Flood, now: Instant) -> Result<(), Flood> {
        let base = self.limits.control_frames_per_second;
        let streams = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        let scaled = base.saturating_add(streams.saturating_mul(self.limits.control_frames_per_stream));
        let (budget, rate) = match flood {
            Flood::Ping => (&mut self.control.ping, base),
            Flood::Settings => (&mut self.control.settings, base),
            Flood::Priority => (&mut self.control.priority, scaled),
            Flood::WindowUpdate => (&mut self.control.window_update, scaled),
            Flood::EmptyData => (&mut self.control.empty_data, scaled),
            Flood::LateReset => (&mut self.control.late_reset, scaled),
            _ => (&mut self.control.unknown, base),
        };
        if budget.take(now, rate, rate) { Ok(()) } else { Err(flood) }
    }
}

impl Rapid {
    fn request(&mut self, after: u32) {
        self.requests += 1;
        if self.requests >= after.saturating_mul(2).max(2) {
            self.requests /= 2;
            self.resets /= 2;
        }
    }

    fn reset(&mut self, limits: &FloodLimits, now: Instant) -> Result<(), Flood> {
        self.resets += 1;
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.resets_in_second) = (now, 0);
        }
        self.resets_in_second += 1;
        let many = self.requests >= limits.rapid_reset_after
            && u64::from(self.resets) * 100
                > u64::from(self.requests) * u64::from(limits.rapid_reset_percent);
        if many || self.resets_in_second > limits.rapid_reset_burst { Err(Flood::RapidReset) } else { Ok(()) }
    }
}

fn first([byte, ..]: [u8; 6]) -> u8 {
    byte
}

fn number([b0, b1, b2, b3, ..]: [u8; 6]) -> u32 {
    u32::from_be_bytes([b0, b1, b2, b3])
}
