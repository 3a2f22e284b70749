//! A process under test, and what the system knows of it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::share::Share;

/// A process. It ends with the value.
pub struct Process {
    child: Child,
    /// When it began to load its program.
    pub started: Instant,
    /// The CPU time that was used by then.
    cpu_before: Duration,
}

impl Process {
    /// Starts a command with these variables and no others, under a share where there is one. What it writes to standard
    /// error goes to the file `log`.
    pub fn start(command: &[String], variables: &[(String, String)], share: Option<&Share>, log: &Path) -> Self {
        // The shell waits until the process is where it belongs; so neither its own start nor ours counts.
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

    /// Until it has ended by itself.
    pub fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    /// The CPU time of all its threads since it began to load its program.
    pub fn cpu(&self) -> Duration {
        cpu_of(&format!("/proc/{}/task", self.id()), None) - self.cpu_before
    }

    /// A line of its status, in KB: `VmRSS` is what it has in memory, `VmHWM` the most that it ever had.
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

/// The CPU time of the threads of this process that have this name.
pub fn cpu_of_thread(name: &str) -> Duration {
    cpu_of("/proc/self/task", Some(name))
}

/// For how long the machine's cores, all together, were busy and idle since it started.
pub fn cpu_of_machine() -> [Duration; 2] {
    let statistics = std::fs::read_to_string("/proc/stat").unwrap();
    let fields = statistics.lines().next().unwrap().split_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = fields.map(|ticks| ticks.parse().unwrap()).collect();
    // The fourth and fifth are idleness and waiting for disks. A tick is 10 ms, on all processors that Lambda has.
    let idle = ticks[3] + ticks[4];
    [ticks.iter().sum::<u64>() - idle, idle].map(|ticks| Duration::from_millis(10 * ticks))
}

/// Threads that have ended are not in it; none of ours and, as far as is known, of the contestants' do.
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
