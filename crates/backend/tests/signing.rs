//! The signature, checked by an S3 server that is not ours (`s3s` with `s3s-fs`), over odd keys,
//! ranges, headers, both payload modes and both address styles.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt as _, stream};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use s3o_backend::{BackendClient, BackendErrorKind, ByteRange, HttpPool};
use s3o_types::{BackendId, BackendSpec, Credentials, Place, Quirks, Secret};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

struct Server {
    address: std::net::SocketAddr,
    _root: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start() -> Server {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("data")).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
    builder.set_auth(SimpleAuth::from_single("key", "secret"));
    let service = builder.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::<Result<(), Infallible>>::new();
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            connections.spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
                Ok(())
            });
        }
    });
    Server { address, _root: root, task }
}

fn client(server: &Server, secret: &str, quirks: Quirks) -> BackendClient {
    let credentials = Credentials::Static {
        access_key_id: "key".to_owned(),
        secret_access_key: Secret::new(secret),
        session_token: None,
    };
    let spec = BackendSpec {
        id: BackendId(1),
        name: "fs".to_owned(),
        endpoint: format!("http://{}", server.address),
        region: "eu-central-1".to_owned(),
        bucket: "data".to_owned(),
        place: Place::FIRST,
        credentials,
        quirks,
    };
    BackendClient::new(spec, HttpPool::default())
}

#[tokio::test]
async fn odd_keys_are_signed_as_they_are_sent() {
    let server = start().await;
    let client = client(&server, "secret", Quirks::default());
    let body = Bytes::from_static(b"0123456789");
    for key in [
        "plain",
        "a b",
        "a+b",
        "100%",
        "%41",
        "~t~",
        "é/ü/日本",
        "a=b&c",
        "q?x#y",
        "(!*')",
        "\u{1F600}",
        "x:y@z;,$",
    ] {
        let chunks = stream::iter([Ok::<_, std::io::Error>(body.slice(..4)), Ok(body.slice(4..))]);
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("text/plain")),
            (HeaderName::from_static("x-amz-meta-s3o"), HeaderValue::from_static("1 k=blob s=10")),
        ];
        client.put(key, 10, headers, chunks).await.unwrap_or_else(|error| panic!("PUT {key:?}: {error}"));
        let head = client.head(key).await.unwrap_or_else(|error| panic!("HEAD {key:?}: {error}"));
        assert_eq!(
            (head.size, head.headers["x-amz-meta-s3o"].as_bytes()),
            (10, &b"1 k=blob s=10"[..]),
            "{key:?}"
        );
        let got = client.get(key, Some(ByteRange { first: 3, last: 5 }), None).await.unwrap();
        let bytes: BytesMut = got.body.try_collect().await.unwrap();
        assert_eq!(&bytes[..], b"345", "{key:?}");
        client.copy(key, "copy", 10, vec![]).await.unwrap_or_else(|error| panic!("copy {key:?}: {error}"));
        let listed = client.list(key, None, 10).await.unwrap_or_else(|error| panic!("list {key:?}: {error}"));
        assert!(listed.entries.iter().any(|entry| entry.key == key), "{key:?} in {listed:?}");
        client.delete(key, None).await.unwrap_or_else(|error| panic!("DELETE {key:?}: {error}"));
        assert_eq!(client.head(key).await.unwrap_err().kind, BackendErrorKind::NotFound, "{key:?}");
    }
}

#[tokio::test]
async fn payload_modes_and_wrong_secrets() {
    let server = start().await;
    for unsigned_payload in [true, false] {
        let client = client(&server, "secret", Quirks { unsigned_payload, ..Quirks::default() });
        client.put_bytes("k", vec![], Bytes::from_static(b"whole")).await.unwrap();
        client.put_bytes("empty", vec![], Bytes::new()).await.unwrap();
        assert_eq!((client.head("k").await.unwrap().size, client.head("empty").await.unwrap().size), (5, 0));
    }
    let wrong = client(&server, "wrong", Quirks::default());
    let error = wrong.get("k", None, None).await.err().expect("refused");
    assert_eq!(error.kind, BackendErrorKind::Denied, "{error}");
    assert!(error.message.contains("SignatureDoesNotMatch"), "{error}");
}

#[tokio::test]
async fn stripped_headers_do_not_leave() {
    let server = start().await;
    let quirks = Quirks { strip_headers: vec!["x-amz-meta-odd".to_owned()], ..Quirks::default() };
    let client = client(&server, "secret", quirks);
    let header = |name| (HeaderName::from_static(name), HeaderValue::from_static("v"));
    client
        .put_bytes("k", vec![header("x-amz-meta-odd"), header("x-amz-meta-even")], Bytes::from_static(b"x"))
        .await
        .unwrap();
    let headers = client.head("k").await.unwrap().headers;
    assert!(headers.contains_key("x-amz-meta-even") && !headers.contains_key("x-amz-meta-odd"));
}
