//! Any text as the `options` of a startup packet: settings with a name, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::wire::startup::options;

fuzz_target!(|text: &str| {
    let Ok(settings) = options(text) else { return };
    for (name, _) in &settings {
        assert!(!name.is_empty() && !name.contains('-') && !name.contains('='), "{name}");
    }
    // What was read can be written, and is read as the same.
    let escaped = |text: &str| text.chars().flat_map(|char| ['\\', char]).collect::<String>();
    let again: String = settings
        .iter()
        .map(|(name, value)| format!(" -c {}={}", escaped(name), escaped(value)))
        .collect();
    assert_eq!(options(&again), Ok(settings));
});
