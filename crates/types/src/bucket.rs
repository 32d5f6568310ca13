//! What a virtual bucket may be called and how sure a write to it must be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// On how many backends a write must be before the client hears 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum AckLevel {
    /// One backend; the others follow by replication.
    #[default]
    One,
    /// More than half of the replication factor.
    Quorum,
    /// All of the replication factor.
    All,
}

impl AckLevel {
    /// How many verified copies the level asks for at this replication factor.
    pub const fn required(self, replication_factor: u16) -> u16 {
        match self {
            Self::One => 1,
            Self::Quorum => replication_factor / 2 + 1,
            Self::All => replication_factor,
        }
    }

    /// On how many backends a write is begun: with `one` the others follow by replication; else it goes to all at
    /// once, so that the level can still be met when some of them fail.
    pub const fn targets(self, replication_factor: u16) -> u16 {
        match self {
            Self::One => 1,
            Self::Quorum | Self::All => replication_factor,
        }
    }

    /// The word in configuration and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Quorum => "quorum",
            Self::All => "all",
        }
    }
}

impl FromStr for AckLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "one" => Ok(Self::One),
            "quorum" => Ok(Self::Quorum),
            "all" => Ok(Self::All),
            other => Err(format!("ack level `{other}` is none of one, quorum, all")),
        }
    }
}

/// What a bucket's readers get while the database cannot be asked: such reads may be older than the last write, or
/// show what was deleted since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum DegradedReads {
    /// What a data plane remembers, else what the backends hold.
    #[default]
    Allowed,
    /// Only what a data plane remembers.
    Cache,
    /// Nothing.
    Refused,
}

impl DegradedReads {
    /// The word in configuration and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Cache => "cache",
            Self::Refused => "refused",
        }
    }
}

impl FromStr for DegradedReads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "allowed" => Ok(Self::Allowed),
            "cache" => Ok(Self::Cache),
            "refused" => Ok(Self::Refused),
            other => Err(format!("degraded reads `{other}` are none of allowed, cache, refused")),
        }
    }
}

/// Whether a bucket keeps what is overwritten and deleted. Once it was enabled it can be suspended, but never be off
/// again (Amazon S3 User Guide, "How S3 Versioning works").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Versioning {
    /// It never did: each object is its key's null version.
    #[default]
    Off,
    /// Each write is a version of its own, each delete a marker.
    Enabled,
    /// Writes and deletes are null versions again; the versions that there are stay.
    Suspended,
}

impl Versioning {
    /// The word in configuration and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Enabled => "enabled",
            Self::Suspended => "suspended",
        }
    }

    /// Whether the bucket has been versioned at any time, so that there may be versions besides the current ones.
    pub const fn is_versioned(self) -> bool {
        !matches!(self, Self::Off)
    }
}

impl FromStr for Versioning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "enabled" => Ok(Self::Enabled),
            "suspended" => Ok(Self::Suspended),
            other => Err(format!("versioning `{other}` is none of off, enabled, suspended")),
        }
    }
}

/// A bucket name by S3's rules for general purpose buckets (Amazon S3 User Guide, "General purpose
/// bucket naming rules"): 3 to 63 of `a-z 0-9 . -`, a letter or digit at both ends, no `..`, not an
/// IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

impl BucketName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether S3 keeps such names for itself, or makes no bucket of it for another reason that does not keep one from
    /// working. To be asked where a bucket is made by a client: what is declared or there already may have any.
    pub fn is_reserved(&self) -> bool {
        let name = self.0.as_str();
        RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
            || name.contains(".-")
            || name.contains("-.")
    }
}

/// Of S3's naming rules those about access points, directory and table buckets, and examples.
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<BucketName> for String {
    fn from(name: BucketName) -> Self {
        name.0
    }
}

impl TryFrom<String> for BucketName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl FromStr for BucketName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let wrong = |rule: &str| Err(format!("`{name}` is not a bucket name: {rule}"));
        if !(3..=63).contains(&name.len()) {
            return wrong("it must have 3 to 63 characters");
        }
        if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')) {
            return wrong("only a-z, 0-9, `.` and `-` are allowed");
        }
        let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        if !ends(name.as_bytes().first()) || !ends(name.as_bytes().last()) {
            return wrong("it must begin and end with a letter or digit");
        }
        if name.contains("..") {
            return wrong("two dots in a row are not allowed");
        }
        if name.parse::<std::net::Ipv4Addr>().is_ok() {
            return wrong("it must not be an IP address");
        }
        Ok(Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names() {
        for good in ["abc", "a.b-c", "0ab", &"x".repeat(63)] {
            assert!(good.parse::<BucketName>().is_ok(), "{good}");
        }
        for bad in ["ab", "Abc", "a_b", "-ab", "ab-", "a..b", "10.0.0.1", ".s3o", &"x".repeat(64)] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_s3_keeps() {
        let reserved = |name: &str| name.parse::<BucketName>().expect("a name all the same").is_reserved();
        for name in [
            "amzn-s3-demo-x",
            "sthree-x",
            "xn--x",
            "x-s3alias",
            "x--ol-s3",
            "x.mrap",
            "x--x-s3",
            "a.-b",
            "a-.b",
        ] {
            assert!(reserved(name), "{name}");
        }
        for name in ["abc", "a.b-c", "demo-amzn-s3", "s3alias", "x-s3", "a--b"] {
            assert!(!reserved(name), "{name}");
        }
    }

    #[test]
    fn levels() {
        assert_eq!([1, 2, 3, 4, 5].map(|n| AckLevel::Quorum.required(n)), [1, 2, 2, 3, 3]);
        assert_eq!(AckLevel::All.required(3), 3);
        assert_eq!(AckLevel::One.required(3), 1);
        assert_eq!([AckLevel::One, AckLevel::Quorum, AckLevel::All].map(|level| level.targets(3)), [1, 3, 3]);
    }
}
