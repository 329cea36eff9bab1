//! Tables of text, aligned or as Markdown: words to the left, numbers to the right.

/// Columns as wide as their widest cell; the first `words` of them hold words.
pub(crate) fn aligned(headings: &[&str], words: usize, lines: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    let all = || std::iter::once(&headings).chain(lines);
    let width = |column: usize| all().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    for line in all() {
        let padded = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column < words { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

pub(crate) fn markdown(headings: &[&str], words: usize, lines: &[Vec<String>]) -> String {
    let row = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule = (0..headings.len()).map(|column| if column < words { "---|" } else { "--:|" });
    let mut text =
        vec![format!("| {} |", headings.join(" | ")), format!("|{}", rule.collect::<String>())];
    text.extend(lines.iter().map(|line| row(line)));
    text.join("\n")
}

/// `12,345`.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 { format!("-{text}") } else { text }
}
