//! What clients say in headers, queries and small documents, and what it is refused with.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use s3o_blob::Algorithm;
use s3o_fuzz::{bytes, check, texts};
use s3s::S3Result;
use s3s::dto::{CopySource, Delete, Metadata, Range, Tagging, VersioningConfiguration};
use s3s::xml::{Deserialize, Deserializer, Serialize, Serializer};

use super::range::{Slice, resolve};
use super::{attributes, conditions, tags, token, upload, version};

/// What a document is read as, by the way that requests go.
pub(super) fn read<T: for<'xml> Deserialize<'xml>>(xml: &[u8]) -> Option<T> {
    let mut reader = Deserializer::new(xml);
    let read = T::deserialize(&mut reader).ok()?;
    reader.expect_eof().ok()?;
    Some(read)
}

/// A document as answers have it.
pub(super) fn written<T: Serialize>(value: &T) -> Vec<u8> {
    let mut xml = Vec::new();
    value.serialize(&mut Serializer::new(&mut xml)).expect("it can be written");
    xml
}

/// What is refused is refused by one of these codes.
pub(super) fn refused<T>(result: &S3Result<T>, codes: &[&str]) -> TestCaseResult {
    if let Err(error) = result {
        prop_assert!(codes.contains(&error.code().as_str()), "refused with {}", error.code().as_str());
    }
    Ok(())
}

#[test]
fn continuation_tokens() {
    let valid = prop_oneof!["[a-z/]{0,20}", "\\PC{0,20}"].prop_map(|after| token::encode(&after));
    check(&texts(valid, &["=", "A", "-", "_", "+", "AQ", "é"]), |text| {
        if let Some(after) = token::decode(&text) {
            prop_assert!(after.len() < text.len());
            // There is one token for a place.
            prop_assert_eq!(token::encode(&after), text);
        }
        Ok(())
    });
}

#[test]
fn ranges() {
    let number =
        || prop_oneof![6 => 0..30_u64, 1 => any::<u64>(), 1 => (u64::MAX >> 1) - 2..(u64::MAX >> 1) + 2];
    let valid = (number(), number(), 0..3_u8).prop_map(|(first, last, form)| match form {
        0 => format!("bytes={first}-{last}"),
        1 => format!("bytes={first}-"),
        _ => format!("bytes=-{last}"),
    });
    let sizes = prop_oneof![Just(0), 1..30_u64, Just(u64::MAX)];
    check(&(texts(valid, &["bytes=", "-", ",", " ", "+", "18446744073709551616"]), sizes), |(text, size)| {
        let Ok(range) = Range::parse(&text) else { return Ok(()) };
        prop_assert_eq!(Range::parse(&range.to_header_string()).ok(), Some(range));
        if let Ok(slice) = resolve(Some(&range), size) {
            let Some(Slice { start, end }) = slice else {
                return Err(TestCaseError::fail("a range was passed over"));
            };
            prop_assert!(start < end && end <= size, "{start}..{end} of {size}");
            prop_assert_eq!(
                Slice { start, end }.content_range(size),
                Some(format!("bytes {start}-{}/{size}", end - 1))
            );
        }
        Ok(())
    });
}

fn said(tags: &BTreeMap<String, String>) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<_> =
        tags.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
    pairs.join("&")
}

fn tag_sets() -> impl Strategy<Value = BTreeMap<String, String>> {
    let text = prop_oneof![
        "[a-zA-Z0-9 +=._:/@-]{0,8}",
        "[äß文\u{1d49c}]{0,4}",
        "[a-z]{126,129}",
        "[a-z]{254,258}",
        "aws:[a-z]?"
    ];
    prop::collection::btree_map(text.clone(), text, 0..12)
}

#[test]
fn tag_headers() {
    let valid = tag_sets().prop_map(|tags| said(&tags));
    check(&texts(valid, &["&", "=", "%", "%00", "%FF", "%C3", "+", "aws:", "AWS%3A", "&&", ";"]), |text| {
        let read = tags::of_header(Some(&text));
        refused(&read, &["InvalidArgument", "InvalidTag", "BadRequest"])?;
        if let Ok(read) = read {
            prop_assert!(read.len() <= 10 && !read.contains_key("") && !said(&read).contains("%00"));
            prop_assert_eq!(tags::of_header(Some(&said(&read))).ok(), Some(read.clone()));
            prop_assert_eq!(tags::of_document(tags::to_document(read.clone())).ok(), Some(read));
        }
        Ok(())
    });
}

