//! The machine and the versions of the measured programs.

use std::process::Command;

use crate::Effort;
use crate::contestant::{first_line, python_environment};
use crate::report::Report;
use crate::stage::Stage;

/// Describes them.
pub fn describe(stage: &Stage, effort: Effort, report: &mut Report) {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let version =
        |program: &str| first_line(Command::new(program).arg("--version")).unwrap_or_else(|| "none".to_owned());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    report.say(&format!(
        "{}; {cores} cores of {}, {} {}; {}, Node.js {}, {}; load when it began: {}{}.",
        first_line(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])).unwrap_or_default(),
        model.unwrap_or("an unknown processor").trim(),
        first_line(Command::new("uname").arg("-sr")).unwrap_or_default(),
        std::env::consts::ARCH,
        version("rustc").split(" (").next().unwrap_or_default(),
        version("node"),
        version(&python_environment().join("bin/python").to_string_lossy()),
        load.split(' ').next().unwrap_or_default(),
        effort.choose("", "; a quick run"),
    ));
    for missing in &stage.missing {
        report.say(missing);
    }
}
