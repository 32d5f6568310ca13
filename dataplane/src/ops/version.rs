//! The version that a request names.

use s3o_types::VersionRef;
use s3s::S3Result;

use crate::pipeline::faults::invalid_argument;

/// `None`: the current one.
pub(super) fn named(version: Option<&str>) -> S3Result<Option<VersionRef>> {
    let Some(text) = version else { return Ok(None) };
    text.parse().map(Some).map_err(|_| invalid_argument("Invalid version id specified"))
}

#[cfg(test)]
mod tests {
    use s3o_types::VersionId;

    use super::*;

    #[test]
    fn names() {
        let id = VersionId::mint(1, 2);
        assert_eq!(named(None).expect("none"), None);
        assert_eq!(named(Some("null")).expect("null"), Some(VersionRef::Null));
        assert_eq!(named(Some(&id.to_string())).expect("an id"), Some(VersionRef::Id(id)));
        for bad in ["", "Null", "1", &id.to_string().to_lowercase()] {
            let error = named(Some(bad)).expect_err(bad);
            assert_eq!(error.code().as_str(), "InvalidArgument");
        }
    }
}
