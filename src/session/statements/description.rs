//! What Postgres says of a statement: the types of its parameters, the names and types of its columns.

/// Of an answer that is longer, only so much is read. Several hundred columns take that.
pub const READ_MAX: usize = 48 << 10;

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>), of which another process makes the same.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// In a `RowDescription`, what is behind each column's name: its table, its place there, its type, the
/// type's length and modifier, its format.
const COLUMN_TAIL: usize = 18;

/// No columns: nothing is returned.
const NO_COLUMNS: u64 = 0;

/// What makes the same rows and takes the same values.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Description {
    /// How many, and their types: as in `ParameterDescription`, and in a `Parse`.
    parameters: Box<[u8]>,
    /// A hash of names, types and modifiers. Which table they come from Postgres does not ask, either.
    columns: u64,
}

impl Description {
    pub(super) fn parameters(&self) -> &[u8] {
        &self.parameters
    }

    /// Whether it returns rows.
    pub(super) fn has_columns(&self) -> bool {
        self.columns != NO_COLUMNS
    }

    /// Whether the rows are the same. That is all that Postgres asks when it reads a statement again.
    pub(super) fn has_columns_of(&self, other: &Self) -> bool {
        self.columns == other.columns
    }

    /// As bytes, for another process.
    pub(super) fn packed(&self) -> Vec<u8> {
        [&self.columns.to_be_bytes()[..], &self.parameters].concat()
    }

    /// `None`: these bytes are none.
    pub(super) fn unpacked(bytes: &[u8]) -> Option<Self> {
        let (columns, parameters) = bytes.split_first_chunk::<8>()?;
        let (count, types) = parameters.split_first_chunk::<2>()?;
        let is_whole = types.len() == 4 * usize::from(u16::from_be_bytes(*count));
        let columns = u64::from_be_bytes(*columns);
        is_whole.then(|| Self { parameters: parameters.into(), columns })
    }
}

/// The answer to a `Describe` of a statement, as it is read.
#[derive(Debug, Default)]
pub(super) struct Reading(Description);

impl Reading {
    /// The body of a `ParameterDescription`.
    pub(super) fn parameters(&mut self, body: &[u8]) {
        self.0 = Description { parameters: body.into(), columns: NO_COLUMNS };
    }

    /// The body of a `RowDescription` of `total` bytes, as much as is read of it.
    pub(super) fn columns(&mut self, body: &[u8], total: usize) {
        let mut hash = total.to_be_bytes().into_iter().fold(FNV_START, mix);
        let mut rest = body.get(2..).unwrap_or_default();
        while let Some(end) = memchr::memchr(0, rest) {
            let (name, behind) = rest.split_at(end + 1);
            let here = COLUMN_TAIL.min(behind.len());
            let (tail, behind) = behind.split_at(here);
            let kind = tail.get(6..10).unwrap_or_default();
            let modifier = tail.get(12..16).unwrap_or_default();
            hash = name.iter().chain(kind).chain(modifier).copied().fold(hash, mix);
            rest = behind;
        }
        self.0.columns = hash.max(1);
    }

    /// All of it has come.
    pub(super) fn finish(&mut self) -> Description {
        std::mem::take(&mut self.0)
    }
}

fn mix(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
}

#[cfg(test)]
mod tests {
    use super::{Description, Reading};
    use proptest::prelude::*;

    fn row(columns: &[(&str, u32, u32)], table: u32) -> Vec<u8> {
        let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
        for (name, kind, modifier) in columns {
            body.extend([name.as_bytes(), b"\0"].concat());
            body.extend(table.to_be_bytes());
            body.extend([0, 1]);
            body.extend(kind.to_be_bytes());
            body.extend([0, 4]);
            body.extend(modifier.to_be_bytes());
            body.extend([0, 0]);
        }
        body
    }

    fn described(parameters: &[u8], columns: Option<&[u8]>) -> Description {
        let mut reading = Reading::default();
        reading.parameters(parameters);
        if let Some(columns) = columns {
            reading.columns(columns, columns.len());
        }
        reading.finish()
    }

    #[test]
    fn what_postgres_compares_is_told_apart() {
        let of =
            |columns: &[(&str, u32, u32)], table| described(b"\0\0", Some(&row(columns, table)));
        let one = of(&[("a", 23, 0), ("b", 25, 0)], 1);
        assert!(one.has_columns() && one.has_columns_of(&of(&[("a", 23, 0), ("b", 25, 0)], 2)));
        for other in [
            of(&[("a", 23, 0)], 1),
            of(&[("b", 25, 0), ("a", 23, 0)], 1),
            of(&[("a", 20, 0), ("b", 25, 0)], 1),
            of(&[("a", 23, 0), ("b", 25, 7)], 1),
            of(&[("a", 23, 0), ("c", 25, 0)], 1),
            of(&[], 1),
            described(b"\0\0", None),
        ] {
            assert!(!one.has_columns_of(&other), "{other:?}");
        }
    }

    #[test]
    fn another_process_knows_it_again() {
        let one = described(b"\0\x01\0\0\0\x17", Some(&row(&[("a", 23, 0)], 1)));
        assert_eq!(Description::unpacked(&one.packed()), Some(one));
        assert_eq!(Description::unpacked(b"\0\0\0\0\0\0\0\0\0\x01\0"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(parameters: Vec<u8>, columns: Vec<u8>) {
            let described = described(&parameters, Some(&columns));
            prop_assert!(described.has_columns());
            let _maybe = Description::unpacked(&columns);
        }
    }
}
