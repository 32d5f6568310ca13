//! The null backend over the wire.

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use s3o_backend::{BackendClient, HttpPool, Timeouts, probe_puts};
use s3o_types::{BackendId, BackendSpec, Credentials, EtagProof, Place, Quirks, Secret};
use tokio::net::{TcpListener, TcpStream};

use super::*;

type Sender = hyper::client::conn::http1::SendRequest<Full<bytes::Bytes>>;

async fn connect() -> Sender {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(accept(listener));
    let socket = TcpStream::connect(address).await.expect("a connection");
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("a handshake");
    tokio::spawn(connection);
    sender
}

async fn ask(
    sender: &mut Sender,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, http::HeaderMap, Vec<u8>) {
    let mut request = http::Request::builder().method(method).uri(path).header("host", "null");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::from(body.to_vec())).expect("a request");
    sender.ready().await.expect("an open connection");
    let (parts, body) = sender.send_request(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("a body").to_bytes().to_vec();
    (parts.status.as_u16(), parts.headers, body)
}

#[tokio::test]
async fn what_is_written_is_read_with_its_md5_and_metadata() {
    let mut s = connect().await;
    let meta = [("x-amz-meta-s3o", "v=1"), ("content-type", "text/x"), ("x-amz-date", "never")];
    let mut body = vec![5_u8; 9000];
    for last in 0..3 {
        body[8999] = last;
        let etag = format!("\"{}\"", hex::encode(Md5::digest(&body)));
        let (status, headers, _) = ask(&mut s, "PUT", "/b/k%20%C3%A9/../x", &meta, &body).await;
        assert_eq!((status, headers["etag"].to_str().expect("text")), (200, etag.as_str()));
        let (status, headers, read) = ask(&mut s, "GET", "/b/k%20%C3%A9/../x", &[], &[]).await;
        assert_eq!((status, read), (200, body.clone()));
        assert_eq!(headers["etag"], etag);
        assert_eq!(
            (&headers["x-amz-meta-s3o"], &headers["content-type"]),
            (&meta[0].1.parse().unwrap(), &meta[1].1.parse().unwrap())
        );
        assert!(!headers.contains_key("x-amz-version-id") && !headers.contains_key("x-amz-date"));
    }
    let (status, headers, read) = ask(&mut s, "HEAD", "/b/k%20%C3%A9/../x", &[], &[]).await;
    assert_eq!((status, headers["content-length"].to_str().expect("text"), read.len()), (200, "9000", 0));
    assert_eq!(ask(&mut s, "DELETE", "/b/k%20%C3%A9/../x", &[], &[]).await.0, 204);
    assert_eq!(ask(&mut s, "GET", "/b/k%20%C3%A9/../x", &[], &[]).await.0, 404);
}

#[tokio::test]
async fn ranges() {
    let mut s = connect().await;
    ask(&mut s, "PUT", "/b/k", &[], b"0123456789").await;
    for (range, part, said) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-5", "2345", "bytes 2-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-100", "0123456789", "bytes 0-9/10"),
    ] {
        let (status, headers, body) = ask(&mut s, "GET", "/b/k", &[("range", range)], &[]).await;
        assert_eq!((status, body), (206, part.as_bytes().to_vec()), "{range}");
        assert_eq!(headers["content-range"], said);
    }
    for range in ["bytes=10-", "bytes=5-4", "bytes=-0"] {
        assert_eq!(ask(&mut s, "GET", "/b/k", &[("range", range)], &[]).await.0, 416, "{range}");
    }
}

