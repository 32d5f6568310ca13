//! Names as S3 takes them: whatever UTF-8 of up to 1024 bytes, and never another's.

use anyhow::Result;
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::{Raw, Request};
use s3o_integration_tests::{Cluster, Options};

/// Names that a path, a document or a query would change.
const NAMES: [&str; 25] = [
    "/",
    "/leading",
    "//two",
    "a//b",
    "a///",
    ".",
    "..",
    "../x",
    "a/../b",
    "a/./b",
    "a/..",
    " ",
    " a ",
    "a+b",
    "a b",
    "a%20b",
    "a%2Fb",
    "a&b=c?d#e",
    "a\\b",
    "<a>'\"&amp;",
    "a\tb",
    "a\rb\r\nc",
    "\u{1}\u{1f}\u{7f}",
    "ü/日本/\u{1F600}\u{ffff}",
    "~x~01234567890123456789012345678901",
];

fn encode(text: &str, keep: &[u8]) -> String {
    text.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) || keep.contains(&b) => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect()
}

fn path(key: &str) -> String {
    format!("/{BUCKET}/{}", encode(key, b"/"))
}

fn decode(text: &str) -> String {
    let (first, rest) = text.split_once('%').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let mut bytes = first.as_bytes().to_vec();
    for piece in rest.into_iter().flat_map(|rest| rest.split('%')) {
        let (hex, plain) = piece.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).expect("two digits"));
        bytes.extend_from_slice(plain.as_bytes());
    }
    String::from_utf8(bytes).expect("UTF-8")
}

