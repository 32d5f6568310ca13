//! What backends give back: self-descriptions and the other headers of blobs, files of the journal and their names; and
//! what parts say of themselves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use s3o_fuzz::{bytes, check, texts};
use s3o_types::Etag;

use crate::describe::MAX_BYTES;
use crate::journal::{JournalFile, JournalName, JournalPart, JournalWriter};
use crate::{
    Algorithm, ChecksumKind, META_DESCRIPTION, META_KEY, SelfDescription, foreign_attributes,
    from_blob_headers, parts, to_blob_headers,
};

const OF_DESCRIPTIONS: &[&str] = &[
    " k=blob",
    " k=manifest",
    " s=42",
    " s=-1",
    " s=99999999999999999999",
    " i=1",
    " c=",
    " kid=%FF",
    "%",
    "=",
    " 2 ",
];

/// As this release writes them, and as another may.
fn description() -> impl Strategy<Value = String> {
    let fields = "( i=1)?( c=[a-z%0-9]{1,6})?( kid=[a-zA-Z0-9.-]{1,40})?( z=zstd)?( cs=[0-9]{1,9})?( l=[gcx][0-9]{1,20})?( h=[012])?( new=[a-z]{0,5})?";
    ("1 k=(blob|manifest) s=[0-9]{1,12}", fields).prop_map(|(start, fields)| start + &fields)
}

