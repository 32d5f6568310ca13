//! The fields of a form, as those of a PutObject.

use std::collections::BTreeMap;

use proptest::prelude::*;
use s3o_fuzz::{check, texts};
use s3o_types::ObjectAttributes;
use s3s::S3Result;
use s3s::dto::PutObjectInput;

use super::{input, is_url, tagging};
use crate::ops::attributes::object_attributes;
use crate::ops::elements::Elements;
use crate::ops::fuzz::refused;
use crate::ops::tags;

/// As PutObject reads them.
fn attributes_of(input: &mut PutObjectInput) -> S3Result<ObjectAttributes> {
    Ok(object_attributes!(input))
}

#[test]
fn fields() {
    let names = prop_oneof![
        8 => prop::sample::select(vec![
            "acl",
            "cache-control",
            "content-disposition",
            "content-encoding",
            "content-type",
            "expires",
            "tagging",
            "x-amz-storage-class",
            "x-amz-website-redirect-location",
            "content-md5",
            "x-amz-checksum-crc32",
            "x-amz-meta-a",
            "x-amz-meta-",
        ])
        .prop_map(str::to_owned),
        1 => "x-amz-checksum-[ -~é]{0,4}",
        1 => "x-amz-meta-[ -~é]{0,4}",
    ];
    let values = texts("[ -~]{0,20}|private|gzip|STANDARD|/x", &["\0", "\r\n", "é", "\t", "<Tagging>", "=="]);
    check(&prop::collection::btree_map(names, values, 0..5), |fields: BTreeMap<String, String>| {
        let read = input(fields, "b", "k", 7);
        refused(&read, &["InvalidArgument", "MalformedXML", "InvalidTag", "BadRequest"])?;
        let Ok((mut read, _)) = read else { return Ok(()) };
        let attributes = attributes_of(&mut read);
        let codes = ["InvalidStorageClass", "InvalidRedirectLocation", "MetadataTooLarge", "InvalidArgument"];
        refused(&attributes, &codes)?;
        if let Ok(attributes) = attributes {
            // Else the database would refuse the write, and others that are decided with it.
            let stored = serde_json::to_string(&attributes).expect("JSON");
            prop_assert!(!stored.contains("\\u0000"), "{stored}");
        }
        Ok(())
    });
}

#[test]
fn tag_fields() {
    let tag = ("[a-z &;<é]{1,5}", "[a-zA-Z0-9 +=._:/@-]{0,5}");
    let valid = prop::collection::vec(tag, 0..4).prop_map(|tags| {
        let mut xml = Elements::default();
        for (key, value) in &tags {
            xml.element("Tag", |xml| {
                xml.text("Key", key);
                xml.text("Value", value);
            });
        }
        format!("<Tagging><TagSet>{}</TagSet></Tagging>", xml.as_str())
    });
    check(&texts(valid, &["<Tag>", "</Tag>", "<Key>", "<Value/>", "&#0;", "é", "%", "&amp;"]), |text| {
        let read = tagging(&text);
        refused(&read, &["MalformedXML", "InvalidTag", "BadRequest"])?;
        if let Ok(header) = read {
            prop_assert!(header.is_ascii() && tags::of_header(Some(&header)).is_ok());
        }
        Ok(())
    });
}

#[test]
fn redirects() {
    let valid = "https?://[a-z]{1,5}(:[0-9]{1,5})?(/[a-z]{0,4})?(\\?[a-z]=[a-z])?";
    check(&texts(valid, &["://", "javascript:", "\r\n", " ", "@", "[", "\0", "é", "#"]), |text| {
        if is_url(&text) {
            let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
            prop_assert!(scheme.is_some_and(|scheme| scheme == "http" || scheme == "https"));
            // It goes into a header.
            prop_assert!(!text.chars().any(char::is_control) && !text.contains(' '));
        }
        Ok(())
    });
}