const OF_XML: &[&str] = &[
    "<",
    ">",
    "</",
    "/>",
    "&amp;",
    "&#0;",
    "&#65;",
    "&lt;",
    "<![CDATA[",
    "]]>",
    "<!--",
    "<?xml",
    "xmlns=\"x\"",
];

#[test]
fn tag_documents() {
    let valid = tag_sets().prop_map(|tags| written(&Tagging { tag_set: tags::to_document(tags) }));
    check(
        &bytes(valid, &["<Tag>", "</Tag>", "<Key>", "<Value/>", "<Key></Key>", "&#0;", "<!--", "&x;"]),
        |xml| {
            let Some(document) = read::<Tagging>(&xml) else { return Ok(()) };
            let read = tags::of_document(document.tag_set);
            refused(&read, &["MalformedXML", "InvalidTag", "BadRequest"])?;
            if let Ok(tags) = read {
                prop_assert!(
                    tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= xml.len()
                );
                prop_assert_eq!(tags::of_header(Some(&said(&tags))).ok(), Some(tags));
            }
            Ok(())
        },
    );
}

/// Documents that are read by `s3s` alone: nothing of ours panics behind it.
#[test]
fn other_documents() {
    let key = "[a-z/]{1,8}(&amp;|&#13;|é)?";
    let objects =
        prop::collection::vec((key, prop::option::of("null|[0-9A-Z]{26}")), 0..5).prop_map(|objects| {
            let objects = objects.into_iter().map(|(key, version)| {
                let version = version.map(|id| format!("<VersionId>{id}</VersionId>")).unwrap_or_default();
                format!("<Object><Key>{key}</Key>{version}</Object>")
            });
            let objects: Vec<String> = objects.collect();
            format!("<Delete>{}<Quiet>true</Quiet></Delete>", objects.concat())
        });
    let versioning =
        "<VersioningConfiguration><Status>(Enabled|Suspended|Off)</Status></VersioningConfiguration>";
    let valid = prop_oneof![objects, versioning];
    check(&texts(valid, OF_XML), |text| {
        if let Some(document) = read::<Delete>(text.as_bytes()) {
            let keys: usize = document.objects.iter().map(|object| object.key.len()).sum();
            prop_assert!(keys <= text.len());
            for object in &document.objects {
                refused(&version::named(object.version_id.as_deref()), &["InvalidArgument"])?;
            }
        }
        if let Some(document) = read::<VersioningConfiguration>(text.as_bytes()) {
            prop_assert!(
                document
                    .status
                    .is_none_or(|status| text.contains("Status") && status.as_str().len() <= text.len())
            );
        }
        Ok(())
    });
}

#[test]
fn version_ids() {
    let valid = prop_oneof![Just("null".to_owned()), "[0-7][0-9A-HJKMNP-TV-Z]{25}"];
    check(&texts(valid, &["null", "8", "o", "\0", "."]), |text| {
        let read = version::named(Some(&text));
        refused(&read, &["InvalidArgument"])?;
        if let Ok(read) = read {
            prop_assert_eq!(read.map(|version| version.to_string()), Some(text));
        }
        Ok(())
    });
}

#[test]
fn copy_sources() {
    let valid =
        ("/?[a-z]{3,5}", "[a-z/~%-]{1,12}|(%20|%2F|%C3%BC|[+]){1,4}", "(\\?versionId=(null|[0-9A-Z]{26}))?")
            .prop_map(|(bucket, key, version)| format!("{bucket}/{key}{version}"));
    let tokens = &["?versionId=", "%00", "%FF", "%", "/", "//", "..", "arn:aws:s3:::", "accesspoint/", "?"];
    check(&texts(valid, tokens), |text| {
        let Ok(CopySource::Bucket { bucket, key, version_id }) = CopySource::parse(&text) else {
            return Ok(());
        };
        prop_assert!(bucket.len() + key.len() <= text.len());
        let checked = super::check_key(&key);
        prop_assert_eq!(checked.is_err(), key.contains('\0'));
        refused(&checked, &["InvalidArgument"])?;
        refused(&version::named(version_id.as_deref()), &["InvalidArgument"])?;
        Ok(())
    });
}

/// Values with which a request may come.
fn headers(names: &'static [&'static str], valid: BoxedStrategy<String>) -> impl Strategy<Value = HeaderMap> {
    let value = texts(valid, &["=", "==", ",", " ", "x-amz-checksum-", "crc32", "é", "\t"]);
    prop::collection::vec((prop::sample::select(names), value), 0..4).prop_map(|pairs| {
        let pairs = pairs.into_iter().filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
        });
        pairs.collect()
    })
}