#[test]
fn self_descriptions() {
    check(&texts(description(), OF_DESCRIPTIONS), |text| {
        let Ok(description) = SelfDescription::parse(&text) else { return Ok(()) };
        let Ok(again) = description.format() else { return Ok(()) };
        prop_assert!(again.len() <= MAX_BYTES && again.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        prop_assert_eq!(SelfDescription::parse(&again), Ok(description));
        Ok(())
    });
}

/// Any value that HTTP lets through.
fn value(valid: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = HeaderValue> {
    let tokens = &["%s3o:", "%20", "%FF", "%", "=?UTF-8?B?w7w=?=", "\t", "  ", "é", "=", "/", " i=1", " s=7"];
    bytes(valid.prop_map(String::into_bytes), tokens).prop_map(|mut bytes| {
        bytes.retain(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f));
        HeaderValue::from_bytes(&bytes).expect("no control characters")
    })
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let key = "[a-z]{3,9}/[ -~]{0,30}".prop_map(|key| BASE64.encode(key));
    let names = prop::sample::select(vec![
        CONTENT_TYPE,
        CACHE_CONTROL,
        EXPIRES,
        HeaderName::from_static("x-amz-meta-"),
        HeaderName::from_static("x-amz-meta-a"),
        HeaderName::from_static("x-amz-meta-s3o-of-tomorrow"),
        HeaderName::from_static("x-amz-version-id"),
    ]);
    let others = prop::collection::vec((names, value("[ -~]{0,40}")), 0..6);
    let description = prop_oneof![
        3 => description().prop_map(|text| HeaderValue::try_from(text).expect("ASCII")),
        1 => value(description()),
    ];
    (description, prop::option::of(value(key)), others).prop_map(|(description, key, others)| {
        let mut headers: HeaderMap = others.into_iter().collect();
        headers.insert(META_DESCRIPTION, description);
        headers.extend(key.map(|key| (HeaderName::from_static(META_KEY), key)));
        headers
    })
}

#[test]
fn headers_of_blobs() {
    check(&headers(), |headers| {
        let foreign = foreign_attributes(&headers);
        prop_assert!(foreign.metadata.len() <= headers.len());
        let Ok(stored) = from_blob_headers(&headers) else { return Ok(()) };
        if let Some((bucket, key)) = &stored.bucket_key {
            let said = BASE64.encode(format!("{bucket}/{key}"));
            prop_assert_eq!(headers[META_KEY].as_bytes(), said.as_bytes());
        }
        let Ok(sent) = to_blob_headers("bucket", "key", &stored.attributes, &stored.description) else {
            return Ok(());
        };
        let again = from_blob_headers(&sent.into_iter().collect());
        prop_assert!(again.is_ok(), "our own: {again:?}");
        let Ok(again) = again else { return Ok(()) };
        prop_assert_eq!(again.description.size, stored.description.size);
        prop_assert!(again.description.incomplete || !stored.description.incomplete);
        for (name, value) in &again.attributes.metadata {
            prop_assert_eq!(stored.attributes.metadata.get(name), Some(value));
        }
        if !again.description.incomplete {
            prop_assert_eq!(again.attributes, stored.attributes);
        }
        Ok(())
    });
}

#[test]
fn journal_names() {
    let part = prop_oneof![
        Just(JournalPart::Segment),
        any::<u32>().prop_map(JournalPart::Snapshot),
        Just(JournalPart::SnapshotEnd),
    ];
    let valid = (any::<u64>(), part, any::<u32>())
        .prop_map(|(number, part, tag)| JournalName { number, part, tag }.to_string());
    let tokens =
        &[".s3o/journal/", "segment-", "snapshot-", "-end", "-", "+", "0", ".zst", "18446744073709551616"];
    check(&texts(valid, tokens), |text| {
        if let Some(name) = JournalName::parse(&text) {
            prop_assert_eq!(name.to_string(), text);
        }
        Ok(())
    });
}

fn journal_file(header: &str, records: &[String]) -> Vec<u8> {
    let mut writer = JournalWriter::new(header).expect("a writer");
    for record in records {
        writer.push(record).expect("a record");
    }
    writer.finish().expect("a file")
}

#[test]
fn journal_files() {
    let records = prop::collection::vec("[^\r\n]{0,40}", 0..8);
    let valid = ("[^\r\n]{0,20}", records).prop_map(|(header, records)| journal_file(&header, &records));
    check(&bytes(valid, &["\0", "#0 ", "\n"]), |bytes| {
        let Ok(read) = JournalFile::read(&bytes) else { return Ok(()) };
        prop_assert!(read.records.iter().map(String::len).sum::<usize>() < 4096, "nobody wrote as much");
        prop_assert_eq!(JournalFile::read(&journal_file(&read.header, &read.records)), Ok(read));
        Ok(())
    });
}

#[test]
fn journal_texts() {
    // What is within the frame: here nothing but the last line keeps a change from being taken.
    let records = prop::collection::vec("[^\r\n]{0,20}", 0..5);
    let valid = ("[^\r\n]{0,10}", records).prop_map(|(header, records)| {
        let text = zstd::decode_all(&journal_file(&header, &records)[..]).expect("a frame");
        String::from_utf8(text).expect("text")
    });
    check(&texts(valid, &["\n", "\n\n", "#", "#0 ", "#1 ", "\r\n", "{}"]), |text| {
        let file = zstd::encode_all(text.as_bytes(), 1).expect("a frame");
        if let Ok(read) = JournalFile::read(&file) {
            let again = zstd::decode_all(&journal_file(&read.header, &read.records)[..]).expect("a frame");
            prop_assert_eq!(String::from_utf8(again), Ok(text));
        }
        Ok(())
    });
}

#[test]
fn etags_and_checksums_of_parts() {
    let valid =
        prop_oneof!["[0-9a-f]{32}", "[A-Za-z0-9+/]{5}[AQgw]==", "[A-Za-z0-9+/]{10}[AEIMQUYcgkosw048]="];
    let part = (texts(valid, &["=", "==", "-1", "\"", "+", "/"]), any::<u64>());
    let kinds = prop_oneof![Just(ChecksumKind::Composite), Just(ChecksumKind::FullObject)];
    let algorithms = prop::sample::select(Algorithm::ALL.to_vec());
    check(&(prop::collection::vec(part, 0..4), kinds, algorithms), |(parts, kind, algorithm)| {
        let etags: Vec<Etag> = parts.iter().map(|(text, _)| Etag::new(text)).collect();
        if let Some(etag) = parts::etag(etags.iter()) {
            let ending = format!("-{}", parts.len());
            prop_assert!(etags.iter().all(Etag::is_md5) && etag.as_str().ends_with(&ending));
        }
        let pieces: Vec<(&str, u64)> = parts.iter().map(|(text, size)| (text.as_str(), *size)).collect();
        if let Some(value) = parts::checksum(algorithm, kind, &pieces) {
            prop_assert_eq!(ChecksumKind::of_value(&value), kind);
            let raw = BASE64.decode(value.split('-').next().unwrap_or_default());
            prop_assert!(raw.is_ok_and(|raw| raw.len() == algorithm.bytes()));
        }
        Ok(())
    });
}
