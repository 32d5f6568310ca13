//! The headers of a form's part (RFC 7578, 4.2).

use s3s::S3Result;

use super::reader::malformed;

/// The headers of a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub name: String,
    pub file_name: String,
}

impl Part {
    pub(super) fn parse(head: &[u8]) -> S3Result<Self> {
        let head = std::str::from_utf8(head).map_err(|_| malformed())?;
        let lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        let mut dispositions =
            lines.filter(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"));
        let (_, disposition) = dispositions.next().ok_or_else(malformed)?;
        let name = parameter(disposition, "name").ok_or_else(malformed)?.to_ascii_lowercase();
        Ok(Self { name, file_name: parameter(disposition, "filename").unwrap_or_default() })
    }
}

/// A parameter of a `Content-Disposition`, with or without quotes.
fn parameter(disposition: &str, wanted: &str) -> Option<String> {
    let (_, mut rest) = disposition.split_once(';')?;
    loop {
        let (name, value) = rest.split_once('=')?;
        let (value, behind) = if let Some(quoted) = value.strip_prefix('"') {
            unquote(quoted)?
        } else {
            let (value, behind) = value.split_once(';').unwrap_or((value, ""));
            (value.trim().to_owned(), behind)
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = behind;
    }
}

/// Up to the closing quote, and what is behind it and its semicolon. A backslash escapes a quote only: file names of
/// Windows have others.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                text.push('"');
            }
            '"' => {
                let behind = quoted.get(at + 1..)?;
                return Some((text, behind.split_once(';').map_or("", |(_, rest)| rest)));
            }
            other => text.push(other),
        }
    }
    None
}
