//! Markdown, on standard output and in `benches/RESULTS.md`.

use std::fmt::Write as _;

use crate::Effort;

/// The results of one part.
#[derive(Default)]
pub struct Report(String);

impl Report {
    /// A paragraph.
    pub fn say(&mut self, text: &str) {
        write!(self.0, "{text}\n\n").unwrap();
    }

    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        let mut row = |cells: &[String]| writeln!(self.0, "| {} |", cells.join(" | ")).unwrap();
        row(&head.iter().map(ToString::to_string).collect::<Vec<_>>());
        row(&head
            .iter()
            .enumerate()
            .map(|(column, _)| if column == 0 { "---" } else { "---:" }.to_owned())
            .collect::<Vec<_>>());
        rows.iter().for_each(|cells| row(cells));
        self.0.push('\n');
    }

    /// Prints it, and writes it between the marks of its part. A quick run is only printed.
    pub fn write(&self, part: &str, effort: Effort) {
        println!("{}", self.0);
        if effort == Effort::Quick {
            return;
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md");
        let results = std::fs::read_to_string(path).unwrap_or_default();
        let [begin, end] = ["begin", "end"].map(|mark| format!("<!-- side_by_side {part}: {mark} -->"));
        let between = results.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
        let (before, after) = between.unwrap_or((&results, "\n"));
        std::fs::write(path, format!("{before}{begin}\n{}\n{end}{after}", self.0.trim_end())).unwrap();
    }
}
