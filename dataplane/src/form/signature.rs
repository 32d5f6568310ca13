//! Who signed a form: the policy's signature (S3 API reference, "Calculating a signature" of browser-based uploads).

use std::collections::BTreeMap;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use s3s::{S3Result, s3_error};
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const STAMP: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
/// A signing key holds for a week (S3 API reference, "Authenticating requests").
const LONGEST: Duration = Duration::days(7);
/// By how much clocks may differ.
const SKEW: Duration = Duration::minutes(15);

/// What a form says of its signature.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    pub access_key: &'a str,
    date: &'a str,
    region: &'a str,
    policy: &'a str,
    signature: Vec<u8>,
}

impl<'a> Signed<'a> {
    /// From the form's fields, if they are of now and of this region.
    pub(super) fn of(
        fields: &'a BTreeMap<String, String>,
        region: Option<&str>,
        now: OffsetDateTime,
    ) -> S3Result<Self> {
        let field = |name: &str| fields.get(name).map(String::as_str);
        let (Some(policy), Some(signature)) = (field("policy"), field("x-amz-signature")) else {
            return Err(s3_error!(AccessDenied, "A form must have a policy and its signature, by version 4"));
        };
        let missing = |name: &'static str| {
            move || s3_error!(InvalidArgument, "Bucket POST must contain a field named '{name}'.")
        };
        let algorithm = field("x-amz-algorithm").ok_or_else(missing("X-Amz-Algorithm"))?;
        if algorithm != ALGORITHM {
            return Err(s3_error!(InvalidArgument, "X-Amz-Algorithm only supports \"{ALGORITHM}\""));
        }
        let credential = field("x-amz-credential").ok_or_else(missing("X-Amz-Credential"))?;
        let stamp = field("x-amz-date").ok_or_else(missing("X-Amz-Date"))?;
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key, date, of_region, "s3", "aws4_request"] = parts.as_slice() else {
            return Err(s3_error!(
                InvalidArgument,
                "X-Amz-Credential must be KEY/DATE/REGION/s3/aws4_request"
            ));
        };
        check_time(stamp, date, now)?;
        if region.is_some_and(|region| region != *of_region) {
            return Err(s3_error!(AuthorizationHeaderMalformed, "The region '{of_region}' is wrong"));
        }
        let signature = hex::decode(signature).map_err(|_| s3_error!(SignatureDoesNotMatch))?;
        Ok(Self { access_key, date, region: of_region, policy, signature })
    }

    /// Whether whoever has this secret signed it.
    pub(super) fn verify(&self, secret: &str) -> S3Result<()> {
        let mut key = mac(format!("AWS4{secret}").as_bytes(), self.date);
        for part in [self.region, "s3", "aws4_request"] {
            key = mac(&key, part);
        }
        let key = Key::new(HMAC_SHA256, &key);
        verify(&key, self.policy.as_bytes(), &self.signature).map_err(|_| s3_error!(SignatureDoesNotMatch))
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn check_time(stamp: &str, date: &str, now: OffsetDateTime) -> S3Result<()> {
    let at = PrimitiveDateTime::parse(stamp, STAMP).map(PrimitiveDateTime::assume_utc);
    let at =
        at.map_err(|_| s3_error!(InvalidArgument, "X-Amz-Date must be formatted as yyyyMMdd'T'HHmmss'Z'"))?;
    if !stamp.starts_with(date) || date.len() != 8 {
        return Err(s3_error!(InvalidArgument, "X-Amz-Credential is of another day than X-Amz-Date"));
    }
    if at > now + SKEW || at < now - LONGEST {
        return Err(s3_error!(AccessDenied, "The form was signed at another time"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Example: Browser-based upload using HTTP POST (using AWS signature version 4)" of the S3 API reference has this
    /// key, this day and this region; the policy here is a shorter one, its signature made by botocore's arithmetic.
    fn form(policy: &str, signature: &str) -> BTreeMap<String, String> {
        [
            ("policy", policy),
            ("x-amz-signature", signature),
            ("x-amz-algorithm", ALGORITHM),
            ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"),
            ("x-amz-date", "20151229T000000Z"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    fn then() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_451_347_200).expect("a time")
    }

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const SIGNATURE: &str = "41b0bda71d74c76f0557dcc39c95a626695e622348e2fbf7b9f2df51152bb3f8";

    #[test]
    fn only_what_was_signed() {
        let good = form("e30=", SIGNATURE);
        let signed = Signed::of(&good, Some("us-east-1"), then()).expect("well formed");
        assert_eq!(signed.access_key, "AKIAIOSFODNN7EXAMPLE");
        assert!(signed.verify(SECRET).is_ok());
        assert!(signed.verify("another").is_err());
        let other = form("e30", SIGNATURE);
        assert!(Signed::of(&other, None, then()).expect("well formed").verify(SECRET).is_err());
    }

    #[test]
    fn only_for_a_while_and_here() {
        let good = form("e30=", SIGNATURE);
        let code = |fields: &BTreeMap<String, String>, region, now| {
            Signed::of(fields, region, now).map(|_| ()).map_err(|error| error.code().as_str().to_owned())
        };
        assert_eq!(code(&good, None, then() + Duration::days(6)), Ok(()));
        for off in [Duration::days(8), Duration::hours(-1)] {
            assert_eq!(code(&good, None, then() + off), Err("AccessDenied".to_owned()));
        }
        assert_eq!(code(&good, Some("eu-1"), then()), Err("AuthorizationHeaderMalformed".to_owned()));
        for field in ["policy", "x-amz-signature", "x-amz-algorithm", "x-amz-credential", "x-amz-date"] {
            let mut less = good.clone();
            less.remove(field);
            assert!(code(&less, None, then()).is_err(), "{field}");
        }
        let mut wrong = good;
        wrong.insert("x-amz-credential".to_owned(), "AK/20151230/us-east-1/s3/aws4_request".to_owned());
        assert_eq!(code(&wrong, None, then()), Err("InvalidArgument".to_owned()));
    }
}