#[test]
fn headers_about_bodies() {
    let names = &[
        "content-md5",
        "x-amz-checksum-crc32",
        "x-amz-checksum-crc64nvme",
        "x-amz-checksum-sha256",
        "x-amz-checksum-sha512",
        "x-amz-checksum-md5",
        "x-amz-checksum-xxhash3",
        "x-amz-checksum-rot13",
        "x-amz-checksum-",
        "x-amz-checksum-type",
        "x-amz-trailer",
        "x-amz-sdk-checksum-algorithm",
    ];
    let raw = prop::sample::select(vec![4_usize, 8, 16, 20, 32, 64]);
    let raw = raw.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length));
    let valid = prop_oneof![
        3 => raw.prop_map(|raw| BASE64.encode(raw)),
        1 => "(x-amz-checksum-)?(crc32|CRC32C|sha1|SHA256|crc64nvme|xxhash(3|64)?)",
    ];
    check(&headers(names, valid.boxed()), |headers| {
        refused(&upload::content_md5(&headers), &["InvalidDigest"])?;
        let checksums = upload::checksums(&headers);
        refused(&checksums, &["InvalidRequest", "NotImplemented"])?;
        let expected = upload::expected(&headers, 7, None);
        refused(&expected, &["InvalidDigest", "InvalidRequest", "NotImplemented"])?;
        if let (Ok(checksums), Ok(expected)) = (checksums, expected) {
            prop_assert_eq!((&expected.checksums, expected.size), (&checksums, 7));
            for (name, value) in &checksums.values {
                let bytes = Algorithm::from_name(name).map(Algorithm::bytes);
                prop_assert_eq!(BASE64.decode(value).ok().map(|raw| raw.len()), bytes);
            }
        }
        Ok(())
    });
}

#[test]
fn attributes_of_objects() {
    let name = prop_oneof!["[a-z-]{0,8}", "[A-Zé]{1,3}"];
    let value = texts("[ -~]{0,20}|[a-z]{2040,2050}", &["\0", "\r\n", "\u{1b}", "\t", "é", "\u{2028}"]);
    let metadata = prop::collection::hash_map(name, value, 0..4);
    let encoding = texts(
        "(gzip|br|aws-chunked|AWS-Chunked)(, ?(gzip|aws-chunked)){0,2}",
        &[",", " ", "aws-chunked", "\t"],
    );
    check(&(metadata, encoding), |(metadata, encoding)| {
        let metadata: Metadata = metadata.into_iter().collect();
        let read = attributes::metadata(Some(metadata));
        refused(&read, &["MetadataTooLarge", "InvalidArgument"])?;
        if let Ok(read) = read {
            prop_assert!(read.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= 2048);
            prop_assert!(read.keys().all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase())));
            prop_assert!(read.values().all(|value| !value.chars().any(|c| c.is_control() && c != '\t')));
        }
        if let Some(kept) = attributes::content_encoding(Some(encoding)) {
            prop_assert!(
                !kept.is_empty() && !kept.to_ascii_lowercase().split(", ").any(|one| one == "aws-chunked")
            );
            prop_assert_eq!(attributes::content_encoding(Some(kept.clone())), Some(kept));
        }
        let class = attributes::storage_class(Some("x"));
        refused(&class, &["InvalidStorageClass"])
    });
}

#[test]
fn conditions_of_writes() {
    use s3s::dto::ETagCondition;

    let valid = prop_oneof![Just("*".to_owned()), "\"[0-9a-f]{32}\"", "W/\"[a-z]{0,4}\"", "[0-9a-f]{32}"];
    let value = texts(valid, &["*", "\"", "W/", ",", "\\", "é"]);
    check(&(prop::option::of(value.clone()), prop::option::of(value)), |(one, other)| {
        let condition = |text: Option<String>| {
            text.and_then(|text| ETagCondition::parse_http_header(text.as_bytes()).ok())
        };
        let (if_match, if_none_match) = (condition(one), condition(other));
        let (any, is_match) = (if_none_match.as_ref().map(ETagCondition::is_any), if_match.is_some());
        let read = conditions::of_write(if_match.as_ref(), if_none_match.as_ref());
        // Either of them, and of the second only `*`.
        prop_assert_eq!(read.is_err(), any == Some(false) || (any == Some(true) && is_match));
        if let Ok(read) = read {
            prop_assert_eq!((read.if_absent, read.if_match.is_some()), (any == Some(true), is_match));
        }
        Ok(())
    });
}
