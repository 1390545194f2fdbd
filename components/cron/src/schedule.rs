//! Schedules, as people write them, and when they are due next.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::expression::Expression;

/// When something is to happen, again and again.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Schedule(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Each time so much has passed, whatever clocks are set to.
    Every(Duration),
    /// At civil times of a place. One that the place skips does not come, one that it has twice comes twice.
    Cron { expression: Expression, zone: TimeZone },
}

/// A moment a schedule is due at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// As time passes.
    After(Instant),
    /// As clocks show.
    On(Timestamp),
}

const NANOS: u128 = 1_000_000_000;
/// Shorter intervals would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longer ones are mistakes, and beyond what can be added to a clock.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

impl Schedule {
    /// The first moment after now. Intervals are counted from `origin`.
    pub(crate) fn next(&self, clock: &dyn Clock, origin: Instant) -> Option<Due> {
        match &self.0 {
            Kind::Every(interval) => {
                let passed = origin.elapsed().as_nanos() / interval.as_nanos().max(1);
                let count = u32::try_from(passed + 1).unwrap_or(u32::MAX);
                Some(Due::After(origin + interval.saturating_mul(count)))
            }
            Kind::Cron { expression, zone } => after(expression, zone, clock.now()).map(Due::On),
        }
    }

    /// The first time after this one as clocks show it, the same for whoever asks: intervals are counted from the
    /// beginning of 1970, in UTC. `None` if there is none.
    pub fn following(&self, time: SystemTime) -> Option<SystemTime> {
        match &self.0 {
            Kind::Every(interval) => {
                let passed = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let interval = interval.as_nanos();
                let next = (passed.as_nanos() / interval.max(1) + 1).checked_mul(interval)?;
                let (seconds, nanos) = (next / NANOS, next % NANOS);
                let next = Duration::new(seconds.try_into().ok()?, nanos.try_into().ok()?);
                SystemTime::UNIX_EPOCH.checked_add(next)
            }
            Kind::Cron { expression, zone } => {
                after(expression, zone, Timestamp::try_from(time).ok()?).map(SystemTime::from)
            }
        }
    }

    /// The name of the place whose time it goes by.
    pub(crate) fn zone(&self) -> &str {
        match &self.0 {
            Kind::Every(_) => "UTC",
            Kind::Cron { zone, .. } => zone.iana_name().unwrap_or("UTC"),
        }
    }
}

/// The first second after `now` whose civil time in the zone is one of the expression's. Between two changes of the
/// zone's clocks civil time and ours differ by one offset, so that each such stretch is looked at by itself.
fn after(expression: &Expression, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    const STRETCHES: usize = 32;
    let mut start = Timestamp::from_second(now.as_second() + 1).ok()?;
    for _ in 0..STRETCHES {
        let offset = zone.to_offset(start);
        let end = zone.following(start).next().map(|change| change.timestamp());
        let found = expression.from(offset.to_datetime(start))?;
        let found = offset.to_timestamp(found).ok()?;
        match end {
            Some(end) if found >= end => start = end,
            _ => return Some(found),
        }
    }
    None
}

impl TryFrom<String> for Schedule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: String| format!("the schedule '{text}' cannot be read: {why}");
        let (zone, rest) = zoned(text.trim()).map_err(wrong)?;
        if let Some(interval) = rest.strip_prefix("@every ") {
            return every(interval.trim()).map_err(wrong);
        }
        let fields = match rest.strip_prefix('@') {
            Some(word) => named(word).map_err(wrong)?,
            None => rest,
        };
        let expression = Expression::parse(fields).map_err(wrong)?;
        if after(&expression, &TimeZone::UTC, Timestamp::UNIX_EPOCH).is_none() {
            return Err(wrong("there is no such day".to_owned()));
        }
        Ok(Self(Kind::Cron { expression, zone }))
    }
}

/// The zone in front, as in `CRON_TZ=Europe/Paris 0 9 * * *`, and the rest.
fn zoned(text: &str) -> Result<(TimeZone, &str), String> {
    let named = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ="));
    let Some(named) = named else { return Ok((TimeZone::UTC, text)) };
    let (name, rest) = named.split_once(char::is_whitespace).unwrap_or((named, ""));
    let zone = TimeZone::get(name)
        .map_err(|_| format!("the time zone '{name}' is not in the database of this system"))?;
    Ok((zone, rest.trim_start()))
}

fn named(word: &str) -> Result<&'static str, String> {
    Ok(match word {
        "yearly" | "annually" => "0 0 0 1 1 *",
        "monthly" => "0 0 0 1 * *",
        "weekly" => "0 0 0 * * 0",
        "daily" | "midnight" => "0 0 0 * * *",
        "hourly" => "0 0 * * * *",
        _ => {
            let known = "@yearly, @monthly, @weekly, @daily, @hourly and @every with a time such as 15s";
            return Err(format!("@{word} is not known; there are {known}"));
        }
    })
}

fn every(text: &str) -> Result<Schedule, String> {
    let interval = duration(text)
        .ok_or_else(|| format!("'{text}' is no time; expected one such as 15s, 1h30m or 500ms"))?;
    match interval {
        short if short < SHORTEST => Err(format!("'{text}' is shorter than {SHORTEST:?}")),
        long if long > LONGEST => Err(format!("'{text}' is longer than ten years")),
        interval => Ok(Schedule(Kind::Every(interval))),
    }
}

