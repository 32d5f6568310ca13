//! The parts of an answer that are written as XML where they are made: keys, and whatever else a client chose and hears
//! again, and the entries of a listing.
//!
//! Why beside `s3s`: it refuses to answer with most control characters, which keys may have. And a page has a thousand
//! entries, and by its way each becomes a structure of a dozen owned texts first and a series of events then, which was
//! most of what a data plane spends on a page (docs/performance.md). The head of the document is `s3s`'s; what is here
//! goes into its end (`http/documents.rs`).
//!
//! Invariant: texts come back from any parser as they were, control characters as references.

use std::fmt::Write as _;

use s3o_types::Timestamp;
use time::OffsetDateTime;

/// Elements, one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Elements(String);

impl Elements {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// An element with others in it.
    pub(crate) fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.tag("<", name);
        content(self);
        self.tag("</", name);
    }

    /// An element with a text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.element(name, |elements| elements.escape(text));
    }

    /// A text between quotes.
    pub(super) fn quoted(&mut self, text: &str) {
        self.0.push_str("&quot;");
        self.escape(text);
        self.0.push_str("&quot;");
    }

    /// An element with what needs no escaping: numbers, words of ours.
    pub(super) fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.element(name, |elements| {
            // Writing to a string cannot fail.
            let _ = write!(elements.0, "{value}");
        });
    }

    /// An element with the time at which something was written, as S3 writes it: ISO 8601 in UTC, with milliseconds that are
    /// always zero, since `Last-Modified` has none. Nothing for one beyond the calendar.
    pub(super) fn time(&mut self, name: &str, timestamp: Timestamp) {
        let Ok(at) = OffsetDateTime::from_unix_timestamp(timestamp.seconds()) else { return };
        let (date, time) = (at.date(), at.time());
        let mut text = *b"0000-00-00T00:00:00.000Z";
        set_number(&mut text[..4], date.year().unsigned_abs());
        set_number(&mut text[5..7], u32::from(u8::from(date.month())));
        set_number(&mut text[8..10], u32::from(date.day()));
        set_number(&mut text[11..13], u32::from(time.hour()));
        set_number(&mut text[14..16], u32::from(time.minute()));
        set_number(&mut text[17..19], u32::from(time.second()));
        // Nothing in it needs escaping.
        self.element(name, |elements| elements.0.push_str(str::from_utf8(&text).unwrap_or_default()));
    }

    /// Texts that a client hears again; those that are absent stay so.
    pub(super) fn texts(&mut self, texts: &[(&str, Option<&str>)]) {
        for (name, text) in texts {
            if let Some(text) = text {
                self.text(name, text);
            }
        }
    }

    /// What was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    #[inline]
    fn tag(&mut self, open: &str, name: &str) {
        self.0.push_str(open);
        self.0.push_str(name);
        self.0.push('>');
    }

    fn escape(&mut self, text: &str) {
        // All of it at once: a loop that may end early is run byte by byte.
        if !text.bytes().fold(false, |any, byte| any | is_special(byte)) {
            self.0.push_str(text);
            return;
        }
        let mut rest = text;
        while let Some(at) = rest.bytes().position(is_special) {
            self.0.push_str(&rest[..at]);
            match rest.as_bytes()[at] {
                b'&' => self.0.push_str("&amp;"),
                b'<' => self.0.push_str("&lt;"),
                b'>' => self.0.push_str("&gt;"),
                b'"' => self.0.push_str("&quot;"),
                control => {
                    // Writing to a string cannot fail.
                    let _ = write!(self.0, "&#{control};");
                }
            }
            rest = &rest[at + 1..];
        }
        self.0.push_str(rest);
    }
}

/// Bytes that do not stand as they are. All are ASCII, so that what is between two is text.
const fn is_special(byte: u8) -> bool {
    matches!(byte, b'&' | b'<' | b'>' | b'"') || byte.is_ascii_control()
}

/// The last digits that there is place for, with zeros before.
fn set_number(places: &mut [u8], mut number: u32) {
    for place in places.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let mut xml = Elements::default();
        xml.element("A", |xml| {
            xml.text("B", "a&b<c>\"ü\r\n\u{1}\u{7f}");
            xml.text("C", "");
            xml.plain("D", 17);
            xml.texts(&[("E", Some("\u{2}")), ("F", None), ("G", Some(""))]);
        });
        let wanted =
            "<A><B>a&amp;b&lt;c&gt;&quot;ü&#13;&#10;&#1;&#127;</B><C></C><D>17</D><E>&#2;</E><G></G></A>";
        assert_eq!(xml.as_str(), wanted);
    }

    #[test]
    fn what_is_special_is_found_wherever_it_stands() {
        for length in 1..40 {
            for at in 0..length {
                let mut text = "a".repeat(length);
                text.replace_range(at..=at, "&");
                let mut xml = Elements::default();
                xml.text("T", &text);
                assert_eq!(xml.as_str(), format!("<T>{}</T>", text.replace('&', "&amp;")));
            }
        }
    }

    #[test]
    fn times_are_those_of_s3() {
        let of = |us: i64| {
            let mut xml = Elements::default();
            xml.time("T", Timestamp(us));
            xml.as_str().to_owned()
        };
        assert_eq!(of(0), "<T>1970-01-01T00:00:00.000Z</T>");
        assert_eq!(of(1_709_210_096_789_999), "<T>2024-02-29T12:34:56.000Z</T>");
        assert_eq!(of(-1), "<T>1969-12-31T23:59:59.000Z</T>");
        assert_eq!(of(i64::MAX), "");
        // Where a day ends.
        let mut xml = Elements::default();
        for second in [86_399, 86_400, 86_461, 0] {
            xml.time("T", Timestamp(second * 1_000_000));
        }
        let days =
            ["1970-01-01T23:59:59", "1970-01-02T00:00:00", "1970-01-02T00:01:01", "1970-01-01T00:00:00"];
        assert_eq!(xml.as_str(), days.map(|time| format!("<T>{time}.000Z</T>")).concat());
    }
}
