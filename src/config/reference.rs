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
# their defaults, or with an example where there is none: take the `#` away to change one.
# `pgweir check -c FILE` says what is wrong.
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
    let header = match (section, EXAMPLES.iter().find(|(example, _)| *example == section)) {
        (_, Some((_, name))) => format!("#[{}.{name}]\n", section.name()),
        // Present though empty: then taking one `#` away is enough.
        (Section::Proxy | Section::Overload, None) => format!("{}\n", section.header()),
        (_, None) => format!("#{}\n", section.header()),
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
        Section::Class => {
            "Clients that share a priority, a weight and a quota. Any number of these; the first \
             whose `match` holds for a client is its class. Who is in none of them shares a class of \
             normal priority, weight 1 and no quota with the others of the same database and user. \
             A class without `match` has only the clients that choose it: see `choose_class`."
        }
        Section::ClassMatch => {
            "Part of the [[classes]] above: who is in the class. All that is written must hold. In one \
             line: `match = { user = \"etl\", application_name = \"etl-*\" }`. In names, `*` is any \
             number of characters and `?` is one; a list holds if one of it does. `match = {}` \
             is everybody, and so the last one."
        }
        Section::ClassPerAddress => {
            "Part of the [[classes]] above: what each client address in the class may have. In one \
             line: `per_address = { max_clients = 10 }`. The unix socket counts as one address."
        }
        Section::Overload => "What happens when there is more to do than Postgres can.",
    }
}

fn file_doc(option: &Opt) -> String {
    let mut text = option.doc.to_owned();
    if let Kind::Choice(_) = option.kind {
        let _ = write!(text, " Write {}.", expected(&option.kind));
    }
    match option.default {
        Default::Absent { means, .. } => {
            let _ = write!(text, " Default: {means}.");
        }
        Default::Of(section, name) => {
            let _ = write!(text, " Default: `{name}` of {}.", section.header());
        }
        Default::Required(_) => text.push_str(" It must be written."),
        Default::Value(_) => {}
    }
    if option.change == Change::Restart {
        text.push_str(" A change needs a restart.");
    }
    text
}

fn example(option: &Opt) -> &'static str {
    match option.default {
        Default::Absent { example, .. } | Default::Required(example) => example,
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
        Default::Absent { example, means } => format!("{means}; an example is `{example}`"),
        Default::Of(section, name) => format!("`{name}` of `{}`", section.header()),
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
