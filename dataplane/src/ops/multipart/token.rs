//! Upload ids as clients see them: the upload's number, and the checksum that was asked for, so that a part is hashed
//! on its way without asking anybody.
//!
//! Form: 32 hexadecimal digits, then nothing, or `-crc32-c` (composite) or `-crc64nvme-f` (full object). It is
//! no secret and decides nothing: what it says of the checksum is compared with the upload when that is completed.

use s3o_blob::{Algorithm, ChecksumKind};
use uuid::Uuid;

/// An upload id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UploadToken {
    pub id: Uuid,
    pub checksum: Option<(Algorithm, ChecksumKind)>,
}

impl UploadToken {
    pub(super) fn format(self) -> String {
        let Self { id, checksum } = self;
        match checksum {
            None => id.simple().to_string(),
            Some((algorithm, kind)) => format!("{}-{}-{}", id.simple(), algorithm.name(), letter(kind)),
        }
    }

    /// `None`: no id of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split('-');
        let id = words.next().filter(|id| id.len() == 32)?;
        let id = Uuid::try_parse(id).ok()?;
        let checksum = match (words.next(), words.next(), words.next()) {
            (None, None, None) => None,
            (Some(algorithm), Some(kind), None) => {
                let algorithm = Algorithm::ALL.into_iter().find(|a| a.name() == algorithm)?;
                let kind = [ChecksumKind::Composite, ChecksumKind::FullObject]
                    .into_iter()
                    .find(|known| letter(*known) == kind)?;
                Some((algorithm, kind))
            }
            _ => return None,
        };
        Some(Self { id, checksum })
    }

    /// Of an upload as the control plane has it.
    pub(super) fn of(upload: &crate::control::Upload) -> Self {
        let algorithm = Algorithm::from_name(&upload.checksum_algorithm);
        let kind = ChecksumKind::from_word(&upload.checksum_type);
        Self { id: upload.id, checksum: algorithm.zip(kind) }
    }
}

const fn letter(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::Composite => "c",
        ChecksumKind::FullObject => "f",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusal() {
        let id = Uuid::from_u128(0x0190_1234_5678_7abc_8def_0123_4567_89ab);
        let mut tokens = vec![UploadToken { id, checksum: None }];
        for algorithm in Algorithm::ALL {
            for kind in [ChecksumKind::Composite, ChecksumKind::FullObject] {
                tokens.push(UploadToken { id, checksum: Some((algorithm, kind)) });
            }
        }
        for token in tokens {
            assert_eq!(UploadToken::parse(&token.format()), Some(token));
        }
        let good = UploadToken { id, checksum: None }.format();
        for bad in
            ["", "x", &good[1..], &format!("{good}-"), &format!("{good}-crc32"), &format!("{good}-md4-c")]
        {
            assert_eq!(UploadToken::parse(bad), None, "{bad}");
        }
        assert_eq!(UploadToken::parse(&id.to_string()), None, "only the simple form");
    }
}
