//! What is not hot, over the AWS SDK: server-side copy and listings.
//!
//! Invariant: the SDK repeats nothing, waits for nothing without end, and reads no answer without end.

use std::borrow::Cow;
use std::future::Future;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, ConfigBag, Intercept, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_sdk_s3::operation::copy_object::builders::CopyObjectFluentBuilder;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, MetadataDirective};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_types::body::SdkBody;
use http::header::{HeaderName, HeaderValue};
use http_body_util::Limited;
use percent_encoding::percent_decode_str;
use s3o_types::{Etag, is_xml};

use crate::client::{BackendClient, ListDone, ListEntry, PutDone};
use crate::error::{BackendError, BackendErrorKind, Certainty};
use crate::errors::from_sdk;
use crate::hot::BY_KEY;
use crate::sign::copy_source;

/// The largest object that one `CopyObject` takes (Amazon S3 API reference, "`CopyObject`").
pub(crate) const MAX_COPY_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// What an answer may have at most, since the SDK reads it whole. A page has a thousand keys of 1024 bytes, and a byte of a
/// key six where it is escaped.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// A backend answers a copy when it is done, and 5 GiB take their time.
const COPY_PATIENCE: Duration = Duration::from_mins(15);

impl BackendClient {
    fn sdk(&self) -> &aws_sdk_s3::Client {
        self.0.sdk.get_or_init(|| {
            let spec = &self.0.spec;
            let timeouts = TimeoutConfig::builder().connect_timeout(self.0.pool.timeouts().connect).build();
            let config = aws_sdk_s3::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .endpoint_url(spec.endpoint.trim_end_matches('/'))
                .region(Region::new(spec.region.clone()))
                .force_path_style(spec.quirks.path_style)
                .credentials_provider(self.0.credentials.clone())
                .http_client(self.0.pool.sdk())
                .retry_config(RetryConfig::disabled())
                .timeout_config(timeouts)
                .interceptor(Bounded)
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
                .build();
            aws_sdk_s3::Client::from_conf(config)
        })
    }

    /// Copies a blob within the backend, with headers of its own. `size` is the source's: above
    /// 5 GiB S3 wants a multipart copy, which this is not.
    pub async fn copy(
        &self,
        source: &str,
        target: &str,
        size: u64,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<PutDone, BackendError> {
        if size > MAX_COPY_BYTES {
            let message = format!("{size} bytes are more than one server-side copy takes");
            return Err(BackendError::new(BackendErrorKind::Rejected, Certainty::NotSent, message));
        }
        self.0.address.as_ref().map_err(Clone::clone)?;
        let bucket = &self.0.spec.bucket;
        let mut copy =
            self.sdk().copy_object().bucket(bucket).key(target).copy_source(copy_source(bucket, source));
        copy = copy.metadata_directive(MetadataDirective::Replace);
        for (name, value) in headers.iter().filter(|(name, _)| self.sends(name)) {
            copy = with_header(copy, name, value)?;
        }
        let sent = Box::pin(async { copy.send().await.map_err(|error| from_sdk(&error)) });
        let done = within(COPY_PATIENCE, sent).await?;
        let by_key = done.server_side_encryption().is_some_and(|how| how.as_str().starts_with(BY_KEY));
        let etag = done.copy_object_result().and_then(|result| result.e_tag()).map(Etag::new);
        let etag = etag.filter(|_| !by_key);
        Ok(PutDone { etag, version_id: done.version_id().map(str::to_owned), crc64nvme: None })
    }

    /// One page of the keys that begin with `prefix`, behind `start_after`. One that cannot be read, since it says a key with
    /// characters that XML does not have, is asked for once more with its keys encoded.
    pub async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        max_keys: u16,
    ) -> Result<ListDone, BackendError> {
        self.list_watched((prefix, start_after, max_keys), || {}).await
    }

    /// The same; `again` is called where another request is made.
    pub(crate) async fn list_watched(
        &self,
        asked: (&str, Option<&str>, u16),
        again: impl FnOnce(),
    ) -> Result<ListDone, BackendError> {
        match self.page(asked, None).await {
            Ok(page) => Ok(done(page)),
            Err(error) if is_unreadable(&error) => {
                again();
                self.encoded_page(asked, &error).await
            }
            Err(error) => Err(error),
        }
    }

