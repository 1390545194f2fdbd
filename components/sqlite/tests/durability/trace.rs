//! What the writing process asked of the kernel, as strace saw it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::writer::{Load, acknowledged};

/// The calls on the store's files and the replies, in the order they began.
pub(crate) struct Trace {
    pub(crate) calls: Vec<Call>,
}

/// One call; `begin` and `end` are lines of the trace, so they order calls of different threads.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) begin: usize,
    pub(crate) end: usize,
    pub(crate) what: What,
}

#[derive(Debug, PartialEq)]
pub(crate) enum What {
    Write { file: PathBuf, offset: u64, bytes: Vec<u8> },
    Truncate { file: PathBuf, length: u64 },
    Remove { file: PathBuf },
    Sync { file: PathBuf },
    Reply { number: u32 },
}

impl Trace {
    /// Runs a load to its end under strace.
    pub(crate) fn of(load: &Load, log: &Path) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-xx", "-s", "1000000", "-o"]).arg(log);
        strace.args(["-e", "trace=write,writev,pwrite64,pwritev,fsync,fdatasync,ftruncate,unlink"]);
        let output = load.command(Some(strace)).output().expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(log).expect("readable");
        Self { calls: parse(&text, &load.file) }
    }

    /// The replies: when each began to be sent, and for which write.
    pub(crate) fn replies(&self) -> Vec<(usize, u32)> {
        let reply = |call: &Call| match call.what {
            What::Reply { number } => Some((call.begin, number)),
            _ => None,
        };
        self.calls.iter().filter_map(reply).collect()
    }

    pub(crate) fn log_syncs(&self) -> usize {
        self.calls.iter().filter(|call| is_log_sync(call)).count()
    }

    /// How often the log was merged into the store after the first reply.
    pub(crate) fn checkpoints(&self) -> usize {
        let served = self.replies().first().map_or(usize::MAX, |(moment, _)| *moment);
        let merge =
            |call: &&Call| call.begin > served && matches!(&call.what, What::Sync { file } if !is_log(file));
        self.calls.iter().filter(merge).count()
    }

    /// Between the write of an entry to the log and its reply, the log must have been synced: begun after the write
    /// had ended, ended before the reply began.
    pub(crate) fn every_reply_follows_its_sync(&self) -> Result<(), String> {
        let written = self.first_written();
        let syncs: Vec<_> = self.calls.iter().filter(|call| is_log_sync(call)).collect();
        for (replied, number) in self.replies() {
            let Some(written) = written.get(&number) else {
                return Err(format!("write {number} was acknowledged without having been written"));
            };
            let next = syncs.partition_point(|sync| sync.begin <= *written);
            if syncs.get(next).is_none_or(|sync| sync.end >= replied) {
                return Err(format!("write {number} was acknowledged before a sync"));
            }
        }
        Ok(())
    }

    /// When the log first held each numbered value.
    fn first_written(&self) -> HashMap<u32, usize> {
        const MARK: &[u8] = b"value-";
        let mut written = HashMap::new();
        for call in &self.calls {
            let What::Write { file, bytes, .. } = &call.what else { continue };
            if !is_log(file) {
                continue;
            }
            let marks = bytes.windows(MARK.len() + 8).filter(|window| window.starts_with(MARK));
            let numbers = marks
                .filter_map(|window| std::str::from_utf8(&window[MARK.len()..]).ok()?.parse::<u32>().ok());
            numbers.for_each(|number| {
                written.entry(number).or_insert(call.end);
            });
        }
        written
    }
}

fn is_log_sync(call: &Call) -> bool {
    matches!(&call.what, What::Sync { file } if is_log(file))
}

fn is_log(file: &Path) -> bool {
    file.to_string_lossy().ends_with("-wal")
}

