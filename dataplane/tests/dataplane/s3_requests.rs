//! Requests that name what S3 does not have, signed by hand: refused, and nothing is read or written for them.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::s3_bodies::{EMPTY, HELLO, World, signed, world};

/// With an object to lose.
async fn with_object() -> World {
    let world = world().await;
    let answer = world.put(HELLO, &[("content-length", "5")], b"hello").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    world
}

impl World {
    async fn ask(&self, method: &str, path: &str) -> String {
        let host = self.plane.s3_addr().to_string();
        self.send(&signed(method, (&host, path), EMPTY, &[("content-length", "0")]), b"").await
    }

    /// The object is as it was.
    async fn assert_stands(&self, why: &str) {
        let answer = self.ask("GET", "/photos/k").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{why}: {answer}");
        let (begins, commits) = self.fake.with(|model| (model.begins.len(), model.commits.len()));
        assert_eq!((begins, commits), (1, 1), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_resource_that_the_method_lacks_costs_no_object() {
    let world = with_object().await;
    for (method, path) in [
        ("DELETE", "/photos/k?acl="),
        ("DELETE", "/photos/k?legal-hold="),
        ("DELETE", "/photos/k?acl=&x-id=DeleteObject"),
        ("PUT", "/photos/k?attributes="),
        ("PUT", "/photos/k?uploads="),
        ("PUT", "/photos/k?uploadId=abc"),
        ("DELETE", "/photos?versioning="),
        ("PATCH", "/photos/k"),
        ("POST", "/photos/k"),
        ("PUT", "/"),
    ] {
        let answer = world.ask(method, path).await;
        assert!(
            answer.starts_with("HTTP/1.1 405")
                && answer.contains("<Code>MethodNotAllowed</Code>")
                && answer.contains("allow: "),
            "{method} {path}: {answer}"
        );
        world.assert_stands(path).await;
    }
    for (path, message) in [
        ("/photos/k?versionId=null", "This operation does not accept a version-id."),
        ("/photos/k?partNumber=1", "This operation does not accept partNumber without uploadId"),
    ] {
        let answer = world.ask("PUT", path).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(message), "{path}: {answer}");
        world.assert_stands(path).await;
    }
    let answer = world.ask("HEAD", "/photos/k?acl=").await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.ends_with("\r\n\r\n"), "no body: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_named_by_sub_resources_alone() {
    let world = with_object().await;
    world.ask("PUT", "/photos/k?acl=&x-id=PutObject").await;
    world.assert_stands("an ACL was put, and no object").await;
    let answer = world.ask("GET", "/photos/k?x-id=Nonsense&cb=1").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_has_a_length() {
    let world = with_object().await;
    for payload in [EMPTY, "UNSIGNED-PAYLOAD"] {
        let answer = world.put(payload, &[], b"").await;
        assert!(
            answer.starts_with("HTTP/1.1 411") && answer.contains("<Code>MissingContentLength</Code>"),
            "{payload}: {answer}"
        );
        world.assert_stands(payload).await;
    }
    let answer = world.put(EMPTY, &[("x-amz-copy-source", "/photos/k"), ("x-amz-meta-a", "b")], b"").await;
    assert!(!answer.contains("MissingContentLength"), "a copy has no body: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_understands_is_ignored_though_it_is_signed() {
    let world = with_object().await;
    let host = world.plane.s3_addr().to_string();
    for (name, value, status, body) in [
        ("range", "bytes=1-2", 206, "el"),
        ("range", "Bytes=1-2", 206, "el"),
        ("range", "bytes=1-99999999999999999999", 206, "ello"),
        ("range", "bytes=3-1", 200, "hello"),
        ("range", "bytes=0-0,2-2", 200, "hello"),
        ("range", "items=0-1", 200, "hello"),
        ("if-modified-since", "garbage", 200, "hello"),
        ("if-unmodified-since", "garbage", 200, "hello"),
        ("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT", 200, "hello"),
        ("if-unmodified-since", "Sunday, 06-Nov-94 08:49:37 GMT", 412, ""),
        ("if-unmodified-since", "Wed Nov 16 08:49:37 1994", 412, ""),
    ] {
        let head = signed("GET", (&host, "/photos/k"), EMPTY, &[(name, value)]);
        assert!(head.contains(&format!(";{name};")), "it is signed: {head}");
        let answer = world.send(&head, b"").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {value}: {answer}");
        assert!(answer.ends_with(body), "{name}: {value}: {answer}");
        let head = signed("HEAD", (&host, "/photos/k"), EMPTY, &[(name, value)]);
        let answer = world.send(&head, b"").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {value}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ignored_is_checked_all_the_same() {
    let world = with_object().await;
    let host = world.plane.s3_addr().to_string();
    let good = signed("GET", (&host, "/photos/k"), EMPTY, &[("range", "bytes=3-1")]);
    for (head, code) in [
        (good.replace("bytes=3-1", "bytes=2-1"), "SignatureDoesNotMatch"),
        (good.replace("/photos/k", "/photos/other"), "SignatureDoesNotMatch"),
        (good.replace("SignedHeaders=host;", "SignedHeaders="), "SignatureDoesNotMatch"),
        (good.replace("/photos/k", "/secret/k"), "SignatureDoesNotMatch"),
        (signed("GET", (&host, "/secret/k"), EMPTY, &[("range", "bytes=3-1")]), "AccessDenied"),
    ] {
        let answer = world.send(&head, b"").await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains(code), "{code}: {head}{answer}");
    }
    let answer = world.send(&good, b"").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_read_as_xml() {
    let world = with_object().await;
    let host = world.plane.s3_addr().to_string();
    let send = async |document: &str| {
        let length = document.len().to_string();
        let headers = [("content-length", length.as_str())];
        let head = signed("POST", (&host, "/photos?delete="), "UNSIGNED-PAYLOAD", &headers);
        world.send(&head, document.as_bytes()).await
    };
    let answer = send("<Delete><Object><Key><![CDATA[a]]>k</Key></Object></Delete>").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("<Key>ak</Key>"), "{answer}");
    let answer = world.ask("GET", "/photos/k").await;
    assert!(answer.ends_with("hello"), "another key was meant: {answer}");
    let answer = send("<Delete><Object><Key>k</Key></Object></Delete>junk").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("<Code>MalformedXML</Code>"), "{answer}");
    let prefixed = "<s:Delete xmlns:s=\"http://s3.amazonaws.com/doc/2006-03-01/\"><s:Object><s:Key>k</s:Key></s:Object></s:Delete>";
    let answer = send(prefixed).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("<Key>k</Key>"), "{answer}");
    let answer = world.ask("GET", "/photos/k").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_what_its_signature_and_digests_say() {
    let world = with_object().await;
    let host = world.plane.s3_addr().to_string();
    let document = "<Delete><Object><Key>k</Key></Object></Delete>";
    let length = document.len().to_string();
    let send = async |hash: &str, more: (&str, &str)| {
        let headers = [("content-length", length.as_str()), more];
        let head = signed("POST", (&host, "/photos?delete="), hash, &headers);
        world.send(&head, document.as_bytes()).await
    };
    for (hash, name, value, code) in [
        (EMPTY, "x-amz-meta-a", "1", "XAmzContentSHA256Mismatch"),
        ("UNSIGNED-PAYLOAD", "content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==", "BadDigest"),
        ("UNSIGNED-PAYLOAD", "x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
    ] {
        let answer = send(hash, (name, value)).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(code), "{name}: {answer}");
        world.assert_stands(name).await;
    }
    let other = signed(
        "POST",
        (&host, "/photos?delete="),
        "UNSIGNED-PAYLOAD",
        &[("content-length", length.as_str())],
    )
    .replace("Signature=", "Signature=0");
    let answer = world.send(&other, document.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    world.assert_stands("nobody signed it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_that_it_is_a_form_need_be_none() {
    let world = with_object().await;
    let host = world.plane.s3_addr().to_string();
    let document = "<Delete><Object><Key>k</Key></Object></Delete>";
    let length = document.len().to_string();
    let headers = [("content-length", length.as_str()), ("content-type", "multipart/form-data; boundary=x")];
    let head = signed("POST", (&host, "/photos?delete="), "UNSIGNED-PAYLOAD", &headers);
    let wrong = head.replace("Signature=", "Signature=0");
    let answer = world.send(&wrong, document.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4") && !answer.contains("<Deleted>"), "{answer}");
    let answer = world.send(&head, document.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("<Deleted><Key>k</Key>"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_may_come_on_several_lines() {
    let world = world().await;
    let host = world.plane.s3_addr().to_string();
    let headers =
        [("content-length", "5"), ("content-encoding", "gzip,aws-chunked"), ("x-amz-meta-a", "1,2")];
    let head = signed("PUT", (&host, "/photos/k"), HELLO, &headers)
        .replace("gzip,aws-chunked", "gzip\r\ncontent-encoding: aws-chunked")
        .replace("x-amz-meta-a: 1,2", "x-amz-meta-a: 1\r\nx-amz-meta-a: 2");
    let answer = world.send(&head, b"hello").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "as the SDK for Java sends it: {answer}");
    let answer = world.ask("HEAD", "/photos/k").await;
    assert!(answer.contains("content-encoding: gzip\r\n"), "{answer}");
    assert!(answer.contains("x-amz-meta-a: 1,2\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_read_as_s3_reads_them() {
    let world = with_object().await;
    let answer = world.ask("GET", "/photos/k?response-expires=0").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("expires: 0\r\n"), "{answer}");
    let host = world.plane.s3_addr().to_string();
    let url = presigned("GET", &host, "/photos/k?response-expires=0");
    let get = |url: &str| format!("GET {url} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    let answer = world.send(&get(&url), b"").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("expires: 0\r\n"), "{answer}");
    let answer = world.send(&get(&url.replace("expires=0", "expires=1")), b"").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = world.ask("GET", "/photos?list-type=2&fetch-owner=TRUE").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("<Owner>"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_no_encoded_word_is_kept_as_it_is() {
    let world = world().await;
    let host = world.plane.s3_addr().to_string();
    let headers =
        [("content-length", "5"), ("x-amz-meta-a", "=?foo?="), ("x-amz-meta-b", "=?UTF-8?B?YQ==?=")];
    let head = signed("PUT", (&host, "/photos/k"), HELLO, &headers);
    let answer = world.send(&head.replace("=?foo?=", "=?bar?="), b"hello").await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("SignatureDoesNotMatch"), "{answer}");
    let answer = world.send(&head, b"hello").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = world.ask("GET", "/photos/k").await;
    assert!(
        answer.contains("x-amz-meta-a: =?foo?=\r\n") && answer.contains("x-amz-meta-b: a\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("hello"), "{answer}");
}

/// A path and query that whoever has them may ask for. The query there is signed with them.
fn presigned(method: &str, host: &str, path: &str) -> String {
    let identity = Credentials::new("AK", "SK", None, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(60));
    settings.percent_encoding_mode = aws_sigv4::http_request::PercentEncodingMode::Single;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("s3")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let url = format!("http://{host}{path}");
    let headers = [("host", host)].into_iter();
    let request = SignableRequest::new(method, url, headers, SignableBody::UnsignedPayload).unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    let mut url = path.to_owned();
    for (name, value) in instructions.params() {
        url.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    }
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_may_stand_in_the_query_of_a_presigned_url() {
    let world = world().await;
    let host = world.plane.s3_addr().to_string();
    let send = async |method: &str, url: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "{method} {url} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\nconnection: close\r\n"
        );
        world.send(&head, body.as_bytes()).await
    };
    let put = presigned(
        "PUT",
        &host,
        "/photos/k?x-amz-meta-a=b%20c&x-amz-meta-w=%3D%3Ffoo%3F%3D&x-amz-checksum-crc32=AAAAAA%3D%3D",
    );
    let forged = send("PUT", &put.replace("b%20c", "forged"), "hello").await;
    assert!(
        forged.starts_with("HTTP/1.1 403") && forged.contains("<Code>SignatureDoesNotMatch</Code>"),
        "{forged}"
    );
    assert!(world.fake.with(|model| model.begins.is_empty()), "the signature comes first");
    let answer = send("PUT", &put, "hello").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "it is the checksum of no body: {answer}");
    let copy = presigned("PUT", &host, "/photos/copy?x-amz-copy-source=photos%2Fk");
    let answer = send("PUT", &copy, "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("<CopyObjectResult"), "{answer}");
    let got = send("GET", &presigned("GET", &host, "/photos/copy?x-id=GetObject"), "").await;
    assert!(got.ends_with("hello") && got.contains("x-amz-meta-a: b c\r\n"), "{got}");
    assert!(got.contains("x-amz-meta-w: =?foo?=\r\n"), "it looks like a word, and is none: {got}");
    let public = presigned("PUT", &host, "/photos/k?x-amz-acl=public-read");
    let answer = send("PUT", &public, "hello").await;
    assert!(answer.contains("<Code>AccessControlListNotSupported</Code>"), "{answer}");
}
