//! The checksums that S3 learnt after its first five (Amazon S3 User Guide, "Checking object integrity"): no SDK of
//! today computes them by itself, so they come as headers and trailers that the client has computed.

use anyhow::{Context as _, Result};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::{Payload, Raw, Request, Response};
use s3o_integration_tests::{Cluster, Options};

const BODY: &[u8] = b"123456789";
/// How often it stands in a first part, which must have a least size.
const TIMES: usize = 200;

/// Algorithm; that of [`BODY`]; that of two parts, the first [`TIMES`] as long. By `sha512sum`, `md5sum` and `xxhsum`.
const KNOWN: [(&str, &str, &str); 5] = [
    (
        "sha512",
        "2eZ2LdHI6vbWGzxhkvxAjU1tXxF20MKRabwk5xw/J0rSf81YEbMT1oH35V7ALXPUmclUVba1u1A6z1dPuo/+hQ==",
        "Hf3Sp0GOB2qpP7whQVa72Wuai+Bzobu4EcEmirjNfyHklhEj4XnKWj56iBme7YdHcF4hKBkeekARfJ3dSuNRAQ==-2",
    ),
    ("md5", "JfnnlDI7RTiF9RgfG2JNCw==", "3ren0TYoyLVJGd9vIiEhAg==-2"),
    ("xxhash64", "jLhB20DmroM=", "4C0F+bqjAY8=-2"),
    ("xxhash3", "ctyxi2ehff8=", "PDlmeSEowfY=-2"),
    ("xxhash128", "MxGUd+3l3NXpcWQnaB1YYA==", "7VWeCo1kA38nTO84FxJXPg==-2"),
];

#[tokio::test(flavor = "multi_thread")]
async fn newer_algorithms_are_compared_kept_and_told() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let raw = cluster.raw(0);
    for (algorithm, value, composite) in KNOWN {
        let case = Case { raw: &raw, header: format!("x-amz-checksum-{algorithm}"), algorithm, value };
        case.a_header().await.with_context(|| format!("{algorithm} as header"))?;
        case.a_trailer().await.with_context(|| format!("{algorithm} as trailer"))?;
        case.a_copy().await.with_context(|| format!("a copy with {algorithm}"))?;
        case.parts(composite).await.with_context(|| format!("parts with {algorithm}"))?;
    }
    cluster.finish().await
}

struct Case<'a> {
    raw: &'a Raw,
    header: String,
    algorithm: &'static str,
    value: &'static str,
}

