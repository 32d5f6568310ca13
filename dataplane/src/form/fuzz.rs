//! Browsers' forms: the boundary, the parts, the policy and who signed it.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{HeaderMap, HeaderValue, header};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use s3o_fuzz::{bytes, check, texts};
use s3s::{Body, S3Result};
use time::OffsetDateTime;

use super::part::Part;
use super::policy::Policy;
use super::reader::MAX_FIELDS;
use super::signature::Signed;
use super::{Form, MAX_BOUNDARY, boundary};
use crate::pipeline::BoxError;

fn refused<T>(result: &S3Result<T>, codes: &[&str]) -> TestCaseResult {
    if let Err(error) = result {
        prop_assert!(codes.contains(&error.code().as_str()), "refused with {}", error.code().as_str());
    }
    Ok(())
}

#[test]
fn boundaries() {
    let valid =
        "[Mm]ultipart/form-data; ?(charset=utf-8; ?)?[Bb]oundary=(\"[a-z' ]{1,9}\"|[a-zA-Z0-9-]{1,75})";
    check(&texts(valid, &[";", "=", "\"", "boundary=", "multipart/form-data", " ", "é"]), |text| {
        let Ok(value) = HeaderValue::try_from(&text) else { return Ok(()) };
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
        if let Some(boundary) = boundary(&headers) {
            prop_assert!((1..=MAX_BOUNDARY).contains(&boundary.len()) && text.contains(&boundary));
        }
        Ok(())
    });
}

#[test]
fn parts() {
    let name = "[a-zA-Z -]{0,8}";
    let valid = (name, "(; filename=\"([a-z\\\\;=]|\\\\\"){0,8}\")?", "(\r\nContent-Type: text/plain)?")
        .prop_map(|(name, file, kind)| {
            format!("Content-Disposition: form-data; name=\"{name}\"{file}{kind}")
        });
    let tokens =
        &["\"", "\\\"", "\\", ";", "=", ":", "\r\n", "name=", "filename=", "content-disposition", "é", "\0"];
    check(&bytes(valid.prop_map(String::into_bytes), tokens), |head| {
        let read = Part::parse(&head);
        refused(&read, &["MalformedPOSTRequest"])?;
        if let Ok(part) = read {
            prop_assert!(part.name.len() + part.file_name.len() <= head.len() * 2);
            prop_assert!(!part.name.bytes().any(|byte| byte.is_ascii_uppercase()));
        }
        Ok(())
    });
}

/// A form, and what its file is.
fn forms() -> impl Strategy<Value = Vec<u8>> {
    let field = ("[a-z-]{1,6}", "[a-z\r\n-]{0,12}");
    let file = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        "(\r\n|--|\r\n--B|\r\n--A|B|-|x){0,12}".prop_map(String::into_bytes),
    ];
    (prop::collection::vec(field, 0..4), file).prop_map(|(fields, file)| {
        let mut text = Vec::new();
        for (name, value) in fields {
            text.extend(
                format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
            );
        }
        text.extend(b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n");
        text.extend(file);
        text.extend(b"\r\n--B--\r\n");
        text
    })
}

fn body(text: &[u8], piece: usize) -> Body {
    let pieces: Vec<Bytes> = text.chunks(piece).map(Bytes::copy_from_slice).collect();
    let frames = pieces.into_iter().map(|piece| Ok::<_, BoxError>(http_body::Frame::data(piece)));
    Body::http_body_unsync(http_body_util::StreamBody::new(futures::stream::iter(frames)))
}

/// Fields and file, or the code that it is refused with.
async fn read(text: &[u8], piece: usize) -> Result<(BTreeMap<String, String>, Option<Vec<u8>>), S3Refusal> {
    let form = Form::read(body(text, piece), "B", text.len() as u64).await;
    let Form { fields, file } = form.map_err(|error| S3Refusal(error.code().as_str().to_owned()))?;
    let chunks: Result<Vec<Bytes>, BoxError> = file.stream().try_collect().await;
    Ok((fields, chunks.ok().map(|chunks| chunks.concat())))
}

#[derive(Debug, PartialEq)]
struct S3Refusal(String);

