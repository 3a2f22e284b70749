//! Shares of a core, like Lambda's: in proportion to memory, one core at 1769 MB.
//! Source: "Configure Lambda function memory" in the AWS Lambda developer guide.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

const MEGABYTES_OF_A_CORE: u64 = 1769;

/// A process gets its share again in every period. Lambda's is 20 ms.
const PERIOD_MICROSECONDS: u64 = 20_000;

/// The measured memory sizes.
pub const MEMORY: [u64; 3] = [128, 256, 512];

/// A control group that limits a process to the share of a memory size. It is removed with the value, which must
/// outlive the process.
///
/// Each process needs its own: one that used more than its share leaves a debt in the group, which the next would pay.
pub struct Share {
    directory: PathBuf,
}

impl Share {
    /// The share of this memory size.
    ///
    /// # Errors
    /// If no control group can be created; the text says why.
    pub fn of(megabytes: u64) -> Result<Self, String> {
        let quota = PERIOD_MICROSECONDS * megabytes / MEGABYTES_OF_A_CORE;
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("stripe-amplitude-bench-{}-{number}", std::process::id());
        let version_1 = Path::new("/sys/fs/cgroup/cpu");
        let version_2 = Path::new("/sys/fs/cgroup");
        let directory = if version_1.is_dir() { version_1 } else { version_2 }.join(name);
        std::fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let share = Self { directory };
        if version_1.is_dir() {
            share.write("cpu.cfs_period_us", PERIOD_MICROSECONDS)?;
            share.write("cpu.cfs_quota_us", quota)?;
        } else {
            let _ = std::fs::write(version_2.join("cgroup.subtree_control"), "+cpu");
            share.write("cpu.max", format!("{quota} {PERIOD_MICROSECONDS}"))?;
        }
        Ok(share)
    }

    /// Puts a process with all its threads under this share.
    pub fn hold(&self, process_id: u32) {
        self.write("cgroup.procs", process_id).unwrap();
    }

    fn write(&self, file: &str, value: impl ToString) -> Result<(), String> {
        let path = self.directory.join(file);
        std::fs::write(&path, value.to_string()).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.directory);
    }
}