async fn listed(raw: &Raw, query: &str, element: &str) -> Result<Vec<String>> {
    let answer = raw.send(&Request::new("GET", &format!("/{BUCKET}?{query}"))).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (text, start) = (answer.text(), format!("<{element}>"));
    let found = text.split(start.as_str()).skip(1);
    Ok(found.map(|rest| rest.split("</").next().unwrap_or_default().to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_is_itself() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let raw = cluster.raw(0);
    let long = ["x".repeat(1024), "ü".repeat(512), format!("{}/..", "d/".repeat(510))];
    let names: Vec<&str> = NAMES.into_iter().chain(long.iter().map(String::as_str)).collect();
    for name in &names {
        let put = raw.send(&Request::new("PUT", &path(name)).body(*name)).await?;
        assert_eq!(put.status, 200, "{name:?}: {}", put.text());
    }
    for name in &names {
        let got = raw.send(&Request::new("GET", &path(name))).await?;
        assert_eq!((got.status, got.text().as_str()), (200, *name));
    }
    let mut sorted = names.clone();
    sorted.sort_unstable();
    for query in ["encoding-type=url&list-type=2", "encoding-type=url"] {
        let keys: Vec<String> = listed(&raw, query, "Key").await?.iter().map(|key| decode(key)).collect();
        assert_eq!(keys, sorted, "{query}");
    }
    listings_of_one(&raw, &names).await?;
    copies(&raw, &names).await?;
    echoes(&raw).await?;
    an_upload(&raw).await?;
    deletes(&raw, &names).await?;
    too_long(&raw).await?;
    cluster.finish().await
}

/// Prefix, marker and delimiter may be as odd as keys.
async fn listings_of_one(raw: &Raw, names: &[&str]) -> Result<()> {
    for name in names {
        let query = format!("encoding-type=url&list-type=2&max-keys=1&prefix={}", encode(name, b""));
        let keys = listed(raw, &query, "Key").await?;
        assert_eq!(keys.first().map(|key| decode(key)).as_deref(), Some(*name));
        let after = format!("encoding-type=url&max-keys=1&marker={}", encode(name, b""));
        let next = listed(raw, &after, "Key").await?.first().map(|key| decode(key));
        assert!(next.is_none_or(|next| next.as_str() > *name), "{name:?}");
    }
    let query = "encoding-type=url&list-type=2&delimiter=%0D&prefix=a";
    let mut prefixes = listed(raw, query, "Prefix").await?;
    prefixes.sort_unstable();
    assert_eq!(prefixes, ["a", "a%0D"]);
    // Without encoding a carriage return is a reference, or a parser would make a line feed of it.
    let keys = listed(raw, "list-type=2&prefix=a%0D", "Key").await?;
    assert_eq!(keys, ["a&#13;b&#13;&#10;c"]);
    Ok(())
}

async fn copies(raw: &Raw, names: &[&str]) -> Result<()> {
    for name in names {
        let source = format!("{BUCKET}/{}", encode(name, b"/"));
        let copy = Request::new("PUT", &path("the copy")).header("x-amz-copy-source", &source);
        let copied = raw.send(&copy).await?;
        assert_eq!(copied.status, 200, "{name:?}: {}", copied.text());
        assert_eq!(raw.send(&Request::new("GET", &path("the copy"))).await?.text(), *name);
    }
    Ok(())
}

/// Without encoding, what XML cannot say comes back as a reference.
async fn echoes(raw: &Raw) -> Result<()> {
    for query in [
        "/?prefix=%01",
        "/data?prefix=%01",
        "/data?delimiter=%01",
        "/data?marker=%01",
        "/data?list-type=2&prefix=%01",
        "/data?list-type=2&delimiter=%01",
        "/data?list-type=2&start-after=%01",
        "/data?versions&prefix=%01",
        "/data?versions&delimiter=%01",
        "/data?versions&key-marker=%01",
        "/data?uploads&prefix=%01",
        "/data?uploads&delimiter=%01",
        "/data?uploads&key-marker=%01",
        "/data?uploads&upload-id-marker=%01",
    ] {
        let answer = raw.send(&Request::new("GET", query)).await?;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert!(answer.text().contains(">&#1;</"), "{query}: {}", answer.text());
    }
    Ok(())
}

/// Every answer about an upload says its key.
async fn an_upload(raw: &Raw) -> Result<()> {
    let key = path("\u{1}upload");
    let begun = raw.send(&Request::new("POST", &format!("{key}?uploads"))).await?;
    let id = begun.element("UploadId").unwrap_or_default();
    let part = Request::new("PUT", &format!("{key}?partNumber=1&uploadId={id}")).body("x");
    let part = raw.send(&part).await?;
    assert_eq!(part.status, 200, "{}", part.text());
    let parts = raw.send(&Request::new("GET", &format!("{key}?uploadId={id}"))).await?;
    let uploads = raw.send(&Request::new("GET", &format!("/{BUCKET}?uploads"))).await?;
    let etag = part.header("etag").unwrap_or_default();
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let complete = Request::new("POST", &format!("{key}?uploadId={id}")).body(document);
    let completed = raw.send(&complete).await?;
    for answer in [begun, parts, uploads, completed] {
        assert_eq!(answer.element("Key").as_deref(), Some("&#1;upload"), "{}", answer.text());
    }
    assert_eq!(raw.send(&Request::new("DELETE", &key)).await?.status, 204);
    Ok(())
}

/// By their paths, every second one; the others in one document, as far as XML 1.0 can say them.
async fn deletes(raw: &Raw, names: &[&str]) -> Result<()> {
    let can_be_said = |name: &str| name.chars().all(|c| !c.is_ascii_control() || "\t\r\n\u{7f}".contains(c));
    let (in_a_document, by_path): (Vec<_>, Vec<_>) = names
        .iter()
        .enumerate()
        .partition(|(n, name)| n % 2 == 0 && can_be_said(name) && !name.contains('\u{ffff}'));
    for (_, name) in by_path {
        assert_eq!(raw.send(&Request::new("DELETE", &path(name))).await?.status, 204, "{name:?}");
    }
    let escaped = |name: &str| {
        let entities = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        entities.replace('\r', "&#xD;").replace('\n', "&#xA;").replace('\t', "&#x9;")
    };
    let objects: Vec<String> = in_a_document
        .iter()
        .map(|(_, name)| format!("<Object><Key>{}</Key></Object>", escaped(name)))
        .collect();
    let document = format!("<Delete>{}</Delete>", objects.concat());
    let request = Request::new("POST", &format!("/{BUCKET}?delete")).body(document);
    let answer = raw.send(&request).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text().matches("<Deleted>").count(), in_a_document.len(), "{}", answer.text());
    assert!(!answer.text().contains(|c: char| c.is_ascii_control()), "{}", answer.text());
    let left = listed(raw, "encoding-type=url&list-type=2", "Key").await?;
    assert_eq!(left, ["the%20copy"]);
    Ok(())
}

async fn too_long(raw: &Raw) -> Result<()> {
    for (name, method) in
        [("x".repeat(1025), "PUT"), (format!("{}x", "ü".repeat(512)), "GET"), ("x".repeat(2000), "DELETE")]
    {
        let answer = raw.send(&Request::new(method, &path(&name))).await?;
        assert_eq!((answer.status, answer.code().as_str()), (400, "KeyTooLongError"), "{method}");
    }
    let tagging = Request::new("GET", &format!("{}?tagging", path(&"x".repeat(1025))));
    assert_eq!(raw.send(&tagging).await?.code(), "KeyTooLongError");
    for not_a_name in ["/data/%00", "/data/a%00b", "/data/%FF"] {
        let answer = raw.send(&Request::new("PUT", not_a_name).body("x")).await?;
        assert_eq!(answer.status, 400, "{not_a_name}: {}", answer.text());
    }
    Ok(())
}
