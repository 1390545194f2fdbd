//! What tests of swapping filters and of swapping functions have in common. `OUTRIGGER_SWAP_SECONDS` and `OUTRIGGER_SWAPS`
//! make them longer, `OUTRIGGER_TEST_PROGRAM` names another build.

use crate::program::{Program, setting};

/// Asks for pages and touches each for as long as it gets some.
pub(crate) const BOMB: &str = "(local $at i32) (loop (local.set $at (memory.grow (i32.const 1)))
    (if (i32.eq (local.get $at) (i32.const -1)) (then unreachable))
    (i32.store (i32.mul (local.get $at) (i32.const 65536)) (i32.const 1)) (br 0))";

/// How many swaps, one a second, and under how many requests a second: a few, but for whoever wants it longer.
pub(crate) fn swaps_and_rate(few: u32) -> (u32, u32) {
    let seconds: Option<u32> = setting("OUTRIGGER_SWAP_SECONDS");
    (seconds.unwrap_or(4), if seconds.is_some() { 2000 } else { few })
}

/// Swaps often, after the first ten: no more is in memory afterwards than before.
pub(crate) fn memory_stays(program: &Program, mut swap: impl FnMut(usize)) {
    let swaps: usize = setting("OUTRIGGER_SWAPS").unwrap_or(30);
    (0..10).for_each(&mut swap);
    let before = program.data();
    (10..10 + swaps).for_each(&mut swap);
    let grown = program.data().saturating_sub(before);
    println!("{swaps} swaps: {} KiB more than {} KiB", grown >> 10, before >> 10);
    assert!(grown < 50 << 20, "{grown} B after {swaps} swaps");
}
