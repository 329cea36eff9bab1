//! A list on a screen: typed cells, so that it can be sorted, filtered and drawn without knowing what it
//! is a list of.

use super::words;
use std::cmp::Ordering;
use std::time::Duration;

/// What deserves the eye.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Tone {
    /// Nothing to see here.
    Quiet,
    #[default]
    Plain,
    Warn,
    Bad,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value {
    #[default]
    Missing,
    Text(String),
    Number(f64),
    Percent(f64),
    Time(Duration),
    Bytes(f64),
    Bar(Bar),
}

/// Places under a cap: those in use, those idle, and how many there may be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Bar {
    pub(super) used: u64,
    pub(super) idle: u64,
    /// `None`: as many as one likes.
    pub(super) cap: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub(super) value: Value,
    pub(super) tone: Tone,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) title: String,
    /// When there is no room for all, those with a higher number go first.
    pub(super) rank: u8,
    pub(super) is_right: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub(super) fields: Vec<Field>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// How many of the first fields tell rows apart.
    pub(super) keys: usize,
    /// By which field it is sorted unless somebody wants it otherwise.
    pub(super) sort: Sort,
    /// What is said above it.
    pub(super) note: String,
    /// What is said when it is empty.
    pub(super) empty: String,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Sort {
    /// A title. One that is not there: as the rows come.
    pub(super) by: String,
    pub(super) descending: bool,
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Value::Text(words::safe(text)).into()
    }

    pub(super) fn count(count: u64) -> Self {
        let tone = if count == 0 { Tone::Quiet } else { Tone::Plain };
        Self { value: Value::Number(words::precise(count)), tone }
    }

    pub(super) fn number(number: Option<f64>) -> Self {
        number.map_or_else(Self::default, |number| Self {
            value: Value::Number(number),
            tone: if number == 0.0 { Tone::Quiet } else { Tone::Plain },
        })
    }

    pub(super) fn time(time: Option<Duration>) -> Self {
        time.map_or_else(Self::default, |time| Self {
            value: Value::Time(time),
            tone: if time.is_zero() { Tone::Quiet } else { Tone::Plain },
        })
    }

    pub(super) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// With this tone, unless there is nothing or zero of it.
    pub(super) fn toned_if_any(self, tone: Tone) -> Self {
        match self.value {
            Value::Missing => self,
            _ if self.tone == Tone::Quiet => self,
            _ => self.toned(tone),
        }
    }

    /// As people read it.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Missing => String::new(),
            Value::Text(text) => text.clone(),
            Value::Number(number) => words::number(*number),
            Value::Percent(percent) => format!("{percent:.0}%"),
            Value::Time(time) => words::time(*time),
            Value::Bytes(bytes) => words::bytes(*bytes),
            Value::Bar(bar) => bar.shown(),
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (&self.value, &other.value) {
            (Value::Text(one), Value::Text(two)) => one.cmp(two),
            (Value::Time(one), Value::Time(two)) => one.cmp(two),
            (one, two) => one.size().total_cmp(&two.size()),
        }
    }
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        Self { value, tone: Tone::Plain }
    }
}

impl Value {
    /// To sort by: what is missing is least.
    fn size(&self) -> f64 {
        match self {
            Self::Missing => f64::NEG_INFINITY,
            Self::Text(_) => 0.0,
            Self::Number(number) | Self::Percent(number) | Self::Bytes(number) => *number,
            Self::Time(time) => time.as_secs_f64(),
            Self::Bar(bar) => bar.fullness(),
        }
    }
}

impl Bar {
    pub(super) fn shown(self) -> String {
        let used = self.used;
        self.cap.map_or_else(|| used.to_string(), |cap| format!("{used}/{cap}"))
    }

    /// What it is full at.
    fn most(self) -> u64 {
        self.cap.unwrap_or(self.used.saturating_add(self.idle)).max(1)
    }

    fn fullness(self) -> f64 {
        words::precise(self.used) / words::precise(self.most())
    }

    /// How many of `width` places are used, and how many idle. Whatever there is shows, and nothing looks
    /// full that is not.
    pub(super) fn split(self, width: u16) -> (u16, u16) {
        let most = self.most();
        let part = |count: u64| match count {
            0 => 0,
            count if count >= most => width,
            count => {
                let part = u128::from(count) * u128::from(width) / u128::from(most);
                let part = u16::try_from(part).expect("a part of the width");
                part.clamp(1, width.saturating_sub(1).max(1))
            }
        };
        let used = part(self.used);
        // What is idle begins where what is used ends, so that both together are as long as their sum.
        let both = part(self.used.saturating_add(self.idle));
        let both = both.max(used.saturating_add(u16::from(self.idle > 0))).min(width);
        (used, both.saturating_sub(used))
    }
}

impl Field {
    pub(super) fn text(title: &str, rank: u8) -> Self {
        Self { title: title.to_owned(), rank, is_right: false }
    }

