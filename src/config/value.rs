//! One value: what is written, as what the option wants.

use super::file::{Raw, RawValue};
use super::findings::Problem;
use super::options::Kind;
use super::units::{self, Plain};
use std::ops::RangeInclusive;
use std::time::Duration;
use zeroize::Zeroizing;

/// A value of the right kind, within its limits.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Auto,
    Boolean(bool),
    Choice(&'static str),
    /// A number; also a size in bytes and a file mode.
    Count(u32),
    Duration(Duration),
    List(Vec<String>),
    /// Finite.
    Number(f64),
    Secret(Zeroizing<String>),
    Text(String),
}

/// Reads `raw` as an option of this kind.
pub(super) fn read(kind: &Kind, raw: &Raw) -> Result<Value, Problem> {
    match kind {
        Kind::AutoOrCount { least, most } => match &raw.value {
            RawValue::Text(text) if text.as_str() == "auto" => Ok(Value::Auto),
            other => count(kind, other, *least, *most),
        },
        Kind::Boolean => match &raw.value {
            RawValue::Boolean(value) => Ok(Value::Boolean(*value)),
            RawValue::Integer { value: Some(number @ (0 | 1)), .. } => {
                Ok(Value::Boolean(*number == 1))
            }
            other => Err(wrong_type(kind, other)),
        },
        Kind::Choice(words) => match &raw.value {
            RawValue::Text(text) => choice(kind, words, text),
            other => Err(wrong_type(kind, other)),
        },
        Kind::Count { least, most } => count(kind, &raw.value, *least, *most),
        Kind::Duration { plain, least, most } => {
            duration_within(kind, &raw.value, *plain, *least..=*most)
        }
        Kind::List => list(kind, &raw.value).map(Value::List),
        Kind::Mode => mode(kind, &raw.value),
        Kind::Number { least, most } => number(kind, &raw.value, *least, *most),
        Kind::Secret => match &raw.value {
            RawValue::Text(text) => Ok(Value::Secret(text.clone())),
            other => Err(wrong_type(kind, other)),
        },
        Kind::Size { least, most } => {
            let value = match &raw.value {
                RawValue::Text(text) => size(text),
                RawValue::Integer { text, radix: 10, .. } | RawValue::Float(text) => size(text),
                other => Err(wrong_type(kind, other)),
            }?;
            let value = u32::try_from(value).unwrap_or(u32::MAX);
            within(value, *least, *most, |bytes| units::show_size(bytes.into())).map(Value::Count)
        }
        Kind::Text => match &raw.value {
            RawValue::Text(text) if text.contains('\0') => Err(Problem::new(
                "bad-value",
                "contains a zero byte.",
                "Postgres knows no such text: take the byte out.",
            )),
            RawValue::Text(text) => Ok(Value::Text(text.to_string())),
            other => Err(wrong_type(kind, other)),
        },
        Kind::WordOrDuration { words, least, most } => match &raw.value {
            // What starts as no number does is meant as a word.
            RawValue::Text(text) if text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                choice(kind, words, text)
            }
            other => duration_within(kind, other, Plain::Seconds, *least..=*most),
        },
    }
}

/// The value as PgBouncer shows it: tools read numbers where it has numbers.
pub(super) fn shown(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (_, Value::Auto) => "auto".to_owned(),
        (_, Value::Boolean(value)) => u8::from(*value).to_string(),
        (_, Value::Choice(word)) => (*word).to_owned(),
        (Kind::Mode, Value::Count(mode)) => format!("{mode:04o}"),
        (_, Value::Count(count)) => count.to_string(),
        (Kind::Duration { plain: Plain::Milliseconds, .. }, Value::Duration(duration)) => {
            duration.as_millis().to_string()
        }
        (_, Value::Duration(duration)) => duration.as_secs_f64().to_string(),
        (_, Value::List(list)) => list.join(", "),
        (_, Value::Number(number)) => number.to_string(),
        (_, Value::Secret(_)) => "***".to_owned(),
        (_, Value::Text(text)) => text.clone(),
    }
}

/// What an option of this kind takes, for messages and the reference.
pub(super) fn expected(kind: &Kind) -> String {
    let range = |least: &u32, most: &u32| format!("a whole number from {least} to {most}");
    match kind {
        Kind::AutoOrCount { least, most } => format!("`\"auto\"` or {}", range(least, most)),
        Kind::Boolean => "`true` or `false`".to_owned(),
        Kind::Choice(words) => {
            let quoted = quoted(words);
            match quoted.split_last() {
                Some((last, rest)) if !rest.is_empty() => {
                    format!("{} or {last}", rest.join(", "))
                }
                _ => quoted.concat(),
            }
        }
        Kind::Count { least, most } => range(least, most),
        Kind::Duration { plain: Plain::Seconds, .. } => {
            "a duration such as `\"5s\"`, or a number of seconds".to_owned()
        }
        Kind::Duration { plain: Plain::Milliseconds, .. } => {
            "a duration such as `\"5s\"`, or a number of milliseconds".to_owned()
        }
        Kind::List => "a list such as `[\"a\", \"b\"]`, or a text such as `\"a, b\"`".to_owned(),
        Kind::Mode => "an octal text such as `\"0770\"`".to_owned(),
        Kind::Number { least, most } => format!("a number from {least} to {most}"),
        Kind::Secret | Kind::Text => "a text in quotes".to_owned(),
        Kind::Size { .. } => "a size such as `\"64kB\"`, or a number of bytes".to_owned(),
        Kind::WordOrDuration { words, .. } => {
            format!("{}, or a duration such as `\"100ms\"`", quoted(words).join(", "))
        }
    }
}

