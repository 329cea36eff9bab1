//! Any text, and words that mean something, as what somebody types at the console: commands, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::admin::understand;

/// What commands are made of.
const WORDS: [&str; 40] = [
    "SHOW",
    "SELECT",
    "SET",
    "CLASS",
    "RESET",
    "ALL",
    "SESSION",
    "TO",
    "=",
    ",",
    ";",
    "'",
    "\"",
    "''",
    "NONE",
    "PAUSE",
    "RESUME",
    "SUSPEND",
    "DISABLE",
    "ENABLE",
    "KILL",
    "KILL_CLIENT",
    "KILL_SERVER",
    "RELOAD",
    "RECONNECT",
    "SHUTDOWN",
    "WAIT_FOR_CLIENTS",
    "WAIT_CLOSE",
    "BEGIN",
    "START TRANSACTION",
    "COMMIT",
    "CLOSE",
    "DISCARD",
    "DEALLOCATE",
    "UNLISTEN *",
    "pg_advisory_unlock_all()",
    "clients",
    "help",
    "12",
    "--",
];

fuzz_target!(|input: (&[u8], &str)| {
    let (order, free) = input;
    let word = |&at: &u8| WORDS.get(usize::from(at)).copied().unwrap_or(free);
    let text: String = order.iter().map(word).collect::<Vec<_>>().join(" ");
    // A message's text ends there.
    for text in [&text, free] {
        judge(text.split('\0').next().unwrap_or_default());
    }
});

fn judge(text: &str) {
    let Ok(commands) = understand(text) else { return };
    for command in &commands {
        assert!(!command.tag.is_empty(), "{text:?}: {:?}", command.tag);
        // Whoever may only look changes nothing.
        let changes = ["KILL", "PAUSE", "RELOAD", "RESUME", "SHUTDOWN", "SUSPEND", "SET "];
        let is_for_all = ["SET", "SHOW"].contains(&command.tag.as_str());
        let changes = !is_for_all && changes.iter().any(|verb| command.tag.starts_with(verb));
        assert!(command.needs_admin || !changes, "{text:?}: {}", command.tag);
    }
    // What means nothing around it changes nothing.
    let again = understand(&format!("  {text}\n;")).expect("it was understood before");
    assert_eq!(again, commands, "{text:?}");
}
