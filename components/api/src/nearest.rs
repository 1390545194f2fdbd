//! Guessing which name somebody meant.

/// The candidate closest to what was written, if one is close enough to be a slip of the finger: at most a third of
/// the letters differ. Case does not count.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    let allowed = written.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&written, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = substituted.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        let check = |a, b, expected| assert_eq!(distance(a, b), expected, "{a} {b}");
        check("", "", 0);
        check("abc", "", 3);
        check("", "abc", 3);
        check("kitten", "sitting", 3);
        check("flaw", "lawn", 2);
        check("same", "same", 0);
    }

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let types = ["state.redis", "state.sqlite", "secretstores.local.env"];
        let check = |written, expected| assert_eq!(nearest(written, types), expected, "{written}");
        check("state.sqllite", Some("state.sqlite"));
        check("State.Redis", Some("state.redis"));
        check("secretstore.local.env", Some("secretstores.local.env"));
        check("bindings.kafka", None);
    }
}
