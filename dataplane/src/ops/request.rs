//! What operations ask of their requests before anything else.

use s3s::{S3Request, S3Result, s3_error};

use crate::access::Tenant;
use crate::pipeline::faults::invalid_argument;
use crate::snapshot::Bucket;

/// S3's limit for an object in one PUT, and for a copy (Amazon S3 User Guide, "Uploading objects").
pub(super) const MAX_SINGLE_BYTES: u64 = 5 << 30;

/// The bucket that the access check found.
pub(super) fn bucket_of<T>(req: &S3Request<T>) -> S3Result<Bucket> {
    let tenant = req.extensions.get::<Tenant>();
    tenant.and_then(|tenant| tenant.bucket.clone()).ok_or_else(|| s3_error!(AccessDenied))
}

/// Keys with U+0000 are refused: PostgreSQL cannot hold them.
pub(super) fn check_key(key: &str) -> S3Result<()> {
    if key.contains('\0') {
        return Err(invalid_argument("Keys must not contain U+0000."));
    }
    Ok(())
}

/// Of what a client may ask of a write, that which cannot be done must not be passed over in silence.
pub(super) fn refuse_unsupported(wanted: &[(bool, &'static str)]) -> S3Result<()> {
    match wanted.iter().find(|(is_wanted, _)| *is_wanted) {
        Some((_, what)) => Err(s3_error!(NotImplemented, "{what} is not implemented")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert!(check_key("a/ü\u{1}").is_ok());
        assert_eq!(check_key("a\0").expect_err("refused").code().as_str(), "InvalidArgument");
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        assert!(refuse_unsupported(&[(false, "Flying")]).is_ok());
        let error = refuse_unsupported(&[(false, "Flying"), (true, "Diving")]).expect_err("refused");
        assert_eq!(error.code().as_str(), "NotImplemented");
        assert_eq!(error.message(), Some("Diving is not implemented"));
    }
}
