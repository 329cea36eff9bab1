//! Numbers as people read them, and texts that are safe to show.

use std::time::Duration;

pub(super) use crate::base::legible::safe;

/// `7`, `12,345`, `12.3M`; below ten with one decimal if it has any.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e10 {
        format!("{:.1}G", value / 1e9)
    } else if size >= 1e7 {
        format!("{:.1}M", value / 1e6)
    } else if size < 9.95 && (size * 10.0).round() % 10.0 != 0.0 {
        format!("{value:.1}")
    } else {
        grouped(&format!("{value:.0}"))
    }
}

fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `0`, `850us`, `2.4ms`, `405ms`, `1.2s`, `47s`, `3m12s`, `2h05m`, `3d04h`.
pub(super) fn time(time: Duration) -> String {
    let (micros, seconds) = (time.as_micros(), time.as_secs());
    match micros {
        0 => "0".to_owned(),
        1..1_000 => format!("{micros}us"),
        1_000..9_950 => format!("{:.1}ms", time.as_secs_f64() * 1e3),
        9_950..999_500 => format!("{:.0}ms", time.as_secs_f64() * 1e3),
        999_500..9_950_000 => {
            let text = format!("{:.1}", time.as_secs_f64());
            format!("{}s", text.strip_suffix(".0").unwrap_or(&text))
        }
        _ if seconds < 60 => format!("{seconds}s"),
        _ if seconds < 3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// `512B`, `1.5kB`, `23MB`.
pub(super) fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = value;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 9.95);
    format!("{value:.digits$}{}", UNITS[unit])
}

/// `1 client`, `7 clients`.
pub(super) fn counted(count: u64, one: &str) -> String {
    let count_of = number(precise(count));
    if count == 1 { format!("{count_of} {one}") } else { format!("{count_of} {one}s") }
}

/// Cut into lines between words; those behind the first begin with `indent`.
pub(super) fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > indent.len() && line + word.trim_end().chars().count() > width {
            lines.push(indent.to_owned());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
    }
    lines
}

/// As a number that can be divided. Exact to 2^53, which no count here reaches.
#[expect(clippy::cast_precision_loss, reason = "counts on a screen")]
pub(super) fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{bytes, counted, number, time, wrap};
    use std::time::Duration;

    #[test]
    fn numbers_are_short_and_keep_what_matters() {
        let numbers =
            [0.0, 0.04, 0.4, 3.0, 9.96, 12.4, 999.6, 1_234_567.0, 1.26e7, -5_000.0, 4.2e10];
        let texts = numbers.map(number);
        let wanted =
            ["0", "0", "0.4", "3", "10", "12", "1,000", "1,234,567", "12.6M", "-5,000", "42.0G"];
        assert_eq!(texts, wanted);
        assert_eq!([0.0, 999.0, 1_500.0, 23.4e6].map(bytes), ["0B", "999B", "1.5kB", "23MB"]);
        assert_eq!([1, 0, 2_000].map(|n| counted(n, "pool")), ["1 pool", "0 pools", "2,000 pools"]);
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let micros = [
            0,
            850,
            2_449,
            9_949,
            404_600,
            999_600,
            1_240_000,
            47_900_000,
            192_000_000,
            7_500_000_000,
            273_600_000_000,
        ];
        let texts = micros.map(|micros| time(Duration::from_micros(micros)));
        let wanted = [
            "0", "850us", "2.4ms", "9.9ms", "405ms", "1s", "1.2s", "47s", "3m12s", "2h05m", "3d04h",
        ];
        assert_eq!(texts, wanted);
    }

    #[test]
    fn a_long_text_goes_on_below() {
        assert_eq!(wrap("one two three", 7, "  "), ["one two ", "  three"]);
        assert_eq!(wrap("incomprehensible it is", 8, ""), ["incomprehensible ", "it is"]);
        assert_eq!(wrap("", 8, "  "), [""]);
    }
}
