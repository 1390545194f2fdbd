//! The name the operator probably meant.

use outrigger_http::Problem;

/// A reference to a `what` that does not exist.
pub(super) fn dangling<'a>(
    path: impl Into<String>,
    what: &str,
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Problem {
    let hint = nearest(written, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    Problem::new(path, format!("there is no {what} `{written}`{hint}"))
}

/// The closest name, unless even that is mostly different.
fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = (written.len() / 3).max(2);
    names
        .into_iter()
        .map(|name| (distance(written, name), name))
        .filter(|(distance, _)| *distance <= close)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's, over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (slot, to) in row.iter_mut().skip(1).zip(b.bytes()) {
            let above = *slot;
            left = (left + 1).min(above + 1).min(diagonal + usize::from(from != to));
            diagonal = above;
            *slot = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_right() {
        let check =
            |a, b, expected| assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        check("", "", 0);
        check("", "abc", 3);
        check("cart", "cart", 0);
        check("cart", "crat", 2);
        check("kitten", "sitting", 3);
    }

    #[test]
    fn only_close_names_are_offered() {
        let check =
            |written, expected| assert_eq!(nearest(written, ["cart-v1", "cart-v2", "orders"]), expected);
        check("cart-v3", Some("cart-v1"));
        check("order", Some("orders"));
        check("payments", None);
    }
}
