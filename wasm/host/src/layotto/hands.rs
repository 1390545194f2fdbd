//! The threads of a function, one for each instance it has needed so far. They end with the function.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;

use super::function::Job;

/// The idle ones.
#[derive(Default)]
pub(crate) struct Hands(Mutex<Vec<Hand>>);

/// A thread that waits for a job. While it waits only the function holds this, so that it ends when that does.
struct Hand(SyncSender<Task>);

/// A job, and whom it was given to.
struct Task {
    job: Box<Job>,
    hand: Hand,
}

impl Hands {
    /// An idle thread, or one more, takes the job. There are as many jobs at once as there are turns.
    pub(super) fn give(&self, name: &str, job: Job) -> io::Result<()> {
        let mut job = Box::new(job);
        loop {
            let idle = self.0.lock().pop();
            let Some(hand) = idle else { break };
            match hand.take(job) {
                Ok(()) => return Ok(()),
                // Nothing ends them, but then another one does it.
                Err(back) => job = back,
            }
        }
        let (tasks, own) = sync_channel(1);
        // Systems cut names after fifteen bytes.
        let short: String = format!("fn-{name}").chars().filter(char::is_ascii).take(15).collect();
        std::thread::Builder::new().name(short).spawn(move || work(&own))?;
        Hand(tasks).take(job).map_err(|_| io::Error::other("it ended at once"))
    }
}

impl Hand {
    fn take(self, job: Box<Job>) -> Result<(), Box<Job>> {
        let task = Task { job, hand: Self(self.0.clone()) };
        self.0.send(task).map_err(|back| back.0.job)
    }
}

fn work(tasks: &Receiver<Task>) {
    let mut vm = None;
    while let Ok(Task { job, hand }) = tasks.recv() {
        job.run(&mut vm, |hands| hands.0.lock().push(hand));
    }
    // It has been replaced, so whatever it does wrong now is of no consequence.
    let _ = vm.map(|mut vm| vm.end());
}
