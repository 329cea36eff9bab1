//! Values with units: durations (`"5s"`) and sizes (`"64MB"`).
//!
//! Reading and showing are inverse: what [`show_duration`] and [`show_size`] write reads back as
//! the same value. Nothing overflows; what does not fit is an error.

use std::time::Duration;

/// What a plain number counts, as PgBouncer has it for the setting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Plain {
    Milliseconds,
    Seconds,
}

/// Why a text is no duration or size. The text itself is not in it: the caller has it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnitError {
    #[error("is empty")]
    Empty,
    #[error("is negative")]
    Negative,
    #[error("is not a number with a unit")]
    NotANumber,
    #[error("is finer than {0}")]
    TooFine(&'static str),
    #[error("is too large")]
    TooLarge,
    #[error("has the unknown unit `{0}`")]
    UnknownUnit(String),
}

impl UnitError {
    /// What to write instead of a duration that is wrong.
    pub fn duration_action(&self) -> String {
        let units = "The units are `ms`, `s`, `min`, `h` and `d`";
        match self {
            Self::Negative => "Write 0 or more; where a timeout may be off, 0 turns it off.".into(),
            Self::UnknownUnit(unit) if unit == "m" => {
                "Write `min` for minutes or `ms` for milliseconds.".into()
            }
            Self::UnknownUnit(unit) if unit.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                format!("{units}; write one number and one unit, such as \"90min\".")
            }
            _ => format!("{units}, as in \"500ms\", \"10s\" or \"1.5h\"."),
        }
    }

    /// What to write instead of a size that is wrong.
    pub fn size_action(&self) -> String {
        "The units are `B`, `kB`, `MB` and `GB`, as in \"64kB\" or \"1GB\".".into()
    }
}

/// Powers of ten that fit into `u64`, for fractions.
const FRACTION_DIGITS_MAX: usize = 15;

const DURATION_UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// As in Postgres, a kB is 1024 bytes.
const SIZE_UNITS: &[(&str, u64)] =
    &[("B", 1), ("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)];

/// Reads `"5s"`, `"1.5h"`, or a plain number, which counts what `plain` says.
pub fn duration(text: &str, plain: Plain) -> Result<Duration, UnitError> {
    let (number, unit) = split(text)?;
    let per_unit = match (unit, plain) {
        ("", Plain::Milliseconds) => 1,
        ("", Plain::Seconds) => 1_000,
        _ => factor(unit, DURATION_UNITS, |ours, theirs| ours == theirs)?,
    };
    number.times(per_unit, "a millisecond").map(Duration::from_millis)
}

/// Writes a duration in the largest unit that needs no fraction. What is finer than a millisecond
/// is cut off.
pub fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    show(ms, DURATION_UNITS)
}

/// Reads `"64kB"`, or a plain number of bytes. Units in any case: `kb` cannot mean anything else.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text)?;
    let per_unit =
        if unit.is_empty() { 1 } else { factor(unit, SIZE_UNITS, str::eq_ignore_ascii_case)? };
    number.times(per_unit, "a byte")
}

/// Writes a size in the largest unit that needs no fraction.
pub fn show_size(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { show(bytes, SIZE_UNITS) }
}

/// A decimal number without its point: `whole + fraction / 10^digits`.
struct Decimal {
    whole: u64,
    fraction: u64,
    digits: u32,
}

impl Decimal {
    fn times(&self, factor: u64, finest: &'static str) -> Result<u64, UnitError> {
        let scale = 10_u128.pow(self.digits);
        let fraction = u128::from(self.fraction) * u128::from(factor);
        if !fraction.is_multiple_of(scale) {
            return Err(UnitError::TooFine(finest));
        }
        let whole = u128::from(self.whole) * u128::from(factor);
        u64::try_from(whole + fraction / scale).map_err(|_| UnitError::TooLarge)
    }
}

