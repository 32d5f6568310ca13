//! Files of the journal: what backends know of the database, so that it can be made again from them.
//!
//! Form: a zstd frame (RFC 8878) of lines. The first is the header and each other a record, both JSON, by the store's
//! vocabulary; the last is `#`, the number of records, and the SHA-256 of all lines before it. Invariants: a file is
//! written once, under a name that nobody else takes; one that was cut off, or changed by a byte, is never read as a
//! shorter one.

use std::fmt;
use std::io::{self, Read as _, Write as _};

use aws_lc_rs::digest::{Context, SHA256};
use s3o_types::storage_key::JOURNAL_PREFIX;

/// Bytes of records after which a file takes no more. What reads one holds it whole.
pub const FULL_BYTES: usize = 8 << 20;
/// A file that holds more is none of ours: a record is no longer than an object's metadata and the list of its parts.
const MAX_BYTES: u64 = 256 << 20;
/// zstd's own default.
const LEVEL: i32 = 3;
const SUFFIX: &str = ".zst";

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JournalPart {
    /// The changes of a stretch of the change log.
    Segment,
    /// A piece of a snapshot, from 0 on.
    Snapshot(u32),
    /// Says that a snapshot is complete, and which pieces it has.
    SnapshotEnd,
}

/// A file's name on a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JournalName {
    /// Of a segment: its own, from 1 on. Of a snapshot: that of the first segment that may have what it lacks.
    pub number: u64,
    /// What it holds.
    pub part: JournalPart,
    /// Drawn at random: two processes that write the same part do not write the same file.
    pub tag: u32,
}

impl fmt::Display for JournalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, part, tag } = self;
        match part {
            JournalPart::Segment => write!(f, "{JOURNAL_PREFIX}segment-{number:012}-{tag:08x}{SUFFIX}"),
            JournalPart::Snapshot(piece) => {
                write!(f, "{JOURNAL_PREFIX}snapshot-{number:012}-{piece:06}-{tag:08x}{SUFFIX}")
            }
            JournalPart::SnapshotEnd => {
                write!(f, "{JOURNAL_PREFIX}snapshot-{number:012}-end-{tag:08x}{SUFFIX}")
            }
        }
    }
}

impl JournalName {
    /// Reads a storage key; `None`: it is none of a journal's file.
    pub fn parse(key: &str) -> Option<Self> {
        let name = key.strip_prefix(JOURNAL_PREFIX)?.strip_suffix(SUFFIX)?;
        let mut words = name.split('-');
        let (kind, number) = (words.next()?, words.next()?.parse().ok()?);
        let part = match kind {
            "segment" => JournalPart::Segment,
            "snapshot" => match words.next()? {
                "end" => JournalPart::SnapshotEnd,
                piece => JournalPart::Snapshot(piece.parse().ok()?),
            },
            _ => return None,
        };
        let tag = u32::from_str_radix(words.next()?, 16).ok()?;
        let parsed = Self { number, part, tag };
        // One name for one file: what is written in another way is not ours.
        (words.next().is_none() && parsed.to_string() == key).then_some(parsed)
    }
}

/// Why a file is not one of the journal, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// It is no zstd frame, or one that was cut off.
    #[error("the file cannot be decompressed: {0}")]
    Compression(String),
    /// Its last line is not the one that ends a file.
    #[error("the file has no end")]
    NoEnd,
    /// Its end does not fit what is before it.
    #[error("the file's checksum is wrong")]
    Checksum,
    /// It has no header.
    #[error("the file is empty")]
    Empty,
}

/// Writes a file.
pub struct JournalWriter {
    out: zstd::Encoder<'static, Vec<u8>>,
    sha256: Context,
    bytes: usize,
    records: u64,
}

impl JournalWriter {
    /// Begins one with its header.
    pub fn new(header: &str) -> io::Result<Self> {
        let out = zstd::Encoder::new(Vec::new(), LEVEL)?;
        let mut new = Self { out, sha256: Context::new(&SHA256), bytes: 0, records: 0 };
        new.line(header)?;
        Ok(new)
    }

    /// Adds a record. JSON that was written by a machine has no line ends of its own.
    pub fn push(&mut self, record: &str) -> io::Result<()> {
        self.records += 1;
        self.line(record)
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        debug_assert!(!line.contains('\n'), "a record is a line");
        for bytes in [line.as_bytes(), b"\n"] {
            self.sha256.update(bytes);
            self.out.write_all(bytes)?;
            self.bytes += bytes.len();
        }
        Ok(())
    }