#[tokio::test]
async fn lists_deletes_and_clears() {
    let mut s = connect().await;
    for n in 0..25 {
        ask(&mut s, "PUT", &format!("/b/p/{n:02}"), &[], b"x").await;
    }
    ask(&mut s, "PUT", "/b/q", &[], b"x").await;
    let list = |query: &str| format!("/b?list-type=2&prefix=p%2F&{query}");
    let (_, _, page) = ask(&mut s, "GET", &list("max-keys=10"), &[], &[]).await;
    let page = String::from_utf8(page).expect("text");
    assert!(page.contains("<KeyCount>10</KeyCount>") && page.contains("<IsTruncated>true</IsTruncated>"));
    assert!(page.contains("<NextContinuationToken>p/09</NextContinuationToken>"));
    let (_, _, page) = ask(&mut s, "GET", &list("start-after=p/19"), &[], &[]).await;
    let page = String::from_utf8(page).expect("text");
    assert!(
        page.contains("<KeyCount>5</KeyCount>") && page.contains("<Key>p/20</Key>") && !page.contains(">q<")
    );
    let request = "<Delete><Object><Key>p/00</Key></Object><Object><Key>p/01</Key></Object></Delete>";
    let (status, _, answer) = ask(&mut s, "POST", "/b?delete", &[], request.as_bytes()).await;
    assert_eq!((status, String::from_utf8_lossy(&answer).matches("<Deleted>").count()), (200, 2));
    assert_eq!(ask(&mut s, "POST", "/-/clear?bucket=b&prefix=p/1", &[], &[]).await.0, 200);
    let (_, _, page) = ask(&mut s, "GET", &list(""), &[], &[]).await;
    assert!(String::from_utf8_lossy(&page).contains("<KeyCount>13</KeyCount>"));
    let (_, _, counted) = ask(&mut s, "GET", "/-/requests", &[], &[]).await;
    let counted: Requests = serde_json::from_slice(&counted).expect("JSON");
    assert_eq!(counted.requests, 30);
}

#[tokio::test]
async fn aws_chunked_bodies_are_refused() {
    let mut s = connect().await;
    let headers = [("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")];
    assert_eq!(ask(&mut s, "PUT", "/b/k", &headers, b"1\r\nx\r\n0\r\n\r\n").await.0, 501);
    assert_eq!(ask(&mut s, "PUT", "/b/k", &[("content-encoding", "aws-chunked")], b"").await.0, 501);
}

/// What a backend that is used to the full proves: else it would be the digests that are measured.
#[tokio::test]
async fn a_checksum_behind_the_body_stands_for_its_md5() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let spec = BackendSpec {
        id: BackendId(1),
        name: "null".to_owned(),
        endpoint: format!("http://{}", listener.local_addr().expect("an address")),
        region: "us-east-1".to_owned(),
        bucket: "b".to_owned(),
        place: Place::FIRST,
        credentials: Credentials::Static {
            access_key_id: "any".to_owned(),
            secret_access_key: Secret::new("any"),
            session_token: None,
        },
        quirks: Quirks::default(),
    };
    tokio::spawn(accept(listener));
    let client = BackendClient::new(spec, HttpPool::new(Timeouts::default()));
    assert_eq!(probe_puts(&client).await.expect("answers"), EtagProof::Md5Trailer);
}

/// Opens an upload and puts parts of these bodies. Its id.
async fn upload(s: &mut Sender, path: &str, headers: &[(&str, &str)], parts: &[(u16, &[u8])]) -> String {
    let (status, _, opened) = ask(s, "POST", &format!("{path}?uploads"), headers, &[]).await;
    let opened = String::from_utf8(opened).expect("text");
    let id = opened.split_once("<UploadId>").and_then(|(_, rest)| rest.split_once('<')).expect("an id").0;
    assert_eq!(status, 200);
    for (number, body) in parts {
        let part = format!("{path}?partNumber={number}&uploadId={id}");
        let (status, headers, _) = ask(s, "PUT", &part, &[], body).await;
        assert_eq!((status, headers["etag"].to_str().expect("text")), (200, quoted_md5(body).as_str()));
    }
    id.to_owned()
}

fn quoted_md5(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode(Md5::digest(body)))
}

fn completion(parts: &[(u16, String)]) -> String {
    let part = |(number, etag): &(u16, String)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", etag.replace('"', "&quot;"))
    };
    let parts: Vec<String> = parts.iter().map(part).collect();
    format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.concat())
}

