//! Bodies that are not what their headers say, signed by hand: the right error, and nothing left behind.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::fake::Fake;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use s3o_dataplane::{DataPlane, DataPlaneConfig};
use s3o_runtime::Shutdown;
use s3o_testkit::s3server::FaultyBackend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
pub(crate) const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

pub(crate) struct World {
    pub(crate) fake: Fake,
    pub(crate) backend: FaultyBackend,
    pub(crate) plane: DataPlane,
}

pub(crate) async fn world() -> World {
    let (fake, backend) = (Fake::default(), FaultyBackend::start().await.unwrap());
    fake.with(|model| model.backends = vec![backend.spec(1, "b1")]);
    let plane = DataPlane::start(config(fake.serve().await, ""), Shutdown::new()).await.unwrap();
    plane.ready().await;
    World { fake, backend, plane }
}

fn config(control: SocketAddr, more: &str) -> DataPlaneConfig {
    let yaml = format!(
        "name: test\ncontrol_planes: [\"http://{control}\"]\ns3: {{listen: \"127.0.0.1:0\", domains: [s3.test]}}\n\
         http: {{listen: \"127.0.0.1:0\"}}\nlog: {{filter: error}}\ntimeouts: {{call: 60s, commit: 60s}}\n{more}"
    );
    s3o_runtime::config::parse(&yaml, "test", &|_| None).unwrap()
}