    /// How many records it has.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Whether it should take no more.
    pub const fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    /// The file.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        let end = format!("#{} {}\n", self.records, hex::encode(self.sha256.finish()));
        self.out.write_all(end.as_bytes())?;
        self.out.finish()
    }
}

impl fmt::Debug for JournalWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalWriter").field("records", &self.records).finish_non_exhaustive()
    }
}

/// A file that was read, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalFile {
    /// Its header.
    pub header: String,
    /// Its records, in their order.
    pub records: Vec<String>,
}

impl JournalFile {
    /// Reads a file, if it is whole.
    pub fn read(file: &[u8]) -> Result<Self, JournalError> {
        let bad = |error: io::Error| JournalError::Compression(error.to_string());
        let mut text = String::new();
        let decoder = zstd::Decoder::with_buffer(file).map_err(bad)?;
        decoder.take(MAX_BYTES).read_to_string(&mut text).map_err(bad)?;
        let (body, end) = split_end(&text).ok_or(JournalError::NoEnd)?;
        let mut lines = body.lines();
        let header = lines.next().ok_or(JournalError::Empty)?.to_owned();
        let records: Vec<String> = lines.map(str::to_owned).collect();
        let sha256 = aws_lc_rs::digest::digest(&SHA256, body.as_bytes());
        if end != format!("#{} {}", records.len(), hex::encode(sha256)) {
            return Err(JournalError::Checksum);
        }
        Ok(Self { header, records })
    }
}

/// All lines but the last, and the last without its line end.
fn split_end(text: &str) -> Option<(&str, &str)> {
    let without = text.strip_suffix('\n')?;
    let at = without.rfind('\n')? + 1;
    let (body, end) = without.split_at(at);
    end.starts_with('#').then_some((body, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, records: &[String]) -> Vec<u8> {
        let mut writer = JournalWriter::new(header).expect("a writer");
        for record in records {
            writer.push(record).expect("a record");
        }
        writer.finish().expect("a file")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(header in "[^\r\n]{0,40}", records in prop::collection::vec("[^\r\n]{0,60}", 0..20)) {
            let written = file(&header, &records);
            prop_assert_eq!(JournalFile::read(&written), Ok(JournalFile { header, records }));
        }

        #[test]
        fn no_part_of_a_file_is_one(records in prop::collection::vec("[a-z]{0,60}", 0..20), cut: prop::sample::Index) {
            let written = file("{}", &records);
            prop_assert!(JournalFile::read(&written[..cut.index(written.len())]).is_err());
        }

        #[test]
        fn names_are_read_as_they_are_written(number in 1_u64..1_000_000_000_000, piece in 0_u32..1_000_000, tag: u32) {
            for part in [JournalPart::Segment, JournalPart::Snapshot(piece), JournalPart::SnapshotEnd] {
                let name = JournalName { number, part, tag };
                prop_assert_eq!(JournalName::parse(&name.to_string()), Some(name));
            }
        }
    }

    #[test]
    fn other_lines_than_were_written_are_refused() {
        let forged = |text: &str| zstd::encode_all(text.as_bytes(), LEVEL).expect("a frame");
        assert_eq!(JournalFile::read(&forged("{}\na\n")), Err(JournalError::NoEnd));
        let whole = file("{}", &["a".to_owned()]);
        let text = String::from_utf8(zstd::decode_all(&whole[..]).expect("a frame")).expect("text");
        assert_eq!(JournalFile::read(&forged(&text.replace("\na\n", "\nb\n"))), Err(JournalError::Checksum));
        assert_eq!(JournalFile::read(b"no frame").map_err(|_| ()), Err(()));
    }

    #[test]
    fn other_keys_are_no_names() {
        let name = JournalName { number: 7, part: JournalPart::Segment, tag: 0xab }.to_string();
        assert_eq!(name, ".s3o/journal/segment-000000000007-000000ab.zst");
        for key in ["a", ".s3o/journal/segment-7-ab.zst", ".s3o/journal/segment-000000000007-000000AB.zst"] {
            assert_eq!(JournalName::parse(key), None, "{key}");
        }
    }
}
