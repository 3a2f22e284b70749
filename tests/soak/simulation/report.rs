//! The figures of a run.

use std::collections::BTreeMap;
use std::fmt;

use super::Plan;
use super::stripe::Counts;

pub struct Report {
    pub plan: Plan,
    pub events: usize,
    pub selected: usize,
    pub stripe: Counts,
    pub faults: BTreeMap<&'static str, u64>,
    /// Amplitude's answers by path and status.
    pub answers: BTreeMap<String, BTreeMap<String, u64>>,
    pub repeats_dropped: u64,
    /// The number of messages passed to `redelivery`, counting repeats.
    pub messages: u64,
    pub dead_letters: u64,
    pub seconds: f64,
    /// In KiB.
    pub peak_memory: u64,
    pub peak_memory_redelivery: Option<u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, stripe, seconds, .. } = self;
        let queue = if plan.with_queue { "with the queue" } else { "without the queue" };
        writeln!(f, "{queue}, SEED={}: every event is in Amplitude once, with exact revenue", plan.seed)?;
        writeln!(f, "  {} events happened, {} of them selected", self.events, self.selected)?;
        let rate = stripe.deliveries as f64 / seconds;
        writeln!(f, "  {} deliveries in {seconds:.1} s, {rate:.0} per second", stripe.deliveries)?;
        writeln!(f, "  answered 2xx: {}", list(&stripe.delivered))?;
        let retries: u64 = stripe.not_delivered.values().sum();
        let most = stripe.most_attempts;
        writeln!(f, "  {retries} retries (at most {most} for one event), by cause: {}", list(&stripe.not_delivered))?;
        let dropped = self.repeats_dropped;
        writeln!(f, "  {} repeats sent after a 2xx; Amplitude dropped {dropped} events as repeats", stripe.repeats)?;
        if plan.with_queue {
            let (messages, letters) = (self.messages, self.dead_letters);
            writeln!(f, "  {messages} messages passed to redelivery; {letters} dead letters sent again")?;
        }
        writeln!(f, "  faults: {}", list(&self.faults))?;
        for (path, answers) in &self.answers {
            writeln!(f, "  Amplitude's answers at {path}: {}", list(answers))?;
        }
        write!(f, "  peak memory of a process: {:.1} MiB", mebibytes(self.peak_memory))?;
        match self.peak_memory_redelivery {
            Some(redelivery) => writeln!(f, ", of redelivery {:.1} MiB", mebibytes(redelivery)),
            None => writeln!(f),
        }
    }
}

fn list(counts: &BTreeMap<impl fmt::Display, u64>) -> String {
    let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}
