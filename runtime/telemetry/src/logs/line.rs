//! One line for one event, whatever is in it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// Text of somebody else's, as it may stand in a line of a log: what would end the line, or move the cursor of whoever
/// looks at it, is a blank.
pub fn one_line(text: &str) -> Cow<'_, str> {
    let moves = |c: char| c.is_control() && c != '\t';
    if text.contains(moves) { text.replace(moves, " ").into() } else { text.into() }
}

/// Message and fields of an event in a line of text. The formatter's own would have line breaks in there, and what
/// moves the cursor.
pub(super) fn fields() -> impl for<'w> FormatFields<'w> + 'static {
    let field = |to: &mut Writer<'_>, field: &tracing::field::Field, value: &dyn fmt::Debug| {
        match field.name() {
            "message" => {}
            name if to.has_ansi_escapes() => write!(to, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
            name => write!(to, "{name}=")?,
        }
        write!(OneLine(to), "{value:?}")
    };
    debug_fn(field).delimited(" ")
}

struct OneLine<'t, 'w>(&'t mut Writer<'w>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&one_line(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_line_or_move_the_cursor_is_a_blank() {
        let check = |text, expected: &str| assert_eq!(one_line(text), expected);
        check("a\tb é \u{2192}", "a\tb é \u{2192}");
        check("a\nERROR outrigger: b\x1b[0m", "a ERROR outrigger: b [0m");
        check("a\r\nb\x1b[1A\u{85}c\u{9b}d\0", "a  b [1A c d ");
    }
}