impl Case<'_> {
    fn key(&self) -> String {
        format!("/{BUCKET}/sum-{}", self.algorithm)
    }

    /// The element that XML has for the header.
    fn element(&self) -> String {
        format!("Checksum{}", self.algorithm.to_ascii_uppercase())
    }

    async fn send(&self, request: Request, status: u16) -> Result<Response> {
        let answer = self.raw.send(&request).await?;
        anyhow::ensure!(answer.status == status, "{} {}: {}", request.method, request.path, answer.text());
        Ok(answer)
    }

    /// What a client that asks for checksums is told of an object.
    async fn told(&self, path: &str, value: &str, kind: &str) -> Result<()> {
        for method in ["HEAD", "GET"] {
            let get = Request::new(method, path).header("x-amz-checksum-mode", "ENABLED");
            let answer = self.send(get, 200).await?;
            assert_eq!(answer.header(&self.header), Some(value), "{method}");
            assert_eq!(answer.header("x-amz-checksum-type"), Some(kind), "{method}");
        }
        Ok(())
    }

    async fn a_header(&self) -> Result<()> {
        let put = |body: &[u8]| Request::new("PUT", &self.key()).header(&self.header, self.value).body(body);
        let answer = self.send(put(BODY), 200).await?;
        assert_eq!(answer.header(&self.header), Some(self.value));
        assert_eq!(self.send(put(b"123456780"), 400).await?.code(), "BadDigest");
        self.told(&self.key(), self.value, "FULL_OBJECT").await?;
        let attributes = Request::new("GET", &format!("{}?attributes", self.key()));
        let attributes = self.send(attributes.header("x-amz-object-attributes", "Checksum"), 200).await?;
        assert_eq!(attributes.element(&self.element()).as_deref(), Some(self.value));
        let list = self.send(Request::new("GET", &format!("/{BUCKET}?list-type=2&prefix=sum-")), 200).await?;
        let name = self.algorithm.to_ascii_uppercase();
        assert!(list.text().contains(&format!("<ChecksumAlgorithm>{name}<")), "{}", list.text());
        let short = Request::new("PUT", &self.key()).header(&self.header, "AAAA").body(BODY);
        assert_eq!(self.send(short, 400).await?.code(), "InvalidRequest");
        Ok(())
    }

    async fn a_trailer(&self) -> Result<()> {
        let put = |body: &[u8], signed: bool| {
            let trailers = vec![(self.header.clone(), self.value.to_owned())];
            let payload = if signed {
                Payload::Chunks { size: 8192, trailers }
            } else {
                Payload::UnsignedChunks { size: 8, trailers }
            };
            Request::new("PUT", &format!("{}-trailer", self.key())).body(body).payload(payload)
        };
        for signed in [true, false] {
            let answer = self.send(put(BODY, signed), 200).await?;
            assert_eq!(answer.header(&self.header), Some(self.value), "{signed}");
            assert_eq!(self.send(put(b"123456780", signed), 400).await?.code(), "BadDigest", "{signed}");
        }
        self.told(&format!("{}-trailer", self.key()), self.value, "FULL_OBJECT").await
    }

    /// Of an object that has none: its bytes pass by, and are summed.
    async fn a_copy(&self) -> Result<()> {
        let source = format!("/{BUCKET}/plain-{}", self.algorithm);
        self.send(Request::new("PUT", &source).body(BODY), 200).await?;
        let copy = Request::new("PUT", &format!("{}-copy", self.key())).header("x-amz-copy-source", &source);
        let copy = copy.header("x-amz-checksum-algorithm", &self.algorithm.to_ascii_uppercase());
        let answer = self.send(copy, 200).await?;
        assert_eq!(answer.element(&self.element()).as_deref(), Some(self.value));
        self.told(&format!("{}-copy", self.key()), self.value, "FULL_OBJECT").await
    }

    async fn parts(&self, composite: &str) -> Result<()> {
        let path = format!("{}-parts", self.key());
        let create = |kind: &str| {
            let create = Request::new("POST", &format!("{path}?uploads"));
            let name = self.algorithm.to_ascii_uppercase();
            create.header("x-amz-checksum-algorithm", &name).header("x-amz-checksum-type", kind)
        };
        assert_eq!(self.send(create("FULL_OBJECT"), 400).await?.code(), "InvalidRequest");
        let id = self.send(create("COMPOSITE"), 200).await?.element("UploadId").context("an id")?;
        let mut listed = Vec::new();
        for (number, body) in [(1, BODY.repeat(TIMES)), (2, BODY.to_vec())] {
            // Neither part says its checksum: it gets one all the same.
            let put = Request::new("PUT", &format!("{path}?partNumber={number}&uploadId={id}")).body(body);
            let answer = self.send(put, 200).await?;
            let (etag, value) = (answer.header("etag"), answer.header(&self.header));
            let (etag, value) = (etag.context("an ETag")?, value.context("a checksum")?);
            let element = self.element();
            listed.push(format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><{element}>{value}</{element}></Part>"
            ));
        }
        let listed = listed.concat();
        let complete = |parts: &str| {
            let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
            Request::new("POST", &format!("{path}?uploadId={id}")).body(document)
        };
        let wrong = complete(&listed.replace(self.value, KNOWN_WRONG));
        assert_eq!(self.send(wrong, 400).await?.code(), "InvalidPart");
        let other = complete(&listed).header(&self.header, self.value);
        assert_eq!(self.send(other, 400).await?.code(), "BadDigest");
        let done = self.send(complete(&listed).header(&self.header, composite), 200).await?;
        assert_eq!(done.element(&self.element()).as_deref(), Some(composite));
        self.told(&path, composite, "COMPOSITE").await
    }
}

/// The checksum of nothing that is stored here.
const KNOWN_WRONG: &str = "AAAAAAAAAAA=";
