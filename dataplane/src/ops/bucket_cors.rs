//! GetBucketCors, PutBucketCors, DeleteBucketCors: the rules that `http/cors.rs` goes by. Those of the configuration file
//! can be read here, and not changed.

use std::sync::Arc;

use http::StatusCode;
use s3o_types::{CorsRule, is_xml};
use s3s::dto::{
    CORSRule, DeleteBucketCorsInput, DeleteBucketCorsOutput, GetBucketCorsInput, GetBucketCorsOutput,
    PutBucketCorsInput, PutBucketCorsOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{Answer, bucket_of, document};
use crate::pipeline::faults;
use crate::plane::Plane;

/// S3's limit (PutBucketCors reference: "up to 100 rules").
const MAX_RULES: usize = 100;
/// Bytes of all rules (PutBucketCors reference: "limited to 64 KB"). Every data plane holds them.
const MAX_BYTES: usize = 64 * 1024;
/// S3's limit in characters (`CORSRule`, `ID`).
const MAX_ID: usize = 255;

/// GetBucketCors.
pub(super) fn get(req: &S3Request<GetBucketCorsInput>) -> Answer<GetBucketCorsOutput> {
    let bucket = bucket_of(req)?;
    if bucket.cors.is_empty() {
        return Err(faults::custom(
            "NoSuchCORSConfiguration",
            StatusCode::NOT_FOUND,
            "The CORS configuration does not exist",
        ));
    }
    let rules = bucket.cors.iter().map(shown).collect();
    Ok(S3Response::new(GetBucketCorsOutput { cors_rules: Some(rules) }))
}

/// PutBucketCors.
pub(super) async fn put(
    plane: &Arc<Plane>,
    req: S3Request<PutBucketCorsInput>,
) -> Answer<PutBucketCorsOutput> {
    document::check_elements(&req, &["CORSRule"])?;
    let rules = rules(&req.input.cors_configuration.cors_rules)?;
    set(plane, &req, &rules).await?;
    Ok(S3Response::new(PutBucketCorsOutput {}))
}

/// DeleteBucketCors: nothing to delete is no error.
pub(super) async fn delete(
    plane: &Arc<Plane>,
    req: S3Request<DeleteBucketCorsInput>,
) -> Answer<DeleteBucketCorsOutput> {
    set(plane, &req, &[]).await?;
    Ok(S3Response::with_status(DeleteBucketCorsOutput {}, StatusCode::NO_CONTENT))
}

async fn set<T: Sync>(plane: &Arc<Plane>, req: &S3Request<T>, rules: &[CorsRule]) -> S3Result<()> {
    let (bucket, caller) = (bucket_of(req)?, plane.caller(req));
    let generation = caller.set_cors(&bucket.name, rules).await.map_err(faults::of_failure)?;
    plane.reach(&caller, generation).await;
    Ok(())
}

fn shown(rule: &CorsRule) -> CORSRule {
    let some = |values: &[String]| (!values.is_empty()).then(|| values.to_vec());
    CORSRule {
        allowed_headers: some(&rule.allowed_headers),
        allowed_methods: rule.allowed_methods.clone(),
        allowed_origins: rule.allowed_origins.clone(),
        expose_headers: some(&rule.expose_headers),
        id: Some(rule.id.clone()).filter(|id| !id.is_empty()),
        max_age_seconds: rule.max_age_seconds.and_then(|seconds| i32::try_from(seconds).ok()),
    }
}

fn rules(rules: &[CORSRule]) -> S3Result<Vec<CorsRule>> {
    if rules.is_empty() {
        return Err(s3_error!(MalformedXML));
    }
    if rules.len() > MAX_RULES {
        return Err(s3_error!(
            InvalidRequest,
            "The number of CORS rules should not exceed allowed limit of {MAX_RULES} rules."
        ));
    }
    let rules = rules.iter().map(rule).collect::<S3Result<Vec<_>>>()?;
    if rules.iter().map(bytes).sum::<usize>() > MAX_BYTES {
        return Err(s3_error!(InvalidRequest, "The CORS configuration must not be larger than 64 KB."));
    }
    Ok(rules)
}

fn rule(rule: &CORSRule) -> S3Result<CorsRule> {
    let CORSRule { allowed_headers, allowed_methods, allowed_origins, expose_headers, id, max_age_seconds } =
        rule;
    let seconds = max_age_seconds.map(u32::try_from).transpose();
    let rule = CorsRule {
        id: id.clone().unwrap_or_default(),
        allowed_origins: allowed_origins.clone(),
        allowed_methods: allowed_methods.clone(),
        allowed_headers: allowed_headers.clone().unwrap_or_default(),
        expose_headers: expose_headers.clone().unwrap_or_default(),
        max_age_seconds: seconds
            .map_err(|_| s3_error!(InvalidRequest, "MaxAgeSeconds must not be negative"))?,
    };
    if rule.id.chars().count() > MAX_ID || !is_xml(&rule.id) {
        return Err(s3_error!(
            InvalidRequest,
            "The ID of a rule has up to {MAX_ID} characters, and no control characters"
        ));
    }
    // A rule of the configuration file may: browsers read `*` as all.
    if let Some(header) = rule.expose_headers.iter().find(|header| header.contains('*')) {
        return Err(s3_error!(
            InvalidRequest,
            "ExposeHeader {header:?} contains wildcard. We currently do not support wildcard for ExposeHeader."
        ));
    }
    match rule.problems().into_iter().next() {
        None => Ok(rule),
        Some((field, why)) => Err(s3_error!(InvalidRequest, "{}: {why}", element(field))),
    }
}

/// The field's name in the document.
fn element(field: &str) -> &'static str {
    match field {
        "allowed_origins" => "AllowedOrigin",
        "allowed_methods" => "AllowedMethod",
        "allowed_headers" => "AllowedHeader",
        _ => "ExposeHeader",
    }
}

