//! Memory for the fields of a message, lent by the thread for as long as the message lives.

use std::cell::RefCell;

use super::{Fields, Span};

/// Room for the fields of a usual message, and for those a proxy adds.
const TEXT: usize = 1024;
const SPANS: usize = 24;
/// What has grown beyond this is let go.
const MOST_TEXT: usize = 8 * 1024;
const MOST_SPANS: usize = 128;
const KEPT: usize = 64;

thread_local! {
    // Boxed where they are used, so boxed where they wait.
    #[expect(clippy::vec_box, reason = "a box is what is lent")]
    static POOL: RefCell<Vec<Box<Fields>>> = const { RefCell::new(Vec::new()) };
}

/// Fields, or nothing while there are none.
#[derive(Debug, Default)]
pub(super) struct Lent(Option<Box<Fields>>);

impl Lent {
    #[inline]
    pub(super) fn read(&self) -> &Fields {
        static NONE: Fields = Fields { text: Vec::new(), spans: Vec::new() };
        self.0.as_deref().unwrap_or(&NONE)
    }

    #[inline]
    pub(super) fn edit(&mut self) -> &mut Fields {
        self.0.get_or_insert_with(take)
    }
}

fn take() -> Box<Fields> {
    // A thread that is ending has no pool any more.
    let kept = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
    kept.unwrap_or_else(|| {
        Box::new(Fields { text: Vec::with_capacity(TEXT), spans: Vec::<Span>::with_capacity(SPANS) })
    })
}

impl Clone for Lent {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        if let Some(fields) = &self.0 {
            let into = copy.edit();
            into.text.extend_from_slice(&fields.text);
            into.spans.extend_from_slice(&fields.spans);
        }
        copy
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut fields) = self.0.take() else { return };
        if fields.text.capacity() > MOST_TEXT || fields.spans.capacity() > MOST_SPANS {
            return;
        }
        fields.text.clear();
        fields.spans.clear();
        // Where the thread is ending, it is dropped.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(fields);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_empty_unless_it_has_grown() {
        let mut lent = Lent::default();
        lent.edit().text.extend_from_slice(b"secret");
        let at = lent.read().text.as_ptr();
        drop(lent.clone());
        drop(lent);
        let mut again = Lent::default();
        assert!(again.edit().text.is_empty() && again.read().spans.is_empty());
        assert_eq!(again.read().text.as_ptr(), at);

        again.edit().text.resize(MOST_TEXT + 1, 0);
        let at = again.read().text.as_ptr();
        drop(again);
        assert_ne!(take().text.as_ptr(), at);
    }
}
