//! The self-description: what a blob says of itself in the one header `x-amz-meta-s3o`.
//!
//! Form: `1 k=blob s=42 i=1 c=… kid=… cs=… z=… l=g1767225600000000 h=1`: the format's version, then fields in any order,
//! values percent-encoded. Invariants: at most 200 bytes; fields that a newer release added are
//! passed over; another format version is an error, since it may mean something else by the same
//! words. The form is stored data: it cannot change once someone has data.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3o_types::{Encoding, ObjectLock, Retention, RetentionMode, Timestamp};

/// The greatest length of the header's value in bytes (DESIGN §3).
pub const MAX_BYTES: usize = 200;

const FORMAT: &str = "1";
/// What stands as it is in a value.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// What the bytes of a blob are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobKind {
    /// Bytes of an object, whole or one extent.
    Blob,
    /// The list of the extents of a version that has several.
    Manifest,
}

/// What is known of a blob before its first byte is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfDescription {
    /// What the bytes are.
    pub kind: BlobKind,
    /// Logical size in bytes: the object's, not the blob's, where they differ.
    pub size: u64,
    /// How the blob's bytes differ from the object's.
    pub encoding: Encoding,
    /// Some of the object's attributes are not on the blob: only database and journal have them.
    pub incomplete: bool,
    /// What the version is to be kept by, as its writer asked for it. What its bucket retains by itself is decided later, and
    /// what was changed since is in the journal.
    pub lock: ObjectLock,
}

/// Why a description could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescribeError {
    /// The names of cipher, key or compression are too long.
    #[error("the self-description would have {0} bytes, {MAX_BYTES} are allowed")]
    TooLong(usize),
    /// Written by another release in a form this one does not know.
    #[error("self-description of unknown format `{0}`")]
    UnknownFormat(String),
    /// A kind of blob this release does not know.
    #[error("self-description of unknown kind `{0}`")]
    UnknownKind(String),
    /// Not a self-description.
    #[error("broken self-description: {0}")]
    Broken(&'static str),
}

impl SelfDescription {
    /// Of a plain blob of `size` bytes.
    pub fn plain(size: u64) -> Self {
        let (encoding, lock) = (Encoding::default(), ObjectLock::default());
        Self { kind: BlobKind::Blob, size, encoding, incomplete: false, lock }
    }

    /// The header's value.
    pub fn format(&self) -> Result<String, DescribeError> {
        let kind = match self.kind {
            BlobKind::Blob => "blob",
            BlobKind::Manifest => "manifest",
        };
        let mut text = format!("{FORMAT} k={kind} s={}", self.size);
        if self.incomplete {
            text.push_str(" i=1");
        }
        let mut field = |name: &str, value: &str| {
            if !value.is_empty() {
                // Writing into a String cannot fail.
                let _ = write!(text, " {name}={}", utf8_percent_encode(value, ESCAPED));
            }
        };
        field("c", &self.encoding.cipher);
        field("kid", &self.encoding.key_id);
        field("z", &self.encoding.compression);
        if self.encoding.chunk_size != 0 {
            field("cs", &self.encoding.chunk_size.to_string());
        }
        let ObjectLock { retention, legal_hold } = self.lock;
        if let Some(Retention { mode, until }) = retention {
            let letter = match mode {
                RetentionMode::Governance => 'g',
                RetentionMode::Compliance => 'c',
            };
            field("l", &format!("{letter}{}", until.0));
        }
        if let Some(on) = legal_hold {
            field("h", if on { "1" } else { "0" });
        }
        if text.len() > MAX_BYTES { Err(DescribeError::TooLong(text.len())) } else { Ok(text) }
    }

    /// Reads a header's value.
    pub fn parse(text: &str) -> Result<Self, DescribeError> {
        let mut words = text.split_ascii_whitespace();
        let format = words.next().ok_or(DescribeError::Broken("it is empty"))?;
        if format != FORMAT {
            return Err(DescribeError::UnknownFormat(format.to_owned()));
        }
        let (mut kind, mut size) = (None, None);
        let mut description = Self::plain(0);
        for word in words {
            let (name, value) = word.split_once('=').ok_or(DescribeError::Broken("a field has no `=`"))?;
            match name {
                "k" => kind = Some(parse_kind(value)?),
                "s" => size = Some(parse_number(value)?),
                "i" => description.incomplete = value == "1",
                "c" => description.encoding.cipher = unescape(value)?,
                "kid" => description.encoding.key_id = unescape(value)?,
                "z" => description.encoding.compression = unescape(value)?,
                "cs" => description.encoding.chunk_size = parse_number(value)?,
                "l" => description.lock.retention = Some(parse_retention(value)?),
                "h" => description.lock.legal_hold = Some(value == "1"),
                _ => {}
            }
        }
        description.kind = kind.ok_or(DescribeError::Broken("it states no kind"))?;
        description.size = size.ok_or(DescribeError::Broken("it states no size"))?;
        Ok(description)
    }
}

