//! What a client says of a body before sending it: length, digests, trailers.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderValue};
use s3o_blob::{Algorithm, AlgorithmSet, Expected};
use s3o_types::Checksums;
use s3s::{S3Error, S3Request, S3Result, TrailingHeaders, s3_error};

use crate::http::request::NoLength;
use crate::pipeline::faults::invalid_argument;

const PREFIX: &str = "x-amz-checksum-";

/// Reads the headers about the body. `size` is that of the decoded body.
pub(crate) fn expected(
    headers: &HeaderMap,
    size: u64,
    trailing: Option<TrailingHeaders>,
) -> S3Result<Expected> {
    let mut expected = Expected { md5: content_md5(headers)?, ..Expected::of_size(size) };
    expected.checksums = checksums(headers)?;
    expected.trailers = trailers(headers)?;
    if !expected.checksums.values.is_empty() && expected.trailers != AlgorithmSet::NONE {
        return Err(several());
    }
    check_announced(headers, &expected)?;
    if expected.trailers != AlgorithmSet::NONE {
        let Some(trailing) = trailing else {
            return Err(s3_error!(InvalidRequest, "x-amz-trailer needs a streaming payload with a trailer"));
        };
        expected.trailer_source = Some(Box::new(move || trailer_values(&trailing)));
    }
    Ok(expected)
}

/// `x-amz-sdk-checksum-algorithm` is about the checksum that comes with the body: it asks for none by itself.
fn check_announced(headers: &HeaderMap, expected: &Expected) -> S3Result<()> {
    let Some(algorithm) = text(headers, "x-amz-sdk-checksum-algorithm") else { return Ok(()) };
    if expected.checksums.values.is_empty() && expected.trailers == AlgorithmSet::NONE {
        return Err(s3_error!(
            InvalidRequest,
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
        ));
    }
    let comes = |algorithm: Algorithm| {
        expected.checksums.values.contains_key(algorithm.name()) || expected.trailers.contains(algorithm)
    };
    if Algorithm::from_name(algorithm).is_some_and(comes) {
        return Ok(());
    }
    Err(s3_error!(InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid."))
}

/// Bytes of the decoded body, as the client says them: where it says nothing, `s3s` says 0.
pub(super) fn content_length<T>(req: &S3Request<T>, said: Option<i64>) -> S3Result<u64> {
    let said = said.filter(|_| req.extensions.get::<NoLength>().is_none());
    let length = said.ok_or_else(|| s3_error!(MissingContentLength))?;
    u64::try_from(length).map_err(|_| invalid_argument("Content-Length must not be negative."))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `Content-MD5`, raw.
pub(crate) fn content_md5(headers: &HeaderMap) -> S3Result<Option<[u8; 16]>> {
    let Some(value) = headers.get("content-md5") else { return Ok(None) };
    let decoded = BASE64.decode(value.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    decoded.map(Some).ok_or_else(|| s3_error!(InvalidDigest))
}

/// The algorithms whose `x-amz-checksum-…` headers came, with these.
fn named(headers: &HeaderMap) -> impl Iterator<Item = S3Result<(Algorithm, &HeaderValue)>> {
    let checksums =
        headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix(PREFIX)?, value)));
    checksums.filter(|(name, _)| !matches!(*name, "mode" | "algorithm" | "type")).map(|(name, value)| {
        let algorithm = Algorithm::from_name(name)
            .ok_or_else(|| s3_error!(NotImplemented, "The checksum algorithm {name} is not implemented"))?;
        Ok((algorithm, value))
    })
}

/// Refuses headers of algorithms that are not known here.
pub(super) fn check_algorithms(headers: &HeaderMap) -> S3Result<()> {
    named(headers).try_for_each(|named| named.map(|_| ()))
}

/// `x-amz-checksum-…` headers. S3 takes one.
pub(super) fn checksums(headers: &HeaderMap) -> S3Result<Checksums> {
    let mut values = BTreeMap::new();
    for named in named(headers) {
        let (algorithm, value) = named?;
        let name = algorithm.name();
        let value = value.to_str().ok().filter(|value| is_checksum(algorithm, value));
        let value = value
            .ok_or_else(|| s3_error!(InvalidRequest, "Value for x-amz-checksum-{name} header is invalid."))?;
        values.insert(algorithm.name().to_owned(), value.to_owned());
    }
    if values.len() > 1 {
        return Err(several());
    }
    Ok(Checksums { values })
}

fn several() -> S3Error {
    s3_error!(
        InvalidRequest,
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
    )
}

fn is_checksum(algorithm: Algorithm, value: &str) -> bool {
    BASE64.decode(value).is_ok_and(|decoded| decoded.len() == algorithm.bytes())
}

/// The checksums that `x-amz-trailer` announces.
fn trailers(headers: &HeaderMap) -> S3Result<AlgorithmSet> {
    let mut set = AlgorithmSet::NONE;
    let announced = text(headers, "x-amz-trailer").unwrap_or_default();
    for name in announced.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let name = name.to_ascii_lowercase();
        let algorithm = name.strip_prefix(PREFIX).and_then(Algorithm::from_name);
        set = set.with(algorithm.ok_or_else(|| {
            s3_error!(InvalidRequest, "The value specified in the x-amz-trailer header is not supported")
        })?);
    }
    Ok(set)
}

