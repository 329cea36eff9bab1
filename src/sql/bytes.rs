//! What the bytes of a text can be. Texts are looked through byte by byte, and a table is quicker than ranges.

/// A bit for each class; a byte can be of several.
pub(super) const STARTS_WORD: u8 = 1;
pub(super) const DIGIT: u8 = 2;
pub(super) const DOLLAR: u8 = 4;
pub(super) const SPACE: u8 = 8;
pub(super) const LINE_BREAK: u8 = 16;
/// What follows it is no part of it, and it is no part of what is before it.
pub(super) const EDGE: u8 = 32;
/// In a quoted name a number is part of the name.
pub(super) const NAME_QUOTE: u8 = 64;
pub(super) const NOT_ASCII: u8 = 128;

pub(super) const IN_WORD: u8 = STARTS_WORD | DIGIT | DOLLAR;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => STARTS_WORD,
            0x80.. => STARTS_WORD | NOT_ASCII,
            b'0'..=b'9' => DIGIT,
            b'$' => DOLLAR,
            b'\n' | b'\r' => SPACE | LINE_BREAK | EDGE,
            // The vertical tab is one to Postgres, and not to Rust.
            b' ' | b'\t' | 0x0b | 0x0c => SPACE | EDGE,
            b'(' | b')' | b',' | b';' | b'=' | b'<' | b'>' | b'+' | b'-' | b'*' => EDGE,
            b'"' => NAME_QUOTE,
            _ => 0,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

/// Whether a byte is of one of these classes.
#[inline]
pub(super) fn is_a(byte: u8, classes: u8) -> bool {
    CLASSES[usize::from(byte)] & classes != 0
}
