//! All processes that came from one application: its process group, and whoever left the group but carries the mark
//! we put into its environment.

use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

/// The variable whose value marks descendants.
pub const MARK: &str = "OUTRIGGER_RUN";

/// Between asking the leftovers to end and ending them.
const GRACE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// The processes of one `outrigger run`.
#[derive(Clone, Debug)]
pub struct Family {
    mark: String,
    pub group: Option<Pid>,
}

impl Family {
    /// A family nobody belongs to yet.
    pub fn found() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { mark: format!("{}-{}", std::process::id(), now.as_nanos()), group: None }
    }

    pub fn known(mark: String, group: Option<Pid>) -> Self {
        Self { mark, group }
    }

    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Asks everybody left to end, and ends those who have not by the end of the grace period.
    pub async fn end(&self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while self.is_alive() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        self.signal(Signal::KILL);
    }

    /// The same for a process without a runtime.
    pub fn end_blocking(&self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while self.is_alive() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.signal(Signal::KILL);
    }

    /// Signals the group and every marked process. Those that are gone already are what we want.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _gone = kill_process_group(group, signal);
        }
        for process in self.marked() {
            let _gone = kill_process(process, signal);
        }
    }

    fn is_alive(&self) -> bool {
        self.group.is_some_and(|group| test_kill_process_group(group).is_ok()) || !self.marked().is_empty()
    }

    /// Processes of ours whose environment carries the mark. The dead have an empty environment.
    fn marked(&self) -> Vec<Pid> {
        let wanted = format!("{MARK}={}", self.mark);
        let carries = |process: &fs::DirEntry| {
            let environment = fs::read(process.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbered = processes.filter_map(|process| {
            let pid = Pid::from_raw(process.file_name().to_str()?.parse().ok()?)?;
            Some((pid, process))
        });
        numbered.filter(|(_, process)| carries(process)).map(|(pid, _)| pid).collect()
    }
}
