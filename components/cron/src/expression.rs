//! Cron expressions: which seconds of which days they mean, whatever the time zone.

mod field;

use jiff::civil::{Date, DateTime, Time};

use field::{Bits, DAYS, HOURS, MINUTES, MONTHS, SECONDS, WEEKDAYS};

/// A set of civil times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    seconds: Bits,
    minutes: Bits,
    hours: Bits,
    days: Bits,
    months: Bits,
    weekdays: Bits,
}

/// Days looked at before it is clear that none will match: a 29th of February may be eight years away.
const DAYS_AHEAD: usize = 9 * 366;

impl Expression {
    /// Reads five fields, or six with seconds in front.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (seconds, rest) = match fields.as_slice() {
            rest @ [_, _, _, _, _] => ("0", rest),
            [seconds, rest @ ..] if rest.len() == 5 => (*seconds, rest),
            _ => {
                let count = fields.len();
                return Err(format!(
                    "it has {count} fields where 5 are expected, or 6 with seconds in front"
                ));
            }
        };
        let &[minutes, hours, days, months, weekdays] = rest else {
            return Err("it has too few fields".to_owned());
        };
        Ok(Self {
            seconds: SECONDS.parse(seconds)?,
            minutes: MINUTES.parse(minutes)?,
            hours: HOURS.parse(hours)?,
            days: DAYS.parse(days)?,
            months: MONTHS.parse(months)?,
            weekdays: WEEKDAYS.parse(weekdays)?,
        })
    }

    /// The first of its times that is not before `from`, to the second.
    pub(crate) fn from(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let mut earliest = (from.hour(), from.minute(), from.second());
        for _ in 0..DAYS_AHEAD {
            if self.has_day(date)
                && let Some(time) = self.time(earliest)
            {
                return Some(date.to_datetime(time));
            }
            (date, earliest) = (date.tomorrow().ok()?, (0, 0, 0));
        }
        None
    }

    /// Where both the day of the month and that of the week are named, either will do.
    fn has_day(&self, date: Date) -> bool {
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        let either = !self.days.any && !self.weekdays.any;
        self.months.has(date.month()) && if either { day || weekday } else { day && weekday }
    }

    /// The first time of a day that is not before this hour, minute and second.
    fn time(&self, (hour, minute, second): (i8, i8, i8)) -> Option<Time> {
        self.hours.from(hour).find_map(|h| {
            let minute = if h == hour { minute } else { 0 };
            self.minutes.from(minute).find_map(|m| {
                let second = if (h, m) == (hour, minute) { second } else { 0 };
                let second = self.seconds.from(second).next()?;
                Time::new(h, m, second, 0).ok()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, from: &str) -> Option<String> {
        let from: DateTime = from.parse().expect("a time");
        Expression::parse(expression).expect(expression).from(from).map(|time| time.to_string())
    }

    #[test]
    fn the_next_time_is_found() {
        let check = |expression: &str, from: &str, expected: &str| {
            assert_eq!(next(expression, from).as_deref(), Some(expected), "{expression} from {from}");
        };
        check("* * * * *", "2026-11-21T10:00:01", "2026-11-21T10:01:00");
        check("* * * * *", "2026-11-21T10:00:00", "2026-11-21T10:00:00");
        check("* * * * * *", "2026-11-21T10:00:01", "2026-11-21T10:00:01");
        check("*/15 * * * * *", "2026-11-21T10:00:46", "2026-11-21T10:01:00");
        check("5/20 * * * * *", "2026-11-21T10:00:06", "2026-11-21T10:00:25");
        check("0 30 3-6,20-23 * * *", "2026-11-21T06:31:00", "2026-11-21T20:30:00");
        check("30 6 * * *", "2026-11-21T06:30:01", "2026-11-22T06:30:00");
        check("0 0 1 1 *", "2026-01-01T00:00:01", "2027-01-01T00:00:00");
        check("0 0 29 2 *", "2028-02-29T00:00:01", "2032-02-29T00:00:00");
        check("0 0 29 2 ?", "2096-02-29T00:00:01", "2104-02-29T00:00:00");
        check("59 59 23 31 12 *", "2026-12-31T23:59:59", "2026-12-31T23:59:59");
        check("0 9 * jan-MAR,Dec mon", "2026-11-21T00:00:00", "2026-12-07T09:00:00");
        // 0 and 7 are both Sunday.
        for sunday in ["0", "7", "sun", "5-7"] {
            let expected = if sunday == "5-7" { "2026-11-21T12:00:00" } else { "2026-11-22T12:00:00" };
            check(&format!("0 12 * * {sunday}"), "2026-11-21T00:00:00", expected);
        }
        // A day of the month or one of the week, where both are named.
        check("0 0 13 * 5", "2026-11-14T00:00:00", "2026-11-20T00:00:00");
        check("0 0 13 * 5", "2026-12-12T00:00:00", "2026-12-13T00:00:00");
        // A star with a step names days.
        check("0 0 */10 * 5", "2026-11-12T00:00:00", "2026-11-13T00:00:00");
    }

    #[test]
    fn a_time_that_never_comes_is_none() {
        assert_eq!(next("0 0 30 2 *", "2026-01-01T00:00:00"), None);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |expression: &str, part: &str| {
            let error = Expression::parse(expression).expect_err(expression);
            assert!(error.contains(part), "{expression}: {error}");
        };
        check("* * * *", "4 fields");
        check("* * * * * * *", "7 fields");
        check("", "0 fields");
        check("60 * * * *", "minute");
        check("* 24 * * *", "hour");
        check("* * 0 * *", "day of the month");
        check("* * * 13 *", "month");
        check("* * * * 8", "day of the week");
        check("60 * * * * *", "second");
        check("10-5 * * * *", "ends before it begins");
        check("*/0 * * * *", "step");
        check("*/x * * * *", "step");
        check("1-2-3 * * * *", "2-3");
        check("a * * * *", "a");
        check("1,,2 * * * *", "empty");
        check("* * * * wed,thr", "thr");
        check("* * -1 * *", "-1");
    }
}
