//! Clients as people have them: the AWS SDK, without retries, so that a test sees every answer.

use std::net::SocketAddr;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::{Digest, Md5};

/// A client that gives up after `patience`.
pub fn client(address: SocketAddr, access_key: &str, secret: &str, patience: Duration) -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    client_over(http, &format!("http://{address}"), access_key, secret, patience)
}

/// A client over TLS that trusts the authority whose certificate is `ca`, PEM, and no other.
pub fn client_over_tls(
    address: SocketAddr,
    ca: &[u8],
    (access_key, secret): (&str, &str),
    patience: Duration,
) -> anyhow::Result<Client> {
    let trust =
        TlsContext::builder().with_trust_store(TrustStore::empty().with_pem_certificate(ca)).build()?;
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(trust)
        .build_https();
    Ok(client_over(http, &format!("https://{address}"), access_key, secret, patience))
}

fn client_over(
    http: SharedHttpClient,
    endpoint: &str,
    access_key: &str,
    secret: &str,
    patience: Duration,
) -> Client {
    let timeouts = TimeoutConfig::builder().operation_timeout(patience).connect_timeout(patience).build();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .credentials_provider(Credentials::new(access_key, secret, None, None, "test"))
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// The same client with the checksums that SDKs send by default.
pub fn with_checksums(client: &Client) -> Client {
    let config = client.config().to_builder();
    Client::from_conf(config.request_checksum_calculation(RequestChecksumCalculation::WhenSupported).build())
}

/// What an error says of the call's effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An answer with this status and code.
    Answer {
        /// HTTP status.
        status: u16,
        /// S3's error code, empty where the answer has no body.
        code: String,
    },
    /// No answer: cut, refused, timed out.
    Silence(String),
}

impl Failure {
    /// Of an SDK error.
    pub fn of<E: ProvideErrorMetadata + std::fmt::Debug>(error: &SdkError<E>) -> Self {
        match error.raw_response() {
            Some(response) => Self::Answer {
                status: response.status().as_u16(),
                code: error.code().unwrap_or_default().to_owned(),
            },
            None => Self::Silence(format!("{error:?}")),
        }
    }

    /// The status of an answer, 0 for silence.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Answer { status, .. } => *status,
            Self::Silence(_) => 0,
        }
    }

    /// Whether the call may have had, or may yet have, an effect.
    pub const fn is_unknown(&self) -> bool {
        matches!(self.status(), 0 | 500..)
    }
}

/// MD5 in hexadecimal: the ETag that a single PUT of `bytes` gets.
pub fn md5(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

/// The same as a `Content-MD5` header has it.
pub fn content_md5(bytes: &[u8]) -> String {
    BASE64.encode(Md5::digest(bytes))
}

/// An ETag without its quotes.
pub fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

/// A body that no other has: `size` bytes that begin with `name`.
pub fn body(name: &str, size: usize) -> Bytes {
    let mut bytes = format!("{name}\n").into_bytes();
    let mut word = u64::from_str_radix(&md5(name.as_bytes())[..16], 16).unwrap_or(1) | 1;
    while bytes.len() < size {
        // Xorshift: cheap, and no stretch repeats another.
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        bytes.extend(word.to_le_bytes());
    }
    bytes.truncate(size);
    Bytes::from(bytes)
}

/// PUT. The ETag, without quotes.
pub async fn put(client: &Client, bucket: &str, key: &str, body: Bytes) -> Result<String, Failure> {
    let done = client.put_object().bucket(bucket).key(key).body(ByteStream::from(body)).send().await;
    done.map(|put| unquoted(put.e_tag())).map_err(|error| Failure::of(&error))
}

/// GET. `None` for `NoSuchKey`; an error when the body ends early.
pub async fn get(client: &Client, bucket: &str, key: &str) -> Result<Option<(String, Bytes)>, Failure> {
    match client.get_object().bucket(bucket).key(key).send().await {
        Ok(object) => {
            let etag = unquoted(object.e_tag());
            let expected = object.content_length();
            let body =
                object.body.collect().await.map_err(|error| Failure::Silence(format!("body: {error}")))?;
            let body = body.into_bytes();
            if expected != i64::try_from(body.len()).ok() {
                return Err(Failure::Silence(format!("{} of {expected:?} bytes came", body.len())));
            }
            Ok(Some((etag, body)))
        }
        Err(error) => match Failure::of(&error) {
            Failure::Answer { status: 404, code } if code == "NoSuchKey" => Ok(None),
            failure => Err(failure),
        },
    }
}

/// HEAD. The ETag and size, `None` for 404.
pub async fn head(client: &Client, bucket: &str, key: &str) -> Result<Option<(String, i64)>, Failure> {
    match client.head_object().bucket(bucket).key(key).send().await {
        Ok(object) => Ok(Some((unquoted(object.e_tag()), object.content_length().unwrap_or(-1)))),
        Err(error) => match Failure::of(&error) {
            Failure::Answer { status: 404, .. } => Ok(None),
            failure => Err(failure),
        },
    }
}

/// DELETE.
pub async fn delete(client: &Client, bucket: &str, key: &str) -> Result<(), Failure> {
    let done = client.delete_object().bucket(bucket).key(key).send().await;
    done.map(|_| ()).map_err(|error| Failure::of(&error))
}

/// Server-side copy. The new ETag.
pub async fn copy(client: &Client, bucket: &str, from: &str, to: &str) -> Result<String, Failure> {
    let source = format!("{bucket}/{from}");
    let done = client.copy_object().bucket(bucket).key(to).copy_source(source).send().await;
    done.map(|copy| unquoted(copy.copy_object_result().and_then(|result| result.e_tag())))
        .map_err(|error| Failure::of(&error))
}

/// All keys with a prefix and their ETags.
pub async fn list(client: &Client, bucket: &str, prefix: &str) -> Result<Vec<(String, String)>, Failure> {
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let page =
            client.list_objects_v2().bucket(bucket).prefix(prefix).set_continuation_token(token).send().await;
        let page = page.map_err(|error| Failure::of(&error))?;
        found.extend(
            page.contents().iter().map(|o| (o.key().unwrap_or_default().to_owned(), unquoted(o.e_tag()))),
        );
        token = page.next_continuation_token().map(ToOwned::to_owned);
        if token.is_none() {
            return Ok(found);
        }
    }
}
