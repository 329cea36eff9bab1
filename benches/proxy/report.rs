//! What the bench says at the end: on stdout, and between two markers in a document.

use std::fs;
use std::path::Path;

use crate::Result;
use crate::contest::Outcome;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::table::{self, Verdict};

pub(crate) struct Report {
    lines: Vec<Vec<String>>,
    verdicts: Vec<Verdict>,
    notes: Vec<String>,
    method: String,
}

impl Report {
    pub(crate) fn new(outcomes: &[Outcome], machine: &Machine, plan: &Plan) -> Self {
        let method = format!(
            "{}; load before the run {:.2}; medians of {}; ratios per round, as median \
             (least..greatest).",
            machine.facts.join(", "),
            machine.load,
            plan.describe()
        );
        Self {
            lines: outcomes.iter().flat_map(table::lines).collect(),
            verdicts: outcomes.iter().flat_map(table::verdicts).collect(),
            notes: outcomes.iter().flat_map(table::besides).chain(table::notes(outcomes)).collect(),
            method,
        }
    }

    pub(crate) fn all_bars_met(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.met)
    }

    pub(crate) fn print(&self) {
        println!("{}\n\n{}", self.method, table::aligned(&self.lines));
        let width = self.verdicts.iter().map(|verdict| verdict.row.len()).max().unwrap_or(0);
        for Verdict { row, text, .. } in &self.verdicts {
            println!("{row:<width$}  {text}");
        }
        for note in &self.notes {
            println!("{note}");
        }
    }

    /// Puts the tables between their markers in `document`.
    pub(crate) fn write(&self, document: &Path) -> Result<()> {
        insert(document, "bench", &self.markdown())
    }

    fn markdown(&self) -> String {
        let mut lines = vec![self.method.clone(), String::new(), table::markdown(&self.lines)];
        lines.push(String::new());
        lines.extend(["| work | bar | |".to_owned(), "|---|---|---|".to_owned()]);
        lines.extend(self.verdicts.iter().map(|verdict| {
            let mark = if verdict.met { "ok" } else { "**no**" };
            format!("| {} | {} | {mark} |", verdict.row, verdict.text)
        }));
        lines.extend(self.notes.iter().map(|note| format!("\n{note}")));
        lines.push(String::new());
        lines.join("\n")
    }
}

/// Puts `text` between the markers called `name` in `document`, and leaves the rest as it is.
pub(crate) fn insert(document: &Path, name: &str, text: &str) -> Result<()> {
    let problem = |what: &str| format!("{}: {what}", document.display());
    let old = fs::read_to_string(document).map_err(|error| problem(&error.to_string()))?;
    let (begin, end) = (format!("<!-- {name}:begin"), format!("<!-- {name}:end -->"));
    let lost = |marker: &str| problem(&format!("there is no `{marker}`"));
    let (before, rest) = old.split_once(&begin).ok_or_else(|| lost(&begin))?;
    let (remark, rest) = rest.split_once('\n').ok_or_else(|| lost(&end))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| lost(&end))?;
    Ok(fs::write(document, format!("{before}{begin}{remark}\n\n{text}\n{end}{after}"))?)
}