/// Puts the halves of interrupted calls together: `1 f(a <unfinished ...>` and `1 <... f resumed>) = 0`.
fn parse(text: &str, store: &Path) -> Vec<Call> {
    let mut unfinished: HashMap<&str, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (begin, whole) = if let Some(beginning) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (number, beginning.to_owned()));
            continue;
        } else if let Some((_, ending)) = rest.split_once(" resumed>") {
            let (begin, beginning) = unfinished.remove(thread).expect("what resumes has begun");
            (begin, beginning + ending)
        } else {
            (number, rest.to_owned())
        };
        calls.extend(what(&whole, store).map(|what| Call { begin, end: number, what }));
    }
    calls.sort_by_key(|call| call.begin);
    calls
}

/// The call in `name(arguments) = result`, if it is about the store or a reply.
fn what(line: &str, store: &Path) -> Option<What> {
    let (name, rest) = line.split_once('(')?;
    // Short lines are padded before the equals sign; a process that ends leaves a call without a result.
    let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
    let arguments = arguments.trim_end();
    let arguments = arguments.strip_suffix(')').unwrap_or(arguments);
    let (target, others) = arguments.split_once(", ").unwrap_or((arguments, ""));
    // Either `9<path>` or, for unlink, `"path"`; both in hexadecimal.
    let target = target.split_once(['<', '"'])?.1.trim_end_matches(['>', '"']);
    let target = String::from_utf8(unescape(target)).ok()?;
    let is_ours = target.starts_with(&*store.to_string_lossy()) && !target.ends_with("-shm");
    let file = PathBuf::from(&target);
    assert!(!is_ours || !result.starts_with("-1"), "a call on the store failed: {name} {target} {result}");
    match name {
        "pwrite64" if is_ours => {
            let (bytes, numbers) = others.strip_prefix('"')?.split_once('"').expect("a string");
            assert!(!numbers.starts_with("..."), "strace cut a write short");
            let bytes = unescape(bytes);
            assert_eq!(result.parse(), Ok(bytes.len()), "a short write");
            let offset = numbers.rsplit_once(", ").expect("an offset").1.parse().expect("a number");
            Some(What::Write { file, offset, bytes })
        }
        "ftruncate" if is_ours => Some(What::Truncate { file, length: others.parse().expect("a length") }),
        "unlink" if is_ours => Some(What::Remove { file }),
        "fsync" | "fdatasync" if is_ours => Some(What::Sync { file }),
        "write" if !is_ours => {
            let (bytes, _) = others.strip_prefix('"')?.split_once('"')?;
            let number = acknowledged(&String::from_utf8(unescape(bytes)).ok()?)?;
            Some(What::Reply { number })
        }
        _ => {
            assert!(!is_ours, "a call nobody here understands: {name} on {target}");
            None
        }
    }
}

/// `\x41\x42` as bytes.
fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x")
        .filter(|hex| !hex.is_empty())
        .filter_map(|hex| u8::from_str_radix(hex, 16).ok())
        .collect()
}

#[test]
fn traces_are_read_as_strace_writes_them() {
    let text = r#"7 pwrite64(9<\x2f\x64\x2d\x77\x61\x6c>, "\x76\x31", 2, 32) = 2
7 fsync(9<\x2f\x64\x2d\x77\x61\x6c> <unfinished ...>
8 write(1<\x70\x69\x70\x65>, "\x61\x63\x6b\x20\x35\x0a", 6) = 6
7 <... fsync resumed>)        = 0
7 unlink("\x2f\x64\x2d\x6a") = 0
8 write(1<\x70\x69\x70\x65>, "\x68\x69\x0a", 3) = 3
7 +++ exited with 0 +++"#;
    let calls = parse(text, Path::new("/d"));
    let read: Vec<_> = calls.into_iter().map(|call| (call.begin, call.end, call.what)).collect();
    let log = || PathBuf::from("/d-wal");
    let expected = [
        (0, 0, What::Write { file: log(), offset: 32, bytes: b"v1".to_vec() }),
        (1, 3, What::Sync { file: log() }),
        (2, 2, What::Reply { number: 5 }),
        (4, 4, What::Remove { file: "/d-j".into() }),
    ];
    assert_eq!(read, expected);
}
