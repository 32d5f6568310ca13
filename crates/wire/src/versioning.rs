//! Whether a bucket keeps versions.

use s3o_proto::v1;
use s3o_types::Versioning;

/// As it is said, and as it is asked for.
pub const fn to_wire(versioning: Versioning) -> v1::Versioning {
    match versioning {
        Versioning::Off => v1::Versioning::Off,
        Versioning::Enabled => v1::Versioning::Enabled,
        Versioning::Suspended => v1::Versioning::Suspended,
    }
}

/// `None` for a state of a later release.
pub const fn from_wire(wire: v1::Versioning) -> Option<Versioning> {
    match wire {
        v1::Versioning::Off => Some(Versioning::Off),
        v1::Versioning::Enabled => Some(Versioning::Enabled),
        v1::Versioning::Suspended => Some(Versioning::Suspended),
        v1::Versioning::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for versioning in [Versioning::Off, Versioning::Enabled, Versioning::Suspended] {
            assert_eq!(from_wire(to_wire(versioning)), Some(versioning));
        }
        assert_eq!(from_wire(v1::Versioning::Unspecified), None);
    }
}
