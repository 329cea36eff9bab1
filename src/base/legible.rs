//! Texts of others, made fit to be read: names come from clients, and errors from whoever answers.

/// With nothing in it that moves a cursor, and no letter that cannot be seen but makes a line read other
/// than it is: marks of direction, joiners, tags.
pub fn safe(text: &str) -> String {
    text.chars().map(|letter| if is_odd(letter) { '\u{fffd}' } else { letter }).collect()
}

/// The same, and no longer than so many letters.
pub fn safe_and_short(text: &str, letters_max: usize) -> String {
    match text.char_indices().nth(letters_max) {
        Some((end, _)) => safe(&text[..end]) + "…",
        None => safe(text),
    }
}

/// The script of the status page has the same list, and `src/status/page.rs` a test that it does.
fn is_odd(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::{safe, safe_and_short};

    #[test]
    fn nothing_in_a_name_moves_the_cursor() {
        assert_eq!(safe("a\x1b[2Jb\u{202e}c\u{9b}é"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}é");
        assert_eq!(safe("a\u{2066}b\u{61c}\u{e0041}"), "a\u{fffd}b\u{fffd}\u{fffd}");
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(safe_and_short("é\u{7}x", 3), "é\u{fffd}x");
        assert_eq!(safe_and_short("é\u{7}xy", 3), "é\u{fffd}x…");
        assert_eq!(safe_and_short("", 0), "");
    }
}