fn parse_kind(value: &str) -> Result<BlobKind, DescribeError> {
    match value {
        "blob" => Ok(BlobKind::Blob),
        "manifest" => Ok(BlobKind::Manifest),
        other => Err(DescribeError::UnknownKind(other.to_owned())),
    }
}

/// A mode that is not known may hold longer than those that are: it is an error, not none.
fn parse_retention(value: &str) -> Result<Retention, DescribeError> {
    let (mode, until) = match value.split_at_checked(1) {
        Some(("g", until)) => (RetentionMode::Governance, until),
        Some(("c", until)) => (RetentionMode::Compliance, until),
        _ => return Err(DescribeError::Broken("a retention is none")),
    };
    Ok(Retention { mode, until: Timestamp(parse_number(until)?) })
}

fn parse_number<N: std::str::FromStr>(value: &str) -> Result<N, DescribeError> {
    value.parse().map_err(|_| DescribeError::Broken("a number is none"))
}

fn unescape(value: &str) -> Result<String, DescribeError> {
    let text = percent_decode_str(value).decode_utf8().map_err(|_| DescribeError::Broken("not UTF-8"))?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn descriptions() -> impl Strategy<Value = SelfDescription> {
        let kind = prop_oneof![Just(BlobKind::Blob), Just(BlobKind::Manifest)];
        let mode = prop_oneof![Just(RetentionMode::Governance), Just(RetentionMode::Compliance)];
        let retention =
            (mode, 0_i64..1 << 60).prop_map(|(mode, until)| Retention { mode, until: Timestamp(until) });
        let lock = (prop::option::of(retention), any::<Option<bool>>())
            .prop_map(|(retention, legal_hold)| ObjectLock { retention, legal_hold });
        (kind, any::<u64>(), "\\PC{0,4}", "[a-z0-9-]{0,20}", any::<u32>(), "[a-z]{0,5}", any::<bool>(), lock)
            .prop_map(|(kind, size, cipher, key_id, chunk_size, compression, incomplete, lock)| {
                SelfDescription {
                    kind,
                    size,
                    encoding: Encoding { cipher, key_id, chunk_size, compression },
                    incomplete,
                    lock,
                }
            })
    }

    proptest! {
        #[test]
        fn parse_inverts_format(description in descriptions()) {
            let text = description.format().expect("short names");
            prop_assert!(text.len() <= MAX_BYTES);
            prop_assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text:?}");
            prop_assert_eq!(SelfDescription::parse(&text).expect("our own"), description);
        }

        #[test]
        fn fields_of_the_future_are_passed_over(description in descriptions(), name in "[a-z]{4,8}", value in "[a-z%=]{0,9}") {
            let text = format!("{} {name}={value}", description.format().expect("short names"));
            prop_assert_eq!(SelfDescription::parse(&text).expect("tolerated"), description);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = SelfDescription::parse(&text);
        }
    }

    #[test]
    fn refused() {
        assert_eq!(SelfDescription::parse("2 k=blob s=1"), Err(DescribeError::UnknownFormat("2".to_owned())));
        assert_eq!(
            SelfDescription::parse("1 k=tape s=1"),
            Err(DescribeError::UnknownKind("tape".to_owned()))
        );
        for broken in ["", "1", "1 k=blob", "1 s=4", "1 k=blob s=-1", "1 k=blob s=1 word"] {
            assert!(SelfDescription::parse(broken).is_err(), "{broken:?}");
        }
        let mut long = SelfDescription::plain(1);
        long.encoding.key_id = "k".repeat(MAX_BYTES);
        assert!(matches!(long.format(), Err(DescribeError::TooLong(_))));
    }

    #[test]
    fn known_form() {
        assert_eq!(SelfDescription::plain(42).format().expect("short"), "1 k=blob s=42");
    }
}