fn bytes(rule: &CorsRule) -> usize {
    let CorsRule {
        id,
        allowed_origins,
        allowed_methods,
        allowed_headers,
        expose_headers,
        max_age_seconds: _,
    } = rule;
    let lists = [allowed_origins, allowed_methods, allowed_headers, expose_headers];
    id.len() + lists.into_iter().flatten().map(String::len).sum::<usize>()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(origin: &str, method: &str) -> CORSRule {
        CORSRule {
            allowed_headers: None,
            allowed_methods: vec![method.to_owned()],
            allowed_origins: vec![origin.to_owned()],
            expose_headers: None,
            id: None,
            max_age_seconds: Some(60),
        }
    }

    fn code(wanted: &[CORSRule]) -> String {
        rules(wanted).err().map(|error| error.code().as_str().to_owned()).unwrap_or_default()
    }

    #[test]
    fn what_is_put_comes_back() {
        let put = CORSRule { id: Some("one".to_owned()), ..of("https://*.example.com", "GET") };
        let stored = rules(std::slice::from_ref(&put)).expect("good");
        assert_eq!(stored[0].max_age_seconds, Some(60));
        assert_eq!(shown(&stored[0]), put);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(code(&[]), "MalformedXML");
        assert_eq!(code(&vec![of("*", "GET"); MAX_RULES + 1]), "InvalidRequest");
        assert_eq!(code(&[of("*", "PATCH")]), "InvalidRequest");
        assert_eq!(code(&[of("https://*.*", "GET")]), "InvalidRequest");
        assert_eq!(code(&[CORSRule { max_age_seconds: Some(-1), ..of("*", "GET") }]), "InvalidRequest");
        assert_eq!(code(&[CORSRule { id: Some("x".repeat(256)), ..of("*", "GET") }]), "InvalidRequest");
        assert_eq!(code(&[CORSRule { id: Some("é".repeat(255)), ..of("*", "GET") }]), "", "characters count");
        let any = Some(vec!["*".to_owned()]);
        assert_eq!(code(&[CORSRule { expose_headers: any, ..of("*", "GET") }]), "InvalidRequest");
        let large =
            CORSRule { allowed_origins: vec![format!("https://{}", "x".repeat(1000))], ..of("*", "GET") };
        assert_eq!(code(&vec![large; 66]), "InvalidRequest");
    }
}
