//! Computes: `/work` for some hundred microseconds, over memory of its own; `/forever` without an end. What the benchmark
//! measures.

use std::hint::black_box;

use outrigger_guest::{Failure, export, http};

struct Busy;

export!(Busy: http);

/// Filled and read so often.
const PASSES: u64 = 5;
const WORDS: usize = (256 << 10) / size_of::<u64>();

impl http::Handler for Busy {
    fn handle(request: http::Request) -> Result<http::Response, Failure> {
        Ok(match request.route() {
            "/work" => http::Response::text(work().to_string()),
            "/forever" => loop {
                black_box(());
            },
            _ => http::Response::text("nothing here\n").status(404),
        })
    }
}

fn work() -> u64 {
    let mut words = vec![0; WORDS];
    for pass in 1..=PASSES {
        let mut random = pass;
        for word in &mut words {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            *word ^= random;
        }
    }
    black_box(words).into_iter().fold(0, u64::wrapping_add)
}
