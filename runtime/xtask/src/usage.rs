//! What a process costs, as the kernel counts it: CPU time, resident memory, system calls, wake-ups.

use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Server, scratch, wait_until};
use crate::tools::program;

/// User and system time of all threads so far (`/proc/PID/stat`, ticks of 10 ms).
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = read(pid, "stat")?;
    // The name in parentheses may contain blanks; the fields after it are numbers.
    let (_, fields) = stat.rsplit_once(')').context("reading stat")?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(pid: u32) -> Result<u64> {
    status_field(pid, "VmRSS:")
}

/// Resident memory of its own in KiB: what holds data, without the code, which is mapped as it is run.
pub(crate) fn anonymous_kib(pid: u32) -> Result<u64> {
    status_field(pid, "RssAnon:")
}

/// Times any thread of the process gave up its core to wait.
pub(crate) fn wake_ups(pid: u32) -> Result<u64> {
    let mut total = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        match std::fs::read_to_string(thread?.path().join("status")) {
            Ok(status) => total += field(&status, "voluntary_ctxt_switches:")?,
            // The thread ended after it was listed: ENOENT before its file is opened, ESRCH after.
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            Err(error) => return Err(error).context("reading a thread's status"),
        }
    }
    Ok(total)
}

/// System calls the process makes while `load` runs, counted by strace.
pub(crate) fn system_calls(pid: u32, load: impl FnOnce() -> Result<()>) -> Result<u64> {
    let dir = scratch()?;
    let report = dir.path().join("calls");
    let mut strace = Command::new(program("strace")?);
    strace.args(["-c", "-f", "-qq", "-p", &pid.to_string(), "-o"]).arg(&report);
    let mut tracer = Server::start("strace", &mut strace, None)?;
    tracer.wait_ready(|| status_field(pid, "TracerPid:").is_ok_and(|tracer| tracer != 0))?;
    load()?;
    let end = tracer.stop(Duration::from_secs(5));
    wait_until("strace detached", Duration::from_secs(5), || {
        status_field(pid, "TracerPid:").is_ok_and(|tracer| tracer == 0)
    })?;
    end?;
    total_calls(&std::fs::read_to_string(&report)?)
}

/// The `calls` column of strace's line "total".
fn total_calls(report: &str) -> Result<u64> {
    let line =
        report.lines().rev().find(|line| line.ends_with("total")).context("strace printed no total")?;
    let calls = line.split_whitespace().nth(3).context("strace's total line")?;
    calls.parse().with_context(|| format!("strace's total line: {line}"))
}

fn status_field(pid: u32, name: &str) -> Result<u64> {
    field(&read(pid, "status")?, name)
}

fn field(status: &str, name: &str) -> Result<u64> {
    let value =
        status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let number = value.split_whitespace().next().context("an empty field")?;
    number.parse().with_context(|| format!("{name} {value}"))
}

fn read(pid: u32, file: &str) -> Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("process {pid} is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_has_used_something() {
        let pid = std::process::id();
        assert!(resident_kib(pid).unwrap() > anonymous_kib(pid).unwrap());
        assert!(anonymous_kib(pid).unwrap() > 100);
        cpu_time(pid).unwrap();
        wake_ups(pid).unwrap();
    }

    #[test]
    fn the_total_of_strace() {
        let report = "% time     seconds  usecs/call     calls    errors syscall\n\
                      ------ ----------- ----------- --------- --------- ----------------\n\
                       60.00    0.001000           1      1000           read\n\
                      ------ ----------- ----------- --------- --------- ----------------\n\
                      100.00    0.001500           1      1234         5 total\n";
        assert_eq!(total_calls(report).unwrap(), 1234);
        assert!(total_calls("nothing").is_err());
    }
}
