//! What an access key may do in a bucket, and under which prefix.

use std::str::FromStr;

/// One thing that an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Get an object and what is said about it.
    Read,
    /// Put, copy to, tag, upload in parts.
    Write,
    /// See which keys there are.
    List,
    /// Remove objects.
    Delete,
    /// Change the bucket's own settings, and delete the bucket where it was made through the API. Of the whole
    /// bucket only: under a prefix it means nothing.
    Configure,
    /// Remove and unlock versions that a governance retention keeps, by a request that says so. No word and no other right
    /// includes it; who makes a bucket through the API has it there.
    BypassGovernance,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Write, Self::List, Self::Delete, Self::Configure, Self::BypassGovernance];

    /// The word in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Configure => "configure",
            Self::BypassGovernance => "bypass_governance",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromStr for Right {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|right| right.as_str() == text).ok_or_else(|| {
            let words = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is none of {words}")
        })
    }
}

/// A set of rights. Its bits stand in databases and on the wire; those that a later release adds are kept out:
/// what is not known is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// None.
    pub const NONE: Self = Self(0);
    /// What `access: read` has always meant.
    pub const READ: Self = Self(Right::Read.bit() | Right::List.bit());
    /// What `access: read_write` has always meant: everything about objects.
    pub const ALL: Self = Self(Self::READ.0 | Right::Write.bit() | Right::Delete.bit());
    /// Every right that this release knows: what whoever makes a bucket has there, as S3's owners have.
    pub const KNOWN: Self = Self(Self::ALL.0 | Right::Configure.bit() | Right::BypassGovernance.bit());

    /// With one more.
    #[must_use]
    pub const fn with(self, right: Right) -> Self {
        Self(self.0 | right.bit())
    }

    /// Whether it is in.
    pub const fn contains(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    /// As a number.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// By its number.
    pub const fn from_bits(bits: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the bits that are known are the lowest six")]
        Self(bits as u8 & Self::KNOWN.0)
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        rights.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Rights to the keys under a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Empty for the whole bucket.
    pub prefix: String,
    /// What may be done there.
    pub rights: Rights,
}

impl Scope {
    /// Whether it allows `right` for `key`; for a listing, for everything under the prefix `key`.
    pub fn allows(&self, right: Right, key: &str) -> bool {
        self.rights.contains(right) && key.starts_with(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers() {
        for right in Right::ALL {
            assert_eq!(right.as_str().parse(), Ok(right));
            let one = Rights::NONE.with(right);
            assert!(Right::ALL.into_iter().all(|other| one.contains(other) == (other == right)));
            assert_eq!(Rights::from_bits(u32::from(one.bits())), one);
        }
        assert!("admin".parse::<Right>().is_err());
        assert_eq!(Rights::from_bits(u32::MAX), Rights::KNOWN, "what is not known is not granted");
        assert_eq!(Right::ALL.into_iter().collect::<Rights>(), Rights::KNOWN);
        assert!(!Rights::ALL.contains(Right::Configure), "it is off unless it is granted");
        assert!(!Rights::ALL.contains(Right::BypassGovernance), "so is this");
        assert!(Rights::READ.contains(Right::List) && !Rights::READ.contains(Right::Delete));
    }

    #[test]
    fn only_under_the_prefix() {
        let scope = Scope { prefix: "team/".to_owned(), rights: Rights::READ };
        assert!(scope.allows(Right::Read, "team/a") && scope.allows(Right::List, "team/"));
        for key in ["team", "tea", "", "teams/a"] {
            assert!(!scope.allows(Right::Read, key), "{key}");
        }
        assert!(!scope.allows(Right::Write, "team/a"));
    }
}