fn trailer_values(trailing: &TrailingHeaders) -> Result<BTreeMap<String, String>, String> {
    let read = |headers: &HeaderMap| {
        let checksums =
            headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix(PREFIX)?, value)));
        checksums
            .map(|(name, value)| match value.to_str() {
                Ok(value) => Ok((name.to_owned(), value.trim().to_owned())),
                Err(_) => Err(format!("x-amz-checksum-{name} is not ASCII")),
            })
            .collect()
    };
    trailing.read(read).unwrap_or_else(|| Err("there is none".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect()
    }

    fn code(pairs: &[(&'static str, &'static str)]) -> String {
        expected(&headers(pairs), 1, None)
            .err()
            .map(|error| error.code().as_str().to_owned())
            .unwrap_or_default()
    }

    #[test]
    fn what_is_said_is_expected() {
        let all = headers(&[
            ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
            ("x-amz-checksum-crc32", "AAAAAA=="),
            ("x-amz-checksum-mode", "ENABLED"),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ]);
        let expected = expected(&all, 7, None).expect("all well");
        assert_eq!(expected.size, 7);
        assert!(expected.md5.is_some() && expected.also == AlgorithmSet::NONE);
        assert_eq!(expected.checksums.values["crc32"], "AAAAAA==");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(code(&[("content-md5", "short")]), "InvalidDigest");
        assert_eq!(code(&[("x-amz-checksum-crc32", "AA==")]), "InvalidRequest");
        assert_eq!(
            code(&[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")]),
            "InvalidRequest"
        );
        assert_eq!(code(&[("x-amz-checksum-rot13", "AAAAAAAAAAA=")]), "NotImplemented");
        assert_eq!(code(&[("x-amz-trailer", "x-amz-checksum-crc32")]), "InvalidRequest");
        assert_eq!(code(&[("x-amz-trailer", "x-other")]), "InvalidRequest");
        let both = [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-trailer", "x-amz-checksum-sha1")];
        let error = expected(&headers(&both), 1, None).err().expect("one is enough");
        assert!(
            error.message().is_some_and(|message| message.starts_with("Expecting a single")),
            "{error:?}"
        );
    }

    #[test]
    fn an_announced_checksum_comes() {
        let of = |algorithm: &'static str, name: &'static str| {
            let pairs = headers(&[("x-amz-sdk-checksum-algorithm", algorithm), (name, "AAAAAA==")]);
            let error = expected(&pairs, 1, None).err();
            error.and_then(|error| error.message().map(str::to_owned)).unwrap_or_default()
        };
        assert_eq!(of("crc32c", "x-amz-checksum-crc32c"), "");
        assert!(of("CRC32", "x-amz-meta-a").contains("no corresponding"));
        for other in ["SHA1", "rot13"] {
            assert!(of(other, "x-amz-checksum-crc32").ends_with("header is invalid."), "{other}");
        }
        let trailing =
            Expected { trailers: AlgorithmSet::NONE.with(Algorithm::Sha1), ..Expected::of_size(1) };
        let of =
            |algorithm| check_announced(&headers(&[("x-amz-sdk-checksum-algorithm", algorithm)]), &trailing);
        assert!(of("SHA1").is_ok() && of("SHA256").is_err());
    }
}
