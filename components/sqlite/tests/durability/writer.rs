//! The load: another process that writes and says on its standard output what was acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures_util::future::join_all;
use outrigger_component_api::{Key, SetOptions, StateStore};
use outrigger_sqlite::{SqliteConfig, SqliteState, Synchronous};

const FILE: &str = "OUTRIGGER_DURABILITY_FILE";
const LOAD: &str = "OUTRIGGER_DURABILITY_LOAD";

/// Writes numbered from `first`, by several callers at once.
pub(crate) struct Load {
    pub(crate) file: PathBuf,
    pub(crate) synchronous: Synchronous,
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) callers: u32,
}

pub(crate) fn key(number: u32) -> Key {
    Key::new(format!("key-{number:08}")).expect("not empty")
}

/// Says which write it is, so that a trace can be searched for it.
pub(crate) fn value(number: u32) -> Bytes {
    format!("value-{number:08}-{}", "x".repeat(number as usize % 200)).into()
}

pub(crate) fn open(file: &Path, synchronous: Synchronous) -> SqliteState {
    let config = SqliteConfig { path: Some(file.to_owned()), synchronous, ..SqliteConfig::default() };
    SqliteState::new(config).expect("valid settings")
}

impl Load {
    /// This test binary again, as the process that writes; started by `through` if that is given.
    pub(crate) fn command(&self, through: Option<Command>) -> Command {
        let executable = std::env::current_exe().expect("known");
        let mut command = match through {
            Some(mut through) => {
                through.arg(executable);
                through
            }
            None => Command::new(executable),
        };
        let synchronous = self.synchronous == Synchronous::Full;
        command
            .args(["--exact", "writing_process", "--nocapture"])
            .env(FILE, &self.file)
            .env(LOAD, format!("{synchronous} {} {} {}", self.first, self.count, self.callers))
            .stdout(Stdio::piped());
        command
    }

    pub(crate) fn from_environment() -> Option<Self> {
        let file = PathBuf::from(std::env::var_os(FILE)?);
        let load = std::env::var(LOAD).expect("set together");
        let words: Vec<_> = load.split(' ').collect();
        let [synchronous, first, count, callers] = words.as_slice() else { panic!("{load}") };
        let number = |word: &str| word.parse().expect("a number");
        let synchronous = if *synchronous == "true" { Synchronous::Full } else { Synchronous::Off };
        Some(Self { file, synchronous, first: number(first), count: number(count), callers: number(callers) })
    }

    /// Ends the process without closing the store: what is in the log must be enough.
    pub(crate) fn run(&self) -> ! {
        let store = open(&self.file, self.synchronous);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(join_all((0..self.callers).map(async |caller| {
            for number in (self.first + caller..self.first + self.count).step_by(self.callers as usize) {
                store.set(&key(number), value(number), SetOptions::default()).await.expect("written");
                std::io::stdout().write_all(format!("ack {number}\n").as_bytes()).expect("somebody listens");
            }
        })));
        std::process::exit(0)
    }
}

/// The number of the write a complete line of output acknowledges.
pub(crate) fn acknowledged(line: &str) -> Option<u32> {
    // The first may share its line with what the test harness prints.
    line.strip_suffix('\n')?.rsplit_once("ack ")?.1.parse().ok()
}

/// Starts the load, kills it once it has acknowledged that many writes, and returns all it acknowledged.
pub(crate) fn killed_after(load: &Load, enough: usize) -> Vec<u32> {
    let mut child = load.command(None).spawn().expect("starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut numbers = Vec::new();
    let mut line = String::new();
    // Goes on to the end of the pipe: what was acknowledged before the kill counts too.
    while output.read_line(&mut line).expect("text") > 0 {
        numbers.extend(acknowledged(&line));
        line.clear();
        if numbers.len() == enough {
            child.kill().expect("killed");
        }
    }
    let status = child.wait().expect("ended");
    assert!(!status.success(), "it was to be killed, and ended by itself");
    numbers
}