/// A request with a right signature over `payload`, which stands in `x-amz-content-sha256`.
pub(crate) fn signed(
    method: &str,
    (host, path): (&str, &str),
    payload: &str,
    headers: &[(&str, &str)],
) -> String {
    let identity = Credentials::new("AK", "SK", None, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = aws_sigv4::http_request::PayloadChecksumKind::XAmzSha256;
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
    let mut all = vec![("host", host)];
    all.extend(headers.iter().copied());
    let body = SignableBody::Precomputed(payload.to_owned());
    let request =
        SignableRequest::new(method, format!("http://{host}{path}"), all.iter().copied(), body).unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in all.into_iter().chain(instructions.headers()) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text
}

impl World {
    pub(crate) async fn send(&self, head: &str, body: &[u8]) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.plane.s3_addr()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) async fn put(&self, payload: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let host = self.plane.s3_addr().to_string();
        self.send(&signed("PUT", (&host, "/photos/k"), payload, headers), body).await
    }

    /// The client's error does not wait for the Abort.
    async fn assert_nothing_left(&self) {
        while self.fake.with(|model| !model.intents.is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (open, commits) = self.fake.with(|model| (model.intents.len(), model.commits.len()));
        assert_eq!((open, commits), (0, 0));
        assert!(self.backend.keys().iter().all(|key| key.starts_with(".s3o/")), "{:?}", self.backend.keys());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_lie_are_refused() {
    let world = world().await;
    let answer = world.put(HELLO, &[("content-length", "5")], b"HELLO").await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("<Code>XAmzContentSHA256Mismatch</Code>"),
        "{answer}"
    );
    let answer =
        world.put("UNSIGNED-PAYLOAD", &[("transfer-encoding", "chunked")], b"5\r\nhello\r\n0\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 411") && answer.contains("<Code>MissingContentLength</Code>"),
        "{answer}"
    );
    let answer = world.put(HELLO, &[("content-length", "5"), ("content-md5", "nonsense")], b"hello").await;
    assert!(answer.contains("<Code>InvalidDigest</Code>"), "{answer}");
    let trailer = [
        ("content-encoding", "aws-chunked"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("x-amz-decoded-content-length", "5"),
        ("transfer-encoding", "chunked"),
    ];
    let streaming = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let framed = |inner: &str| format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()).into_bytes();
    for (inner, code) in [
        ("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "BadDigest"),
        ("5\r\nhello\r\n0\r\n\r\n", "MalformedTrailerError"),
        ("4\r\nhell\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "IncompleteBody"),
        ("6\r\nhello!\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "IncompleteBody"),
    ] {
        let answer = world.put(streaming, &trailer, &framed(inner)).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(code), "{code}: {answer}");
    }
    world.assert_nothing_left().await;
    let good = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    let answer = world.put(streaming, &trailer, &framed(good)).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("x-amz-checksum-crc32: NhCmhg=="),
        "{answer}"
    );
    let stored = world.fake.with(|model| model.objects["k"].clone());
    let headers = stored.attributes.unwrap().headers.unwrap();
    assert_eq!(headers.content_encoding, None, "aws-chunked is of the transfer");
    assert_eq!(stored.checksums["crc32"], "NhCmhg==");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_early_leaves_nothing() {
    let world = world().await;
    let host = world.plane.s3_addr().to_string();
    let head = signed("PUT", (&host, "/photos/k"), "UNSIGNED-PAYLOAD", &[("content-length", "10")]);
    let mut stream = tokio::net::TcpStream::connect(world.plane.s3_addr()).await.unwrap();
    stream.write_all(format!("{head}\r\nhello").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    while world.fake.with(|model| model.aborts.is_empty()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn continue_is_said_only_when_there_is_a_place() {
    let world = world().await;
    world.fake.with(|model| model.refuse_begin = Some(s3o_types::ErrorCode::InsufficientStorage));
    let length = [("content-length", "5"), ("expect", "100-continue")];
    let answer = world.put(HELLO, &length, b"").await;
    assert!(answer.starts_with("HTTP/1.1 507"), "{answer}");
    // A client that would use its connection again must hear that it cannot: the body never came.
    world.fake.with(|model| model.refuse_begin = Some(s3o_types::ErrorCode::InsufficientStorage));
    let host = world.plane.s3_addr().to_string();
    let head = signed("PUT", (&host, "/photos/k"), HELLO, &length).replace("connection: close\r\n", "");
    let answer = world.send(&head, b"").await;
    assert!(answer.starts_with("HTTP/1.1 507") && answer.contains("connection: close"), "{answer}");
    let answer = world.put(HELLO, &length, b"hello").await;
    assert!(answer.starts_with("HTTP/1.1 100") && answer.contains("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_without_waiting_for_continue_hears_the_refusal() {
    let world = world().await;
    let host = world.plane.s3_addr().to_string();
    let head = signed(
        "PUT",
        (&host, "/photos/k"),
        HELLO,
        &[("content-length", "400000"), ("expect", "100-continue")],
    );
    for _ in 0..5 {
        world.fake.with(|model| model.refuse_begin = Some(s3o_types::ErrorCode::InsufficientStorage));
        let mut stream = tokio::net::TcpStream::connect(world.plane.s3_addr()).await.unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        // The answer is here and our side is about to be closed: the patience of the client ended a moment before.
        stream.readable().await.unwrap();
        for piece in vec![b'x'; 400_000].chunks(20_000) {
            stream.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 507"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_hosts() {
    let world = world().await;
    let head = signed("PUT", ("photos.s3.test", "/in/vhost"), HELLO, &[("content-length", "5")]);
    let answer = world.send(&head, b"hello").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(world.fake.with(|model| model.objects.contains_key("in/vhost")));
    let head = signed("GET", ("photos.other.test", "/in/vhost"), EMPTY, &[]);
    let answer = world.send(&head, b"").await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "another domain is path style: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_configuration_starts_a_data_plane_alone() {
    let world = world().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot.pb");
    let more = format!("snapshot_path: {}\n", path.display());
    let (shutdown, control) = (Shutdown::new(), world.fake.serve().await);
    let first = DataPlane::start(config(control, &more), shutdown.clone()).await.unwrap();
    first.ready().await;
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shutdown.finish(Duration::from_secs(20)).await;
    // Nobody listens there.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut config = config(nobody, &more);
    config.timeouts.call = s3o_runtime::HumanDuration::from_secs(2);
    let plane = DataPlane::start(config, Shutdown::new()).await.unwrap();
    plane.ready().await;
    let alone = World { fake: Fake::default(), backend: FaultyBackend::start().await.unwrap(), plane };
    let host = alone.plane.s3_addr().to_string();
    let answer = alone.send(&signed("HEAD", (&host, "/photos"), EMPTY, &[]), b"").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "the snapshot says so: {answer}");
    let answer = alone.put(HELLO, &[("content-length", "5")], b"hello").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after"), "{answer}");
    let mut health = tokio::net::TcpStream::connect(alone.plane.http_addr()).await.unwrap();
    health.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    health.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("degraded"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_chunk_too_large_to_collect_is_refused() {
    let world = world().await;
    let headers = [
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "2097152"),
        ("content-length", "2097300"),
    ];
    let mut body = format!("200000;chunk-signature={EMPTY}\r\n").into_bytes();
    body.resize(2_097_300, b'x');
    let answer = world.put("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", &headers, &body).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("<Code>EntityTooLarge</Code>"), "{answer}");
    while world.fake.with(|model| model.aborts.is_empty()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_with_control_characters_is_refused_before_begin() {
    let world = world().await;
    // U+0000, and a line break.
    for value in ["=?UTF-8?B?YQBi?=", "=?UTF-8?B?YQpi?="] {
        let headers = [("content-length", "5"), ("x-amz-meta-a", value)];
        let answer = world.put(HELLO, &headers, b"hello").await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("<Code>InvalidArgument</Code>"),
            "{answer}"
        );
    }
    assert!(world.fake.with(|model| model.begins.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_as_s3_reads_them() {
    let world = world().await;
    assert!(world.put(HELLO, &[("content-length", "5")], b"hello").await.starts_with("HTTP/1.1 200"));
    let host = world.plane.s3_addr().to_string();
    let etag = "\"5d41402abc4b2a76b9719d911017c592\"";
    let cases = [
        ("range: bytes=1-2\r\n".to_owned(), 206, "el"),
        ("range: bytes=1-99999999999999999999\r\n".to_owned(), 206, "ello"),
        ("range: bytes=0-0,2-3\r\n".to_owned(), 200, "hello"),
        ("range: bytes=3-1\r\n".to_owned(), 200, "hello"),
        (format!("range: bytes=1-2\r\nif-range: {etag}\r\n"), 206, "el"),
        ("range: bytes=1-2\r\nif-range: \"old\"\r\n".to_owned(), 200, "hello"),
        (format!("range: bytes=9-\r\nif-range: W/{etag}\r\n"), 200, "hello"),
    ];
    for (header, status, body) in cases {
        for method in ["GET", "HEAD"] {
            let head = signed(method, (&host, "/photos/k"), EMPTY, &[]) + &header;
            let answer = world.send(&head, b"").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {header}: {answer}");
            let expected = if method == "GET" { body } else { "" };
            assert!(answer.ends_with(&format!("\r\n\r\n{expected}")), "{method} {header}: {answer}");
            assert!(answer.contains(&format!("content-length: {}", body.len())), "{method}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_sending_is_told() {
    let (fake, backend) = (Fake::default(), FaultyBackend::start().await.unwrap());
    fake.with(|model| model.backends = vec![backend.spec(1, "b1")]);
    let control = fake.serve().await;
    let mut config = config(control, "");
    config.timeouts.client_idle = s3o_runtime::HumanDuration::from_secs(1);
    let plane = DataPlane::start(config, Shutdown::new()).await.unwrap();
    plane.ready().await;
    let world = World { fake, backend, plane };
    let host = world.plane.s3_addr().to_string();
    let put = [("content-length", "10")];
    let empty = [
        ("transfer-encoding", "chunked"),
        ("x-amz-decoded-content-length", "0"),
        ("content-encoding", "aws-chunked"),
    ];
    let delete = [("content-length", "10"), ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")];
    for head in [
        signed("PUT", (&host, "/photos/k"), "UNSIGNED-PAYLOAD", &put),
        signed("PUT", (&host, "/photos/k"), "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", &empty),
        signed("POST", (&host, "/photos?delete="), "UNSIGNED-PAYLOAD", &delete),
    ] {
        let answer = world.send(&head, b"1").await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("<Code>RequestTimeout</Code>"),
            "{answer}"
        );
    }
    world.assert_nothing_left().await;
}
