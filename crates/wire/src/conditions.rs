//! What must hold of a key's current version for a write to count.

use s3o_proto::v1;
use s3o_types::{Conditions, Etag};

/// As a call brings them.
pub fn to_wire(conditions: &Conditions) -> v1::Conditions {
    let Conditions { if_absent, if_match } = conditions;
    v1::Conditions { if_absent: *if_absent, if_match: if_match.as_ref().map(|etag| etag.as_str().to_owned()) }
}

/// Absent: none.
pub fn from_wire(wire: Option<v1::Conditions>) -> Conditions {
    let v1::Conditions { if_absent, if_match } = wire.unwrap_or_default();
    Conditions { if_absent, if_match: if_match.map(|text| Etag::new(&text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for conditions in [
            Conditions { if_absent: true, if_match: None },
            Conditions { if_absent: false, if_match: Some(Etag::new("e")) },
            Conditions::default(),
        ] {
            assert_eq!(from_wire(Some(to_wire(&conditions))), conditions);
        }
        assert_eq!(from_wire(None), Conditions::default());
    }
}
