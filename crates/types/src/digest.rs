//! What an extent's bytes are checked against when they are read: kept with each copy, seen by no client.
//!
//! Invariant: a digest says its own algorithm, so that copies of different settings stand side by side.

use std::fmt;
use std::str::FromStr;

/// How extents are digested when they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestKind {
    /// CRC-64/NVME: finds what networks and disks garble, at a fraction of a nanosecond a byte.
    #[default]
    Crc64Nvme,
    /// SHA-256: finds what somebody changed on purpose, too.
    Sha256,
}

impl DigestKind {
    /// The word in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha256 => "sha256",
        }
    }
}

impl FromStr for DigestKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "crc64nvme" => Ok(Self::Crc64Nvme),
            "sha256" => Ok(Self::Sha256),
            other => Err(format!("digest `{other}` is neither crc64nvme nor sha256")),
        }
    }
}

/// The digest of an extent's bytes, as the client sees them: before encryption and compression.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Digest {
    /// CRC-64/NVME, big-endian.
    Crc64Nvme([u8; 8]),
    /// SHA-256.
    Sha256([u8; 32]),
}

impl Digest {
    /// Its algorithm.
    pub const fn kind(&self) -> DigestKind {
        match self {
            Self::Crc64Nvme(_) => DigestKind::Crc64Nvme,
            Self::Sha256(_) => DigestKind::Sha256,
        }
    }

    /// As it is stored and sent: its length says what it is.
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Crc64Nvme(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }

    /// From stored bytes. `Ok(None)`: there are none.
    ///
    /// # Errors
    /// No digest has that length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>, String> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
            return Ok(Some(Self::Crc64Nvme(bytes)));
        }
        let sha256 = <[u8; 32]>::try_from(bytes);
        sha256
            .map(|bytes| Some(Self::Sha256(bytes)))
            .map_err(|_| format!("a digest of {} bytes; CRC-64/NVME has 8, SHA-256 has 32", bytes.len()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind().as_str(), hex::encode(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_says_what_it_is() {
        for digest in [Digest::Crc64Nvme([7; 8]), Digest::Sha256([9; 32])] {
            assert_eq!(Digest::from_bytes(digest.as_bytes()), Ok(Some(digest)));
            assert_eq!(digest.kind().as_str().parse(), Ok(digest.kind()));
        }
        assert_eq!(Digest::from_bytes(&[]), Ok(None));
        assert!(Digest::from_bytes(&[1; 16]).is_err());
        assert!("md5".parse::<DigestKind>().is_err());
    }
}