#[tokio::test]
async fn an_upload_is_an_object_of_its_parts() {
    let mut s = connect().await;
    let bodies: [&[u8]; 3] = [b"01234", b"567", b"89"];
    let id = upload(
        &mut s,
        "/b/k",
        &[("x-amz-meta-a", "1")],
        &[(7, &b"later replaced"[..]), (2, bodies[0]), (9, bodies[2]), (7, bodies[1])],
    )
    .await;
    assert_eq!(ask(&mut s, "GET", "/b/k", &[], &[]).await.0, 404, "not yet");
    let listed: Vec<_> = [2, 7, 9].into_iter().zip(bodies.map(quoted_md5)).collect();
    let complete = format!("/b/k?uploadId={id}");
    let (status, _, answer) = ask(&mut s, "POST", &complete, &[], completion(&listed).as_bytes()).await;
    let digests: Vec<u8> = bodies.iter().flat_map(|body| Md5::digest(body).to_vec()).collect();
    let etag = format!("\"{}-3\"", hex::encode(Md5::digest(&digests)));
    let answer = String::from_utf8(answer).expect("text");
    assert_eq!(status, 200);
    assert!(answer.contains(&format!("<ETag>{}</ETag>", etag.replace('"', "&quot;"))), "{answer}");
    let (status, headers, read) = ask(&mut s, "GET", "/b/k", &[], &[]).await;
    assert_eq!((status, read), (200, b"0123456789".to_vec()));
    assert_eq!((&headers["etag"], &headers["x-amz-meta-a"]), (&etag.parse().unwrap(), &"1".parse().unwrap()));
    for (range, part) in
        [("bytes=0-4", "01234"), ("bytes=4-8", "45678"), ("bytes=5-7", "567"), ("bytes=-3", "789")]
    {
        let (status, headers, body) = ask(&mut s, "GET", "/b/k", &[("range", range)], &[]).await;
        assert_eq!((status, body), (206, part.as_bytes().to_vec()), "{range}");
        assert_eq!(headers["content-length"], part.len().to_string());
    }
    let (_, headers, _) = ask(&mut s, "HEAD", "/b/k", &[], &[]).await;
    assert_eq!(headers["content-length"], "10");
    assert_eq!(ask(&mut s, "POST", &complete, &[], completion(&listed).as_bytes()).await.0, 404, "closed");
}

#[tokio::test]
async fn an_upload_that_is_not_right_is_no_object() {
    let mut s = connect().await;
    let id = upload(&mut s, "/b/k", &[], &[(1, &b"a"[..]), (2, &b"b"[..])]).await;
    let (a, b) = (quoted_md5(b"a"), quoted_md5(b"b"));
    for (listed, code) in [
        (vec![], "MalformedXML"),
        (vec![(2, b.clone()), (1, a.clone())], "InvalidPartOrder"),
        (vec![(1, b.clone())], "InvalidPart"),
        (vec![(1, a), (3, b)], "InvalidPart"),
    ] {
        let path = format!("/b/k?uploadId={id}");
        let (status, _, answer) = ask(&mut s, "POST", &path, &[], completion(&listed).as_bytes()).await;
        let wanted = format!("<Code>{code}</Code>");
        assert!(status == 400 && String::from_utf8_lossy(&answer).contains(&wanted), "{listed:?}");
    }
    for number in ["0", "10001", "x"] {
        let path = format!("/b/k?partNumber={number}&uploadId={id}");
        assert_eq!(ask(&mut s, "PUT", &path, &[], b"c").await.0, 400, "{number}");
    }
    assert_eq!(ask(&mut s, "DELETE", &format!("/b/other?uploadId={id}"), &[], &[]).await.0, 404);
    assert_eq!(ask(&mut s, "DELETE", &format!("/b/k?uploadId={id}"), &[], &[]).await.0, 204);
    assert_eq!(ask(&mut s, "PUT", &format!("/b/k?partNumber=1&uploadId={id}"), &[], b"a").await.0, 404);
    assert_eq!(ask(&mut s, "GET", "/b/k", &[], &[]).await.0, 404);
}
