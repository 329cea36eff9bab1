//! The page itself: one document with its style and its script in it, which asks for nothing but the
//! numbers.
//!
//! The browser is told to run this script and apply this style and no others, whatever a client may have
//! called itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");
const BODY: &str = include_str!("page/body.html");

/// The page, and what the browser may do with it.
pub struct Page {
    pub html: String,
    pub content_security_policy: String,
}

impl Page {
    pub fn new() -> Self {
        let html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>pgweir</title>\n<link rel=\"icon\" href=\"data:,\">\n\
             <style>{STYLE}</style>\n</head>\n<body>\n{BODY}<script>{SCRIPT}</script>\n</body>\n\
             </html>\n"
        );
        let content_security_policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        );
        Self { html, content_security_policy }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::{BODY, Page, SCRIPT, STYLE};
    use crate::base::legible::safe;

    /// What could let a name be read as anything but text, or load anything.
    #[test]
    fn names_are_text_and_nothing_is_loaded() {
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "import(",
            "srcdoc",
            "setAttribute('on",
            "setAttribute('style",
        ] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
        for text in [STYLE, SCRIPT, BODY] {
            let address = text.replace("http://www.w3.org/2000/svg", "");
            for way in ["http:", "https:", "//cdn", "url(", "@import", "src="] {
                assert!(!address.contains(way), "{way}");
            }
        }
        for way in [" style=", " onclick=", "<script", "<style"] {
            assert!(!BODY.contains(way), "{way}: it would be refused");
        }
    }

    /// What the expression behind `const ODD = ` takes for odd: a class of letters and ranges.
    fn odd_in_the_script() -> Vec<std::ops::RangeInclusive<u32>> {
        let class = SCRIPT.split_once("const ODD = /[").unwrap().1.split_once("]/gu;").unwrap().0;
        let mut rest = class.strip_prefix(r"\p{Cc}").expect("letters that control come first");
        let mut ranges = vec![0..=0x1f, 0x7f..=0x9f];
        while !rest.is_empty() {
            let (is_end, from) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
            let digits = from.strip_prefix(r"\u").expect("letters are written as numbers");
            let (digits, behind) = match digits.strip_prefix('{') {
                Some(digits) => digits.split_once('}').expect("it is closed"),
                None => digits.split_at(4),
            };
            let letter = u32::from_str_radix(digits, 16).unwrap();
            if is_end {
                let begun = ranges.pop().expect("a range begins");
                ranges.push(*begun.start()..=letter);
            } else {
                ranges.push(letter..=letter);
            }
            rest = behind;
        }
        ranges
    }

    #[test]
    fn the_script_replaces_the_letters_that_are_replaced_elsewhere() {
        let ranges = odd_in_the_script();
        for letter in (0..=0x10_ffff).filter_map(char::from_u32).filter(|&it| it != '\u{fffd}') {
            let is_odd = safe(letter.encode_utf8(&mut [0; 4])) == "\u{fffd}";
            let is_odd_there = ranges.iter().any(|range| range.contains(&u32::from(letter)));
            assert_eq!(is_odd_there, is_odd, "{letter:?}");
        }
    }

    #[test]
    fn it_is_small_and_ends_where_it_should() {
        let page = Page::new();
        assert!(page.html.len() < 64 << 10, "{} bytes", page.html.len());
        for end in ["</script", "</style"] {
            assert_eq!(page.html.matches(end).count(), 1, "{end}");
        }
        assert_eq!(page.content_security_policy.matches("'sha256-").count(), 2);
        assert!(!page.content_security_policy.contains("unsafe"));
    }
}