fn split(text: &str) -> Result<(Decimal, &str), UnitError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(UnitError::Empty);
    }
    let positive = text.strip_prefix('-');
    let text = text.strip_prefix('+').or(positive).unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return Err(UnitError::NotANumber);
    }
    if positive.is_some() {
        return Err(UnitError::Negative);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > FRACTION_DIGITS_MAX {
        return Err(UnitError::TooFine("anything that is measured"));
    }
    let decimal = Decimal {
        whole: whole.parse().map_err(|_| UnitError::TooLarge)?,
        fraction: if fraction.is_empty() { 0 } else { digits(fraction)? },
        digits: u32::try_from(fraction.len()).map_err(|_| UnitError::NotANumber)?,
    };
    Ok((decimal, unit.trim()))
}

fn digits(text: &str) -> Result<u64, UnitError> {
    text.parse().map_err(|_| UnitError::NotANumber)
}

fn factor(
    unit: &str,
    units: &[(&str, u64)],
    same: impl Fn(&str, &str) -> bool,
) -> Result<u64, UnitError> {
    let found = units.iter().find(|(name, _)| same(name, unit));
    found.map(|(_, factor)| *factor).ok_or_else(|| UnitError::UnknownUnit(unit.to_owned()))
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let (unit, factor) =
        units.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor)).unwrap_or(&units[0]);
    format!("{}{unit}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::{Plain, UnitError, duration, show_duration, show_size, size};
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use std::time::Duration;

    fn ms(text: &str) -> Result<u128, UnitError> {
        duration(text, Plain::Seconds).map(|duration| duration.as_millis())
    }

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, expected) in [
            ("100ms", 100),
            ("5s", 5_000),
            ("5 s", 5_000),
            ("10min", 600_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1.5s", 1_500),
            ("0.250", 250),
            ("15", 15_000),
            ("0", 0),
        ] {
            assert_eq!(ms(text), Ok(expected), "{text}");
        }
        assert_eq!(duration("250", Plain::Milliseconds), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn wrong_durations_say_why() {
        assert_eq!(ms(""), Err(UnitError::Empty));
        assert_eq!(ms("-5s"), Err(UnitError::Negative));
        assert_eq!(ms("5m"), Err(UnitError::UnknownUnit("m".into())));
        assert_eq!(ms("1h30min"), Err(UnitError::UnknownUnit("h30min".into())));
        assert_eq!(ms("0.5ms"), Err(UnitError::TooFine("a millisecond")));
        assert_eq!(ms("99999999999999999999s"), Err(UnitError::TooLarge));
        assert_eq!(ms("18446744073709551615d"), Err(UnitError::TooLarge));
        for text in ["s", "1.", ".5s", "1.2.3s", "inf", "nan"] {
            assert_eq!(ms(text), Err(UnitError::NotANumber), "{text}");
        }
        assert_eq!(ms("1e3"), Err(UnitError::UnknownUnit("e3".into())));
        let action = ms("5m").expect_err("no such unit").duration_action();
        assert!(action.contains("`min`"), "{action}");
    }

    #[test]
    fn sizes_are_read_in_every_unit() {
        for (text, expected) in
            [("64kB", 65_536), ("64KB", 65_536), ("1MB", 1 << 20), ("1.5kB", 1_536), ("7", 7)]
        {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        assert_eq!(size("1.5B"), Err(UnitError::TooFine("a byte")));
        assert_eq!(size("20000000TB"), Err(UnitError::TooLarge));
        assert_eq!(size("1XB"), Err(UnitError::UnknownUnit("XB".into())));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(value in any::<u64>()) {
            let shown = show_duration(Duration::from_millis(value));
            prop_assert_eq!(duration(&shown, Plain::Seconds), Ok(Duration::from_millis(value)));
            prop_assert_eq!(size(&show_size(value)), Ok(value));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".*", number in "-?[0-9]{0,30}\\.?[0-9]{0,30}(ms|min|kB|TB|d)?") {
            for text in [&text, &number] {
                drop(duration(text, Plain::Seconds).map(show_duration));
                drop(size(text).map(show_size));
            }
        }
    }
}