/// A time in the spelling of Go: `1h30m`, `1.5s`.
fn duration(mut text: &str) -> Option<Duration> {
    let mut all = Duration::ZERO;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let (number, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, rest) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
        all = all.checked_add(part)?;
        text = rest;
    }
    Some(all)
}

impl JsonSchema for Schedule {
    fn schema_name() -> Cow<'static, str> {
        "Schedule".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::Paused;

    fn schedule(text: &str) -> Schedule {
        Schedule::try_from(text.to_owned()).expect(text)
    }

    fn next(text: &str, now: &str) -> String {
        let due = schedule(text).next(&Paused::at(now), Instant::now());
        let Some(Due::On(time)) = due else { panic!("{text}: {due:?}") };
        time.to_string()
    }

    #[tokio::test]
    async fn words_and_zones_are_understood() {
        let check = |text: &str, now: &str, expected: &str| assert_eq!(next(text, now), expected, "{text}");
        check("@hourly", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z");
        check("@daily", "2026-11-21T10:00:00Z", "2026-11-22T00:00:00Z");
        check("@midnight", "2026-11-21T23:59:59.9Z", "2026-11-22T00:00:00Z");
        check("@weekly", "2026-11-21T10:00:00Z", "2026-11-22T00:00:00Z");
        check("@monthly", "2026-11-21T10:00:00Z", "2026-12-01T00:00:00Z");
        check("@yearly", "2026-11-21T10:00:00Z", "2027-01-01T00:00:00Z");
        check("CRON_TZ=America/New_York 0 30 04 * * *", "2026-11-21T00:00:00Z", "2026-11-21T09:30:00Z");
        check("TZ=Asia/Kolkata @daily", "2026-11-21T00:00:00Z", "2026-11-21T18:30:00Z");
        assert_eq!(schedule("TZ=Asia/Kolkata @daily").zone(), "Asia/Kolkata");
        assert_eq!(schedule("@daily").zone(), "UTC");
    }

    #[tokio::test]
    async fn clocks_that_are_set_skip_and_repeat() {
        let check = |fields: &str, now: &str, expected: &str| {
            assert_eq!(next(&format!("TZ=Europe/Paris {fields}"), now), expected, "{fields} {now}");
        };
        // On 29 March 2026 two o'clock became three: that day has no half past two.
        check("30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z");
        check("*/30 * * * *", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z");
        // On 25 October 2026 three o'clock became two: that day has two of them.
        check("30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z");
        check("30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
        check("30 2 * * *", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z");
        check("*/30 * * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z");
    }

    #[tokio::test(start_paused = true)]
    async fn intervals_keep_their_step() {
        let (clock, origin) = (Paused::at("2026-11-21T10:00:00Z"), Instant::now());
        let check = |text: &str, passed: u64, expected: u64| {
            let due = schedule(text).next(&clock, origin - Duration::from_millis(passed));
            let Some(Due::After(due)) = due else { panic!("{text}: {due:?}") };
            let expected = Duration::from_millis(expected - passed);
            assert_eq!(due.saturating_duration_since(origin), expected, "{text} after {passed}");
        };
        check("@every 10s", 0, 10_000);
        check("@every 10s", 9_999, 10_000);
        check("@every 10s", 10_000, 20_000);
        check("@every 10s", 34_567, 40_000);
        check("@every 1h30m", 1, 5_400_000);
        check("@every 1.5s", 1, 1_500);
        check("@every 250ms", 600, 750);
    }

    #[test]
    fn what_follows_is_the_same_for_everybody() {
        let check = |text: &str, time: &str, expected: &str| {
            let time: Timestamp = time.parse().expect("a time");
            let next =
                schedule(text).following(time.into()).map(|next| Timestamp::try_from(next).expect("a time"));
            assert_eq!(next.expect(text).to_string(), expected, "{text} {time}");
        };
        check("@every 15m", "2026-11-21T10:00:00Z", "2026-11-21T10:15:00Z");
        check("@every 15m", "2026-11-21T10:14:59.9Z", "2026-11-21T10:15:00Z");
        check("@every 1.5s", "2026-11-21T10:00:00.1Z", "2026-11-21T10:00:01.5Z");
        check("@every 250ms", "2026-11-21T10:00:00.25Z", "2026-11-21T10:00:00.5Z");
        check("* * * * * *", "2026-11-21T10:00:00.25Z", "2026-11-21T10:00:01Z");
        check("@hourly", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z");
        check("TZ=Asia/Kolkata @daily", "2026-11-21T00:00:00Z", "2026-11-21T18:30:00Z");
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, part: &str| {
            let error = Schedule::try_from(text.to_owned()).expect_err(text);
            assert!(error.starts_with(&format!("the schedule '{text}' ")) && error.contains(part), "{error}");
        };
        check("soon", "1 fields");
        check("@reboot", "@reboot is not known");
        check("@every", "@every is not known");
        check("@every soon", "'soon' is no time");
        check("@every 15", "'15' is no time");
        check("@every -1s", "'-1s' is no time");
        check("@every 1ms", "shorter than 100ms");
        check("@every 900000h", "longer than ten years");
        check("@every 99999999999999999999h", "is no time");
        check("0 0 31 2 *", "no such day");
        check("TZ=Mars/Olympus @daily", "'Mars/Olympus' is not in the database");
        check("TZ=Europe/Paris", "0 fields");
        check("61 * * * * *", "second '61'");
    }
}
