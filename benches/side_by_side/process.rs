//! A process under test, and the system's data about it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::share::Share;

/// A process. It ends when the value is dropped.
pub struct Process {
    child: Child,
    /// When it started to load its program.
    pub started: Instant,
    /// The CPU time that it had used by then.
    cpu_before: Duration,
}

impl Process {
    /// Starts a command with these variables and no others, under a share if there is one. Its standard error goes to
    /// the file `log`.
    pub fn start(command: &[String], variables: &[(String, String)], share: Option<&Share>, log: &Path) -> Self {
        // The shell waits until the process is in its control group, so neither its own start nor ours counts.
        let mut child = Command::new("/bin/sh")
            .args(["-c", r#"read _; exec "$@" </dev/null"#, "sh"])
            .args(command)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(log.parent().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        // Until it sleeps in its `read`.
        std::thread::sleep(Duration::from_millis(20));
        if let Some(share) = share {
            share.hold(child.id());
        }
        let cpu_before = cpu_of(&format!("/proc/{}/task", child.id()), None);
        let mut standard_input = child.stdin.take().unwrap();
        let started = Instant::now();
        standard_input.write_all(b"\n").unwrap();
        Self { child, started, cpu_before }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    /// The CPU time of all its threads since it started to load its program.
    pub fn cpu(&self) -> Duration {
        cpu_of(&format!("/proc/{}/task", self.id()), None) - self.cpu_before
    }

    /// A line of its status, in KB: `VmRSS` is its current memory, `VmHWM` its maximum.
    pub fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        value.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The CPU time of this process's threads with this name.
pub fn cpu_of_thread(name: &str) -> Duration {
    cpu_of("/proc/self/task", Some(name))
}

/// How long all of the machine's cores together were busy and idle since it started.
pub fn cpu_of_machine() -> [Duration; 2] {
    let statistics = std::fs::read_to_string("/proc/stat").unwrap();
    let fields = statistics.lines().next().unwrap().split_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = fields.map(|ticks| ticks.parse().unwrap()).collect();
    // The fourth and fifth are idle time and waiting for disks. A tick is 10 ms on all processors of Lambda.
    let idle = ticks[3] + ticks[4];
    [ticks.iter().sum::<u64>() - idle, idle].map(|ticks| Duration::from_millis(10 * ticks))
}

/// Threads that have ended are not included. Ours do not end, and as far as is known, the contestants' do not either.
fn cpu_of(tasks: &str, name: Option<&str>) -> Duration {
    let tasks = std::fs::read_dir(tasks).unwrap().filter_map(|task| Some(task.ok()?.path()));
    let tasks = tasks.filter(|task| {
        let its_name = std::fs::read_to_string(task.join("comm"));
        name.is_none_or(|name| its_name.is_ok_and(|its_name| its_name.trim() == name))
    });
    let nanoseconds = tasks.filter_map(|task| {
        let statistics = std::fs::read_to_string(task.join("schedstat")).ok()?;
        statistics.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}
