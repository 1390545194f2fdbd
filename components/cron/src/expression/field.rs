//! One field of an expression: `*`, numbers, names, ranges, steps and lists of them.

/// The numbers a field allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    bits: u64,
    /// Any number will do: the field says nothing.
    pub(super) any: bool,
}

impl Bits {
    pub(super) fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.bits.checked_shr(number).unwrap_or(0) & 1 == 1)
    }

    /// The numbers from this one on.
    pub(super) fn from(self, first: i8) -> impl Iterator<Item = i8> {
        (first..60).filter(move |number| self.has(*number))
    }
}

/// What a field may hold.
pub(super) struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// The largest number that may be written: Sunday is also 7.
    most: u32,
    /// Words for the numbers from the first on.
    words: &'static [&'static str],
}

pub(super) const SECONDS: Field = Field::new("second", 0, 59, &[]);
pub(super) const MINUTES: Field = Field::new("minute", 0, 59, &[]);
pub(super) const HOURS: Field = Field::new("hour", 0, 23, &[]);
pub(super) const DAYS: Field = Field::new("day of the month", 1, 31, &[]);
pub(super) const MONTHS: Field = Field::new(
    "month",
    1,
    12,
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
);
pub(super) const WEEKDAYS: Field = Field {
    most: 7,
    ..Field::new("day of the week", 0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"])
};

impl Field {
    const fn new(name: &'static str, first: u32, last: u32, words: &'static [&'static str]) -> Self {
        Self { name, first, last, most: last, words }
    }

    pub(super) fn parse(&self, text: &str) -> Result<Bits, String> {
        let mut all = Bits { bits: 0, any: false };
        for part in text.split(',') {
            let part = self.part(part)?;
            all = Bits { bits: all.bits | part.bits, any: all.any || part.any };
        }
        let beyond = all.bits.checked_shr(self.last + 1).unwrap_or(0);
        // Numbers beyond the last begin again.
        all.bits = all.bits & !(beyond << (self.last + 1)) | beyond;
        Ok(all)
    }

    fn part(&self, part: &str) -> Result<Bits, String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (part, None),
        };
        let (first, last) = match (range, range.split_once('-')) {
            ("*" | "?", _) => (self.first, self.last),
            (_, Some((first, last))) if !first.is_empty() => (self.number(first)?, self.number(last)?),
            _ => {
                let first = self.number(range)?;
                (first, if step.is_some() { self.last } else { first })
            }
        };
        if last < first {
            return Err(format!("the {} range '{range}' ends before it begins", self.name));
        }
        let step = step.unwrap_or(1);
        let bits = (first..=last).step_by(step).fold(0, |bits, number| bits | 1 << number);
        Ok(Bits { bits, any: matches!(range, "*" | "?") && step == 1 })
    }

    fn step(&self, text: &str) -> Result<usize, String> {
        let step = text.parse().ok().filter(|step| *step > 0);
        step.ok_or_else(|| format!("the {} step '{text}' is no number above 0", self.name))
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let Self { name, first, most, .. } = self;
        if let Some(at) = word.and_then(|at| u32::try_from(at).ok()) {
            return Ok(first + at);
        }
        match text.parse() {
            Ok(number) if (*first..=*most).contains(&number) => Ok(number),
            _ if text.is_empty() => Err(format!("a {name} is empty")),
            _ => Err(format!("the {name} '{text}' is not one of {first} to {most}")),
        }
    }
}
