//! The work of a start, up to the first request for work: its instructions as counted by callgrind, and its system
//! calls as seen by strace. Both are the same in every run.

use std::path::Path;
use std::process::Command;

use crate::Effort;
use crate::contestant::{Contestant, which};
use crate::delivery::Size;
use crate::program::scratch;
use crate::report::Report;
use crate::stage::Stage;

/// All calls of these are recorded.
const CALLS: &str = "trace=openat,getrandom,connect,clone,clone3";

pub fn measure(stage: &Stage, _: Effort, report: &mut Report) {
    let (Some(valgrind), Some(strace)) = (which("valgrind"), which("strace")) else {
        report.say("Skipped: it needs valgrind and strace.");
        return;
    };
    let queue = stage.aws.queue();
    let with_queue = |contestant: Contestant, name| contestant.named(name).with("REDELIVERY_QUEUE_URL", &queue);
    let contestants = [
        Contestant::hello(),
        Contestant::function(),
        with_queue(Contestant::function(), "stripe-amplitude, with a queue"),
        with_queue(Contestant::redelivery(), "redelivery"),
    ];
    let (mut rows, mut files) = (Vec::new(), Vec::new());
    for contestant in &contestants {
        let counted = under(stage, contestant, "callgrind", |file| {
            vec![valgrind.clone(), "--tool=callgrind".to_owned(), format!("--callgrind-out-file={file}")]
        });
        let summary = counted.lines().find_map(|line| line.strip_prefix("summary: ")).expect("callgrind sums up");
        let traced = under(stage, contestant, "strace", |file| {
            // -I 2: strace must end on request.
            [&*strace, "-f", "-I", "2", "-e", CALLS, "-o", file].map(str::to_owned).to_vec()
        });
        let calls = Calls::read(&traced);
        rows.push(vec![
            contestant.name.to_owned(),
            summary.trim().to_owned(),
            calls.files.len().to_string(),
            calls.random_bytes.to_string(),
            calls.connections.to_string(),
            calls.threads.to_string(),
        ]);
        files.push(format!("{}: {}", contestant.name, calls.files.join(", ")));
    }
    stage.aws.delete_queue(&queue);
    report.say("From the start of the program, its loading by the system included, to the first request for work.");
    let head = ["", "instructions", "files opened", "random bytes", "connections", "threads started"];
    report.table(&head, &rows);
    report.say(
        "The connection is to the runtime API. The files, with the names in which the system looks for libraries:",
    );
    report.say(&files.iter().map(|files| format!("- {files}")).collect::<Vec<_>>().join("\n"));
}

/// Starts it under a tool, ends the tool when the process asks for work, and returns the tool's output.
fn under(stage: &Stage, contestant: &Contestant, tool: &str, command: impl Fn(&str) -> Vec<String>) -> String {
    let file = scratch().join(format!("side-by-side-{tool}.out"));
    let _ = std::fs::remove_file(&file);
    let mut contestant = contestant.clone();
    contestant.command = [command(&file.to_string_lossy()), contestant.command].concat();
    let mut running = stage.start(&contestant, &stage.prompt, Size::Kb6, None);
    running.api.first_asked();
    // Not by force when the value is dropped: the tool has to write its results first.
    let ended = Command::new("kill").arg(running.process.id().to_string()).status();
    assert!(ended.is_ok_and(|status| status.success()), "{tool} has ended by itself");
    running.process.wait();
    std::fs::read_to_string(&file).expect("the tool has written")
}

/// The results of strace.
#[derive(Default)]
struct Calls {
    files: Vec<String>,
    random_bytes: u64,
    connections: usize,
    threads: usize,
}

impl Calls {
    /// From lines such as `4242 openat(AT_FDCWD, "/proc/self/maps", O_RDONLY|O_CLOEXEC) = 3`.
    fn read(text: &str) -> Self {
        let mut calls = Self::default();
        for line in text.lines() {
            let Some((call, result)) = line.rsplit_once(" = ") else { continue };
            let Some((name, arguments)) = call.split_once('(') else { continue };
            let result = result.split(' ').next().and_then(|result| result.parse::<u64>().ok());
            match name.rsplit(' ').next() {
                Some("openat") if result.is_some() => {
                    calls.files.extend(arguments.split('"').nth(1).map(name_of));
                }
                Some("getrandom") => calls.random_bytes += result.unwrap_or_default(),
                Some("connect") => calls.connections += 1,
                Some("clone" | "clone3") => calls.threads += 1,
                _ => {}
            }
        }
        calls
    }
}

/// The only file of ours that a contestant reads is the trusted certificate.
fn name_of(path: &str) -> String {
    if Path::new(path).starts_with(scratch()) { "the file of EXTRA_CA_FILE".to_owned() } else { path.to_owned() }
}
