//! ETags, without the quotes that HTTP puts around them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An object's ETag as S3 makes it: the MD5 in hexadecimal, with `-parts` behind it for multipart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Etag(String);

impl Etag {
    /// Takes an ETag with or without quotes. What was taken once is taken as it is.
    pub fn new(text: &str) -> Self {
        Self(text.trim_matches(|c: char| c == '"' || c.is_whitespace()).to_owned())
    }

    /// Without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, given away.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Whether it is the plain MD5 in hexadecimal that a single PUT gets.
    pub fn is_md5(&self) -> bool {
        self.0.len() == 32 && self.0.bytes().all(|b| b.is_ascii_hexdigit())
    }

    /// The MD5 that it is, if it is one.
    pub fn md5(&self) -> Option<[u8; 16]> {
        let number = self.is_md5().then(|| u128::from_str_radix(&self.0, 16).ok()).flatten();
        number.map(u128::to_be_bytes)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_taken_as_it_is() {
        for (text, taken) in [
            ("e", "e"),
            (" \"e\" ", "e"),
            ("\" e \"", "e"),
            ("\"\"e\"\"", "e"),
            ("\" \"a \" b\" \"", "a \" b"),
            ("\" \"", ""),
        ] {
            let etag = Etag::new(text);
            assert_eq!(etag.as_str(), taken, "{text}");
            assert_eq!(Etag::new(etag.as_str()), etag, "{text}");
        }
    }

    #[test]
    fn an_md5_is_read_and_nothing_else() {
        let md5 = Etag::new("\"00ff00000000000000000000000000AB\"").md5();
        assert_eq!(md5, Some([0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xab]));
        for other in ["", "00ff00000000000000000000000000ab-2", "+0ff00000000000000000000000000ab"] {
            assert_eq!(Etag::new(other).md5(), None, "{other}");
        }
    }
}