#[test]
fn whole_forms() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let tokens = &[
        "\r\n",
        "--",
        "--B",
        "\r\n--B\r\n",
        "\r\n\r\n",
        "--B--",
        "name=\"file\"",
        "Content-Disposition: form-data; ",
        "\0",
    ];
    check(&(bytes(forms(), tokens), 1..80_usize), |(text, piece)| {
        let whole = runtime.block_on(read(&text, text.len().max(1)));
        // However it comes.
        let in_pieces = runtime.block_on(read(&text, piece));
        prop_assert_eq!(&in_pieces, &whole);
        match whole {
            Ok((fields, file)) => {
                let held: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
                prop_assert!(held <= MAX_FIELDS && held <= text.len());
                let file = file.unwrap_or_default();
                prop_assert!(file.is_empty() || text.windows(file.len()).any(|some| some == file));
            }
            Err(S3Refusal(code)) => {
                let codes = ["MalformedPOSTRequest", "InvalidArgument", "MaxPostPreDataLengthExceeded"];
                prop_assert!(codes.contains(&code.as_str()), "refused with {code}");
            }
        }
        Ok(())
    });
}

fn conditions() -> impl Strategy<Value = String> {
    let condition = prop_oneof![
        "\\{\"[a-zA-Z-]{1,4}\": (\"[a-z]{0,3}\"|[0-9]{1,3}|[0-9]\\.[0-9]|null)\\}",
        "\\[\"(eq|starts-with|EQ|like)\", \"\\$?[a-z]{1,4}\", \"[a-z]{0,3}\"\\]",
        "\\[\"content-length-range\", (-?[0-9]{1,3}|\"[0-9]{1,3}\"), [0-9]{1,20}\\]",
        "\\[\"starts-with\", \"\\$Content-Type\", \"image/\"\\]",
    ];
    prop::collection::vec(condition, 0..5).prop_map(|conditions| conditions.join(", "))
}

#[test]
fn policies() {
    let expiration = prop_oneof![
        "20[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]T[0-2][0-9]:00:00(\\.000)?Z",
        "[+-]?[0-9]{4,6}-(W[0-9]{2}-[0-9]|[0-9]{3}|[0-9]{2}-[0-9]{2})(T[0-9]{2}(:[0-9]{2}){0,2}([.,][0-9]{1,12})?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?",
    ];
    let valid = (expiration, conditions()).prop_map(|(expiration, conditions)| {
        format!("{{\"expiration\": \"{expiration}\", \"conditions\": [{conditions}]}}")
    });
    let tokens = &[
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\\u0000",
        "\\ud800",
        "$",
        "1e999",
        "-",
        "expiration",
        "conditions",
        "é",
    ];
    let fields = prop::collection::btree_map(
        "[a-z-]{1,4}|content-type|bucket",
        "[a-z]{0,3}|image/png(,image/gif)?",
        0..4,
    );
    check(
        &(bytes(valid.prop_map(String::into_bytes), tokens), fields, any::<u64>()),
        |(json, fields, size)| {
            let policy = Policy::parse(&json);
            refused(&policy, &["InvalidPolicyDocument"])?;
            let Ok(policy) = policy else { return Ok(()) };
            refused(&policy.check_size(size), &["EntityTooLarge", "EntityTooSmall"])?;
            for seconds in [0, 1_900_000_000] {
                let now = OffsetDateTime::from_unix_timestamp(seconds).expect("a time");
                let checked = policy.check(&fields, now);
                refused(&checked, &["AccessDenied"])?;
                if checked.is_ok() {
                    // No field goes by without a condition.
                    let text = String::from_utf8_lossy(&json).to_ascii_lowercase();
                    let free = |name: &str| name == "bucket" || name == "policy" || name == "file";
                    let named =
                        |name: &String| free(name) || text.contains(name.as_str()) || text.contains("\\u");
                    prop_assert!(fields.keys().all(named));
                }
            }
            Ok(())
        },
    );
}

#[test]
fn signatures() {
    let now = OffsetDateTime::from_unix_timestamp(1_451_347_200).expect("a time");
    let credential = texts("AK/20151229/us-east-1/s3/aws4_request", &["/", "//", "s3", "é", "\0"]);
    let stamp = texts("20151229T0[0-9]{5}Z", &["T", "Z", "2015", "+", "-", "é", "99"]);
    let signature = texts("[0-9a-f]{64}", &["g", "é", "0", "FF"]);
    check(&(credential, stamp, signature, any::<bool>()), move |(credential, stamp, signature, here)| {
        let fields: BTreeMap<String, String> = [
            ("policy", "e30=".to_owned()),
            ("x-amz-signature", signature),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", credential),
            ("x-amz-date", stamp),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let signed = Signed::of(&fields, here.then_some("us-east-1"), now);
        let codes =
            ["InvalidArgument", "AccessDenied", "AuthorizationHeaderMalformed", "SignatureDoesNotMatch"];
        refused(&signed, &codes)?;
        if let Ok(signed) = signed {
            // Nobody can guess it.
            let verified = signed.verify("a secret");
            prop_assert!(verified.is_err());
            refused(&verified, &["SignatureDoesNotMatch"])?;
        }
        Ok(())
    });
}