    pub(super) fn number(title: &str, rank: u8) -> Self {
        Self { is_right: true, ..Self::text(title, rank) }
    }
}

impl Sort {
    pub(super) fn descending(by: &str) -> Self {
        Self { by: by.to_owned(), descending: true }
    }

    pub(super) fn ascending(by: &str) -> Self {
        Self { by: by.to_owned(), descending: false }
    }
}

impl Listing {
    /// Which rows are shown, in order: those that have every word of `filter` somewhere, in small or large
    /// letters.
    pub(super) fn arrange(&self, sort: &Sort, filter: &str) -> Vec<usize> {
        let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
        let fits = |row: &[Cell]| {
            let cells: Vec<_> = row.iter().map(|cell| cell.shown().to_lowercase()).collect();
            words.iter().all(|word| cells.iter().any(|cell| cell.contains(word)))
        };
        let chosen = (0..self.rows.len()).filter(|row| words.is_empty() || fits(&self.rows[*row]));
        let mut chosen: Vec<usize> = chosen.collect();
        if let Some(column) = self.fields.iter().position(|field| field.title == sort.by) {
            let cell = |row: usize| self.rows[row].get(column);
            let compare = |one: &usize, two: &usize| match (cell(*one), cell(*two)) {
                (Some(one), Some(two)) => one.compare(two),
                (one, two) => one.is_some().cmp(&two.is_some()),
            };
            // Rows that are alike stay in their order, whichever way they are sorted.
            if sort.descending {
                chosen.sort_by(|one, two| compare(two, one));
            } else {
                chosen.sort_by(compare);
            }
        }
        chosen
    }

    /// What tells a row from all others.
    pub(super) fn identity(&self, row: usize) -> Option<Vec<String>> {
        let cells = self.rows.get(row)?.get(..self.keys)?;
        Some(cells.iter().map(Cell::shown).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{Bar, Cell, Field, Listing, Sort, Value};
    use std::time::Duration;

    fn listing() -> Listing {
        let row = |name: &str, count: u64, millis: Option<u64>| {
            vec![
                Cell::text(name),
                Cell::count(count),
                Cell::time(millis.map(Duration::from_millis)),
            ]
        };
        let fields =
            vec![Field::text("name", 0), Field::number("count", 0), Field::number("wait", 0)];
        let rows = vec![
            row("App/web", 3, Some(7)),
            row("app/bi", 12, None),
            row("shop/web", 3, Some(900)),
        ];
        Listing { fields, rows, keys: 1, ..Listing::default() }
    }

    #[test]
    fn rows_are_sorted_by_what_they_mean() {
        let arrange = |sort: Sort| listing().arrange(&sort, "");
        assert_eq!(arrange(Sort::descending("count")), [1, 0, 2]);
        assert_eq!(arrange(Sort::ascending("count")), [0, 2, 1]);
        assert_eq!(arrange(Sort::descending("wait")), [2, 0, 1]);
        assert_eq!(arrange(Sort::ascending("name")), [0, 1, 2]);
        assert_eq!(arrange(Sort::ascending("no such")), [0, 1, 2]);
    }

    #[test]
    fn a_filter_wants_every_word_somewhere() {
        let filter = |filter| listing().arrange(&Sort::default(), filter);
        assert_eq!(filter("WEB"), [0, 2]);
        assert_eq!(filter("web app"), [0]);
        assert_eq!(filter("900ms"), [2]);
        assert_eq!(filter("nothing"), Vec::<usize>::new());
    }

    #[test]
    fn a_bar_shows_whatever_there_is_and_looks_full_only_if_it_is() {
        let split = |used, idle, cap| Bar { used, idle, cap }.split(10);
        assert_eq!(split(0, 0, Some(20)), (0, 0));
        assert_eq!(split(1, 1, Some(1_000)), (1, 1));
        assert_eq!(split(999, 0, Some(1_000)), (9, 0));
        assert_eq!(split(5, 5, Some(10)), (5, 5));
        assert_eq!(split(20, 0, Some(20)), (10, 0));
        assert_eq!(split(30, 3, Some(20)), (10, 0));
        assert_eq!(split(3, 1, None), (7, 3));
        let most = u64::MAX;
        assert_eq!(split(most, most, Some(most)), (10, 0));
        assert_eq!(split(most / 2, most, Some(most)), (4, 6));
        assert_eq!(split(most, most, None), (10, 0));
        for used in 0..=25 {
            for idle in 0..=25 {
                let (full, rest) = split(used, idle, Some(20));
                assert!(full + rest <= 10 && (full == 10) == (used >= 20), "{used} {idle}");
            }
        }
    }

    #[test]
    fn what_a_client_calls_itself_cannot_write_elsewhere() {
        assert_eq!(Cell::text("x\x1b]0;y\x07").value, Value::Text("x\u{fffd}]0;y\u{fffd}".into()));
    }
}
