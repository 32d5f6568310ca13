//! What a request costs before an operation of ours has it: its signature, and the chunks of its body. `make bench-micro`.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../src/sign.rs"]
#[allow(unused_imports, reason = "its tests are run where it lives")]
mod sign;

use bytes::{Bytes, BytesMut};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use futures::StreamExt as _;
use futures::executor::block_on;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use s3s::auth::SimpleAuth;
use s3s::dto::{HeadBucketInput, HeadBucketOutput, PutObjectInput, PutObjectOutput};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3, S3Request, S3Response, S3Result};
use sign::{Signer, sha256};
use time::OffsetDateTime;
use time::macros::format_description;

fn main() {
    divan::main();
}

const MIB: usize = 1024 * 1024;
/// As SDKs cut their bodies.
const CHUNK: usize = 64 * 1024;

/// Takes everything.
struct Sink;

#[async_trait::async_trait]
impl S3 for Sink {
    async fn head_bucket(&self, _: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let mut body = req.input.body.unwrap();
        while let Some(chunk) = body.next().await {
            black_box(chunk.unwrap());
        }
        Ok(S3Response::new(PutObjectOutput::default()))
    }
}

fn service() -> S3Service {
    let mut builder = S3ServiceBuilder::new(Sink);
    builder.set_auth(SimpleAuth::from_single("AK", "SK"));
    builder.build()
}

fn serve(service: &S3Service, request: Request<Body>) {
    let answer = block_on(service.call(request)).unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// A signed request without its body.
fn head(method: &str, path: &str, payload: &str, amz: &[(HeaderName, HeaderValue)]) -> Request<()> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let stamp = OffsetDateTime::now_utc().format(format).unwrap();
    let signer = Signer::new("AK", "SK", "us-east-1", "127.0.0.1", stamp);
    let mut request = Request::builder().method(method).uri(path).body(()).unwrap();
    let headers = request.headers_mut();
    headers.extend(amz.iter().map(|(name, value)| (name.clone(), value.clone())));
    headers.insert("authorization", signer.authorization(method, path, "", payload, amz));
    headers.insert("host", HeaderValue::from_static("127.0.0.1"));
    headers.insert("x-amz-date", HeaderValue::try_from(signer.stamp()).unwrap());
    headers.insert("x-amz-content-sha256", HeaderValue::try_from(payload).unwrap());
    request
}

#[divan::bench]
fn signature(bencher: Bencher<'_, '_>) {
    let service = service();
    let head = head("HEAD", "/bucket", &sha256(b""), &[]);
    let request = || head.clone().map(|()| Body::empty());
    bencher.with_inputs(request).bench_values(|request| serve(&service, request));
}

/// A body of 1 MiB as it is, and in chunks with a trailer behind them.
#[divan::bench(args = [false, true])]
fn chunks(bencher: Bencher<'_, '_>, chunked: bool) {
    let (service, plain) = (service(), vec![7; MIB]);
    let (head, body) = if chunked {
        let amz = [("x-amz-decoded-content-length", MIB.to_string()), ("x-amz-trailer", TRAILER.to_owned())];
        let amz =
            amz.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap()));
        (head("PUT", "/bucket/key", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", &amz), framed(&plain))
    } else {
        (head("PUT", "/bucket/key", "UNSIGNED-PAYLOAD", &[]), Bytes::from(plain))
    };
    let request = || {
        let mut request = head.clone().map(|()| Body::from(body.clone()));
        request.headers_mut().insert("content-length", HeaderValue::from(body.len()));
        request
    };
    bencher
        .counter(BytesCount::new(MIB))
        .with_inputs(request)
        .bench_values(|request| serve(&service, request));
}

const TRAILER: &str = "x-amz-checksum-crc32";

fn framed(body: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    for chunk in body.chunks(CHUNK) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(format!("0\r\n{TRAILER}:AAAAAA==\r\n\r\n").as_bytes());
    framed.freeze()
}