fn quoted(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| format!("`\"{word}\"`")).collect()
}

fn wrong_type(kind: &Kind, found: &RawValue) -> Problem {
    let expected = expected(kind);
    Problem::new("wrong-type", format!("is {}.", found.type_name()), format!("Write {expected}."))
}

fn count(kind: &Kind, found: &RawValue, least: u32, most: u32) -> Result<Value, Problem> {
    let (text, value) = match found {
        RawValue::Integer { text, value, .. } => (text, *value),
        RawValue::Text(text) if text.trim().parse::<i64>().is_ok() => return Err(in_quotes(text)),
        other => return Err(wrong_type(kind, other)),
    };
    match value.and_then(|number| u32::try_from(number).ok()) {
        Some(number) if (least..=most).contains(&number) => Ok(Value::Count(number)),
        _ => Err(out_of_range(kind, text)),
    }
}

fn number(kind: &Kind, found: &RawValue, least: f64, most: f64) -> Result<Value, Problem> {
    let text = match found {
        RawValue::Integer { text, radix: 10, .. } | RawValue::Float(text) => text,
        RawValue::Text(text) if text.trim().parse::<f64>().is_ok() => return Err(in_quotes(text)),
        other => return Err(wrong_type(kind, other)),
    };
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(Value::Number(number)),
        _ => Err(out_of_range(kind, text)),
    }
}

/// A number in quotes means what it says; only its quotes are wrong.
fn in_quotes(text: &str) -> Problem {
    let action = format!("Write {} without quotes.", text.trim());
    Problem::new("wrong-type", "is a number in quotes.", action)
}

fn out_of_range(kind: &Kind, text: &str) -> Problem {
    let message = format!("is {text}, which is out of range.");
    Problem::new("out-of-range", message, format!("Write {}.", expected(kind)))
}

fn choice(kind: &Kind, words: &'static [&'static str], text: &str) -> Result<Value, Problem> {
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(Value::Choice(word));
    }
    let action = match super::suggest::nearest(text, words.iter().copied()) {
        Some(near) => format!("Did you mean `\"{near}\"`?"),
        None => format!("Write {}.", expected(kind)),
    };
    Err(Problem::new("bad-value", format!("is `{text}`, which is not known."), action))
}

fn duration_within(
    kind: &Kind,
    found: &RawValue,
    plain: Plain,
    range: RangeInclusive<Duration>,
) -> Result<Value, Problem> {
    let value = match found {
        RawValue::Text(text) => duration(text, plain),
        RawValue::Integer { text, radix: 10, .. } | RawValue::Float(text) => duration(text, plain),
        other => Err(wrong_type(kind, other)),
    }?;
    within(value, *range.start(), *range.end(), units::show_duration).map(Value::Duration)
}

fn duration(text: &str, plain: Plain) -> Result<Duration, Problem> {
    units::duration(text, plain).map_err(|error| {
        Problem::new("bad-value", format!("is `{text}`, which {error}."), error.duration_action())
    })
}

fn size(text: &str) -> Result<u64, Problem> {
    units::size(text).map_err(|error| {
        Problem::new("bad-value", format!("is `{text}`, which {error}."), error.size_action())
    })
}

fn within<T: PartialOrd + Copy>(
    value: T,
    least: T,
    most: T,
    show: impl Fn(T) -> String,
) -> Result<T, Problem> {
    let (message, action) = if value < least {
        ("is too little.", format!("Write \"{}\" or more.", show(least)))
    } else if value > most {
        ("is too much.", format!("Write \"{}\" or less.", show(most)))
    } else {
        return Ok(value);
    };
    Err(Problem::new("out-of-range", message, action))
}

fn list(kind: &Kind, found: &RawValue) -> Result<Vec<String>, Problem> {
    match found {
        RawValue::Text(text) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(items.map(str::to_owned).collect())
        }
        RawValue::List(items) => items
            .iter()
            .map(|item| match &item.value {
                RawValue::Text(text) => Ok(text.to_string()),
                other => Err(Problem::new(
                    "wrong-type",
                    format!("has {} in its list.", other.type_name()),
                    format!("Write {}.", expected(kind)),
                )),
            })
            .collect(),
        other => Err(wrong_type(kind, other)),
    }
}

fn mode(kind: &Kind, found: &RawValue) -> Result<Value, Problem> {
    let value = match found {
        RawValue::Text(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
        RawValue::Integer { radix: 8, value, .. } => value.and_then(|mode| mode.try_into().ok()),
        RawValue::Integer { text, .. } => {
            let message = format!("is {text}, a decimal number; permissions are octal.");
            return Err(Problem::new("bad-value", message, format!("Write {}.", expected(kind))));
        }
        other => return Err(wrong_type(kind, other)),
    };
    value.filter(|mode| *mode <= 0o777).map(Value::Count).ok_or_else(|| {
        Problem::new(
            "bad-value",
            "is not an octal number up to 0777.",
            format!("Write {}.", expected(kind)),
        )
    })
}
