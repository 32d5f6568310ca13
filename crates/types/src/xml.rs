//! What a document can say.

/// Whether XML 1.0 has all of its characters (2.2 "Characters"): but for three no control character, and neither U+FFFE nor U+FFFF.
pub fn is_xml(text: &str) -> bool {
    let is_none =
        |c| matches!(c, '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}') && !matches!(c, '\t' | '\n' | '\r');
    !text.chars().any(is_none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters() {
        for good in ["", "a\tb\r\n", "ü\u{7f}\u{fffd}\u{10ffff}"] {
            assert!(is_xml(good), "{good:?}");
        }
        for bad in ["\0", "a\u{1f}", "\u{fffe}", "a\u{ffff}b"] {
            assert!(!is_xml(bad), "{bad:?}");
        }
    }
}
