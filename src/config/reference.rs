//! The commented default file, `proxy.toml`, and the reference, `docs/config.md`, made from the
//! options table. Tests compare both with what is on disk; `PGWEIR_BLESS=1` writes them anew.

use super::options::{Change, Default, GROUPS, Group, Kind, Opt, PgBouncer, Section};
use super::suggest::ABSENT;
use super::value::expected;
use std::fmt::Write as _;

/// The names in the default file's example sections.
const EXAMPLES: [(Section, &str); 3] =
    [(Section::Host, "main"), (Section::Database, "app"), (Section::User, "app")];

const FILE_HEAD: &str = "\
# The configuration of pgweir.
#
# Lines that start with `#` and a space are text. The others that start with `#` are options, with
# their defaults: take the `#` away to change one. `pgweir check -c FILE` says what is wrong.
#
# Durations have a unit, \"500ms\" \"10s\" \"5min\" \"1h\" \"1d\", and so have sizes, \"64kB\" \"1GB\". A plain
# number means what it means in PgBouncer: mostly seconds, or bytes.
#
# The shortest file that is of use:
#
#   [hosts.main]
#   host = \"127.0.0.1\"
#
#   [databases.\"*\"]
#   host = \"main\"
#
#   [users.app]
#   password = \"secret\"
";

/// `proxy.toml`: every option with its default, commented out.
pub fn default_file() -> String {
    let mut text = FILE_HEAD.to_owned();
    let mut section = None;
    for group in GROUPS {
        if section != Some(group.section) {
            section = Some(group.section);
            text.push('\n');
            text.push_str(&section_head(group.section));
        }
        if group.section == Section::Proxy {
            let _ = write!(text, "\n# ---- {} ----\n", group.title);
        }
        for option in group.options {
            text.push('\n');
            comment(&mut text, &file_doc(option));
            let _ = writeln!(text, "#{} = {}", option.name, example(option));
        }
    }
    text
}

fn section_head(section: Section) -> String {
    let rule = format!("# {}\n", "=".repeat(98));
    let header = match EXAMPLES.iter().find(|(example, _)| *example == section) {
        Some((_, name)) => format!("#[{}.{name}]\n", section.name()),
        // Present though empty: then taking one `#` away is enough.
        None => "[proxy]\n".to_owned(),
    };
    let mut text = rule.clone();
    comment(&mut text, intro(section));
    text + &rule + "\n" + &header
}

fn intro(section: Section) -> &'static str {
    match section {
        Section::Proxy => "The process, and what holds for every pool, database and user.",
        Section::Host => "A Postgres instance. NAME is for this file only.",
        Section::Database => {
            "A database that clients may name in their DSN. \"*\" is any that has no section. What \
             a database says wins over [proxy]."
        }
        Section::User => {
            "A user that may log in. What a user says wins over its database and [proxy]."
        }
    }
}

fn file_doc(option: &Opt) -> String {
    let mut text = option.doc.to_owned();
    if let Kind::Choice(_) = option.kind {
        let _ = write!(text, " Write {}.", expected(&option.kind));
    }
    if let Default::Proxy(name) = option.default {
        let _ = write!(text, " Default: `{name}` of [proxy].");
    }
    if matches!(option.default, Default::Required(_)) {
        text.push_str(" It must be written.");
    }
    if option.change == Change::Restart {
        text.push_str(" A change needs a restart.");
    }
    text
}

fn example(option: &Opt) -> &'static str {
    match option.default {
        Default::Required(example) => example,
        _ => option.default_text().unwrap_or("\"\""),
    }
}

fn comment(text: &mut String, words: &str) {
    for line in wrap(words, 97) {
        let _ = writeln!(text, "# {line}");
    }
}

fn wrap(words: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

const REFERENCE_HEAD: &str = "\
# Configuration

<!-- Made from src/config/options: do not edit. PGWEIR_BLESS=1 cargo test writes it anew. -->

The file is TOML. Without `-c FILE` it is `proxy.toml` in the current directory, else
`/etc/pgweir/proxy.toml`. `pgweir check -c FILE` reads it as the proxy would and reports everything
that is wrong, with file and line. [`proxy.toml`](../proxy.toml) has every option with its default.

A setting that PgBouncer has keeps its name and meaning. Keys that are not known are refused.

| Value | Written | Plain number |
|---|---|---|
| Duration | `\"500ms\"`, `\"10s\"`, `\"5min\"`, `\"1h\"`, `\"1d\"`; fractions as in `\"1.5h\"` | as in PgBouncer: seconds, and milliseconds for `tcp_user_timeout` |
| Size | `\"64kB\"`, `\"1MB\"`, `\"1GB\"`; a kB is 1024 bytes, as in Postgres | bytes |
| Boolean | `true`, `false` | `1`, `0` |
| List | `[\"a\", \"b\"]`, or `\"a, b\"` | |

\"Live\": a reload takes the change up. \"Restart\": only a restart does.
";

/// `docs/config.md`.
pub fn reference() -> String {
    let mut text = REFERENCE_HEAD.to_owned();
    let mut section = None;
    for group in GROUPS {
        if section != Some(group.section) {
            section = Some(group.section);
            let _ = write!(text, "\n## `{}`\n\n", group.section.header());
            let _ = writeln!(text, "{}", intro(group.section));
        }
        describe(&mut text, group);
    }
    text.push_str("\n## PgBouncer's settings that pgweir does not have\n\n");
    text.push_str("| Setting | What to do |\n|---|---|\n");
    for (name, instead) in ABSENT {
        let _ = writeln!(text, "| `{name}` | {instead} |");
    }
    text
}

fn describe(text: &mut String, group: &Group) {
    if group.section == Section::Proxy {
        let _ = write!(text, "\n### {}\n", group.title);
    }
    for option in group.options {
        let change = match option.change {
            Change::Live => "live",
            Change::Restart => "restart",
        };
        let _ = write!(text, "\n#### `{}`\n\n{}\n\n", option.name, option.doc);
        let _ = writeln!(text, "- Value: {}", expected(&option.kind));
        let _ = writeln!(text, "- Default: {}", default_doc(option));
        let _ = writeln!(text, "- Change: {change}");
        let _ = writeln!(text, "- PgBouncer: {}", pgbouncer_doc(option));
    }
}

fn default_doc(option: &Opt) -> String {
    match option.default {
        Default::Proxy(name) => format!("`{name}` of `[proxy]`"),
        Default::Required(example) => format!("none, it must be written, as in `{example}`"),
        Default::Value(text) => format!("`{text}`"),
    }
}

fn pgbouncer_doc(option: &Opt) -> String {
    match option.pgbouncer {
        PgBouncer::Named(name) => format!("`{name}`"),
        PgBouncer::Nothing => "nothing like it".to_owned(),
        PgBouncer::OtherDefault(default) => format!("the same; its default is {default}"),
        PgBouncer::Same => "the same".to_owned(),
    }
}
