//! Version ids: the name of one write of an object.
//!
//! Invariant: the text form is canonical. 26 characters of Crockford base32 in upper case, and a
//! text that would print differently is not a version id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 128 bits: a PostgreSQL sequence value in the upper half, random bits in the lower. It names the
/// version's blobs and decides nothing: the order of a key's versions is [`crate::Seq`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionId(u128);

impl VersionId {
    /// Length of the text form in characters.
    pub const TEXT_LEN: usize = 26;

    /// The id of a write that drew `sequence` from the database and `random` from a generator.
    pub const fn mint(sequence: u64, random: u64) -> Self {
        Self(((sequence as u128) << 64) | random as u128)
    }

    /// What its write drew from the database.
    pub const fn sequence(self) -> u64 {
        self.to_uuid().as_u64_pair().0
    }

    /// As PostgreSQL's `uuid` holds it; big-endian, so both sort alike.
    pub const fn to_uuid(self) -> Uuid {
        Uuid::from_u128(self.0)
    }

    /// From PostgreSQL's `uuid`.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid.as_u128())
    }

    /// The canonical text form and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(Ulid::from_string(text).ok()?.0);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Ulid(self.0).to_string())
    }
}

impl From<VersionId> for String {
    fn from(id: VersionId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for VersionId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is no version"))
    }
}

/// How clients name a version. What was written while the bucket was not versioned, or its versioning was suspended,
/// has no id of its own for them: it is the key's null version, and there is one at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VersionRef {
    /// `null`.
    Null,
    /// By its id.
    Id(VersionId),
}

impl VersionRef {
    /// The name of a version with this id.
    pub const fn of(version: VersionId, is_null: bool) -> Self {
        if is_null { Self::Null } else { Self::Id(version) }
    }

    /// Whether it names the version with this id. The id of a null version is no name.
    pub fn names(self, version: VersionId, is_null: bool) -> bool {
        self == Self::of(version, is_null)
    }
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Id(version) => version.fmt(f),
        }
    }
}

impl FromStr for VersionRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "null" {
            return Ok(Self::Null);
        }
        let id = VersionId::parse(text).map(Self::Id);
        id.ok_or_else(|| format!("`{text}` is neither a version id nor `null`"))
    }
}

/// Three characters for 15 bits.
pub(crate) fn crockford15(n: u16) -> String {
    [10, 5, 0].iter().map(|shift| char::from(ALPHABET[usize::from((n >> shift) & 31)])).collect()
}

/// The inverse of [`crockford15`]; upper case only.
pub(crate) fn parse_crockford15(text: &str) -> Option<u16> {
    if text.len() != 3 {
        return None;
    }
    text.bytes().try_fold(0_u16, |n, byte| {
        let digit = ALPHABET.iter().position(|&c| c == byte)?;
        Some((n << 5) | u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_round_trips_and_sorts_like_the_id(a: u128, b: u128) {
            let (x, y) = (VersionId(a), VersionId(b));
            prop_assert_eq!(VersionId::parse(&x.to_string()), Some(x));
            prop_assert_eq!(x.cmp(&y), x.to_string().cmp(&y.to_string()));
            prop_assert_eq!(VersionId::from_uuid(x.to_uuid()), x);
        }

        #[test]
        fn the_sequence_is_what_was_drawn(sequence: u64, random: u64) {
            prop_assert_eq!(VersionId::mint(sequence, random).sequence(), sequence);
        }

        #[test]
        fn only_the_canonical_text_is_an_id(text in "[0-9A-Za-z]{24,28}") {
            if let Some(id) = VersionId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn fifteen_bits_round_trip(n in 0_u16..1 << 15) {
            prop_assert_eq!(parse_crockford15(&crockford15(n)), Some(n));
        }
    }

    #[test]
    fn names_of_versions() {
        let id = VersionId::mint(7, 9);
        for named in [VersionRef::Null, VersionRef::Id(id)] {
            assert_eq!(named.to_string().parse(), Ok(named));
        }
        for bad in ["", "Null", "NULL", "0", "zzzzzzzzzzzzzzzzzzzzzzzzzz"] {
            assert!(bad.parse::<VersionRef>().is_err(), "{bad}");
        }
        assert!(VersionRef::Null.names(id, true) && !VersionRef::Null.names(id, false));
        assert!(VersionRef::Id(id).names(id, false) && !VersionRef::Id(id).names(id, true));
    }

    #[test]
    fn documents_have_the_text_form() {
        let id = VersionId::mint(7, 9);
        assert_eq!(String::from(id), id.to_string());
        assert_eq!(VersionId::try_from(id.to_string()), Ok(id));
        assert_eq!(VersionId::try_from("null".to_owned()), Err("`null` is no version".to_owned()));
    }

    #[test]
    fn lower_case_and_too_large_are_refused() {
        let id = VersionId::mint(7, 9).to_string();
        assert!(VersionId::parse(&id).is_some());
        assert!(VersionId::parse("zzzzzzzzzzzzzzzzzzzzzzzzzz").is_none());
        assert!(VersionId::parse("ZZZZZZZZZZZZZZZZZZZZZZZZZZ").is_none());
    }
}