    async fn page(
        &self,
        (prefix, start_after, max_keys): (&str, Option<&str>, u16),
        encoding: Option<EncodingType>,
    ) -> Result<ListObjectsV2Output, BackendError> {
        self.0.address.as_ref().map_err(Clone::clone)?;
        let list = self.sdk().list_objects_v2().bucket(&self.0.spec.bucket).prefix(prefix);
        let list = list.set_start_after(start_after.map(str::to_owned)).max_keys(i32::from(max_keys));
        let list = list.set_encoding_type(encoding);
        let sent = Box::pin(async { list.send().await.map_err(|error| from_sdk(&error)) });
        within(self.0.pool.timeouts().response, sent).await
    }

    /// Not asked for first: some backends say that they encode and do not, and a key that is decoded without need is another
    /// key. Here the page shows it: it can be read now, and says something for which it could not be before, be it only what it
    /// was asked for.
    async fn encoded_page(
        &self,
        asked: (&str, Option<&str>, u16),
        before: &BackendError,
    ) -> Result<ListDone, BackendError> {
        let unreadable = |why: &BackendError| {
            let (name, prefix, why) = (&self.0.spec.name, asked.0, &why.message);
            let message = format!(
                "backend `{name}`: the listing of `{prefix}` cannot be read ({why}): most likely it has a key with characters \
                 that XML does not have, and does not encode keys where it is asked to (encoding-type=url)"
            );
            BackendError { message, ..before.clone() }
        };
        let page = match self.page(asked, Some(EncodingType::Url)).await {
            Err(error) if is_unreadable(&error) => return Err(unreadable(&error)),
            other => other?,
        };
        if page.encoding_type() != Some(&EncodingType::Url) {
            return Err(unreadable(before));
        }
        let explains = |text: &str| !is_xml(text);
        let echoed = [page.prefix(), page.start_after()];
        let is_explained = echoed.into_iter().flatten().filter_map(decoded).any(|text| explains(&text));
        let mut done = done(page);
        for entry in &mut done.entries {
            entry.key = decoded(&entry.key).ok_or_else(|| unreadable(before))?;
        }
        let is_explained = is_explained || done.entries.iter().any(|entry| explains(&entry.key));
        if is_explained { Ok(done) } else { Err(unreadable(before)) }
    }
}

/// An answer that says that all went well, and is no document.
fn is_unreadable(error: &BackendError) -> bool {
    error.kind == BackendErrorKind::Server && error.status == Some(200)
}

fn done(page: ListObjectsV2Output) -> ListDone {
    let truncated = page.is_truncated().unwrap_or(false);
    let entries = page.contents.unwrap_or_default().into_iter().filter_map(entry).collect();
    ListDone { entries, truncated }
}

/// A key that was encoded as in a form, where a space is a plus, or as in a path (Amazon S3 API reference,
/// `ListObjectsV2`, `encoding-type`).
fn decoded(key: &str) -> Option<String> {
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
}

/// Ends the body of an answer that is longer than any may be.
#[derive(Debug)]
struct Bounded;

impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let body = response.take_body();
        *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, MAX_ANSWER_BYTES));
        Ok(())
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", limit.as_secs_f32());
        Err(BackendError::new(BackendErrorKind::Timeout, Certainty::Unknown, message))
    })
}

fn entry(object: aws_sdk_s3::types::Object) -> Option<ListEntry> {
    Some(ListEntry {
        size: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        etag: object.e_tag.as_deref().map(Etag::new),
        last_modified: object.last_modified.and_then(|time| SystemTime::try_from(time).ok()),
        key: object.key?,
    })
}

/// The SDK has a method per header. One that it does not know must not vanish silently.
fn with_header(
    copy: CopyObjectFluentBuilder,
    name: &HeaderName,
    value: &HeaderValue,
) -> Result<CopyObjectFluentBuilder, BackendError> {
    let refused = |why: String| BackendError::new(BackendErrorKind::Rejected, Certainty::NotSent, why);
    let text = value.to_str().map_err(|_| refused(format!("header {name} is not ASCII")))?;
    if let Some(metadata) = name.as_str().strip_prefix("x-amz-meta-") {
        return Ok(copy.metadata(metadata, text));
    }
    Ok(match name.as_str() {
        "content-type" => copy.content_type(text),
        "content-encoding" => copy.content_encoding(text),
        "content-disposition" => copy.content_disposition(text),
        "content-language" => copy.content_language(text),
        "cache-control" => copy.cache_control(text),
        "expires" => {
            use aws_smithy_types::date_time::{DateTime, Format};
            let date = DateTime::from_str(text, Format::HttpDate);
            copy.expires(date.map_err(|_| refused("the Expires header is no HTTP date".to_owned()))?)
        }
        // A body's checksum: a copy has no body.
        "content-md5" => copy,
        other => return Err(refused(format!("a copy cannot set header {other}"))),
    })
}
