//! POST Object: an upload by a browser's form, signed by its policy. The same write as PutObject, with its attributes in
//! fields.
//!
//! A form's file has no length of its own. Where there is room in the pool for small bodies it is read first, whatever
//! comes behind it; a larger one must be the last thing in the form, as S3 wants it, and then its length is known.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3o_types::storage_key::MAX_KEY_BYTES;
use s3s::dto::{
    Metadata, ObjectCannedACL, ObjectLockLegalHoldStatus, ObjectLockMode, PutObjectInput, PutObjectOutput,
    ServerSideEncryption, StorageClass, Tagging, Timestamp, TimestampFormat,
};
use s3s::xml::{Deserialize as _, Deserializer};
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};

use super::elements::Elements;
use super::{document, put_object, tags};
use crate::access::{Tenant, writable};
use crate::form::{FilePart, Form, boundary};
use crate::host::Domains;
use crate::http::request::{RequestInfo, host};
use crate::http::xml;
use crate::pipeline::body::ByteStream;
use crate::pipeline::faults::invalid_argument;
use crate::plane::Plane;

/// What stands as it is in a URL's path.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
/// And in its query.
const IN_QUERY: &AsciiSet = &IN_PATH.add(b'/');

const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// Whether a request is an upload by form: to a bucket, with nothing signed but the form.
pub(crate) fn is_form<B>(request: &Request<B>, domains: &Domains) -> bool {
    request.method() == Method::POST
        && boundary(request.headers()).is_some()
        && !request.headers().contains_key(http::header::AUTHORIZATION)
        && request.uri().query().is_none_or(str::is_empty)
        && bucket(request, domains).is_some()
}

/// The bucket, where a request names no key.
fn bucket<B>(request: &Request<B>, domains: &Domains) -> Option<String> {
    let path = request.uri().path();
    let path = path.strip_prefix('/').unwrap_or(path);
    if let Some(bucket) = host(request).and_then(|host| domains.bucket(host)) {
        return path.is_empty().then_some(bucket);
    }
    let name = path.strip_suffix('/').unwrap_or(path);
    let name = percent_encoding::percent_decode_str(name).decode_utf8().ok()?;
    (!name.is_empty() && !name.contains('/')).then(|| name.into_owned())
}

/// Answers when the object counts.
pub(crate) async fn answer(
    plane: &Arc<Plane>,
    request: Request<Body>,
    domains: &Domains,
) -> S3Result<Response<Body>> {
    let (Some(named), Some(boundary)) = (bucket(&request, domains), boundary(request.headers())) else {
        return Err(s3_error!(MethodNotAllowed));
    };
    let base = base_url(plane, &request, domains, &named);
    let (head, body) = request.into_parts();
    let length = head.headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length =
        length.and_then(|length| length.parse().ok()).ok_or_else(|| s3_error!(MissingContentLength))?;
    let form = Form::read(body, &boundary, length).await?;
    let allowed = form.check(&named, plane.config.s3.region.as_deref(), |access_key| {
        let snapshot = plane.snapshot.load();
        let key = snapshot.keys.get(access_key).ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        Ok(key.secret.expose().to_owned())
    })?;
    let Form { mut fields, file } = form;
    let key = fields.remove("key").filter(|key| !key.is_empty()).ok_or_else(|| {
        invalid_argument(
            "Bucket POST must contain a field named 'key'. If it is specified, please check the order of the fields.",
        )
    })?;
    // `s3s` looks at the keys of paths only.
    if key.len() > MAX_KEY_BYTES {
        return Err(s3_error!(KeyTooLongError));
    }
    let info = head.extensions.get::<Arc<RequestInfo>>();
    if let Some(info) = info {
        info.note("PostObject", &allowed.access_key, Some(&named));
    }
    let caller = plane.caller_for(info.map(AsRef::as_ref), &allowed.access_key);
    plane.refuse_degraded("PostObject")?;
    let bucket = writable(plane, &caller, &named, &key).await?;
    let (size, file) = measured(plane, file).await?;
    allowed.check_size(size)?;
    let success = Success::of(&mut fields);
    let (input, headers) = input(fields, &named, &key, size)?;
    let mut extensions = head.extensions;
    extensions.insert(Tenant { access_key: allowed.access_key, bucket: Some(bucket) });
    let put = S3Request {
        input,
        method: head.method,
        uri: head.uri,
        headers,
        extensions,
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    };
    let stored = put_object::store(plane, put, file).await?;
    Ok(success.respond(&base, &named, &key, stored))
}

/// The file and its length.
async fn measured(plane: &Plane, file: FilePart) -> S3Result<(u64, ByteStream)> {
    let size = file.size;
    let Some(room) = plane.replay.reserve(file.at_most) else { return Ok((size, Box::pin(file.stream()))) };
    let chunks: Vec<Bytes> = file.stream().try_collect().await.map_err(|_| s3_error!(IncompleteBody))?;
    let size = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    let chunks = futures::stream::iter(chunks.into_iter().map(Ok));
    // The room is given back with the last chunk.
    let held = futures::stream::unfold((chunks, room), |(mut chunks, room)| async move {
        let chunk = futures::StreamExt::next(&mut chunks).await?;
        Some((chunk, (chunks, room)))
    });
    Ok((size, Box::pin(held)))
}

/// What PutObject would have been told. A field that nobody knows has no meaning; the policy names it.
fn input(
    fields: std::collections::BTreeMap<String, String>,
    bucket: &str,
    key: &str,
    size: u64,
) -> S3Result<(PutObjectInput, HeaderMap)> {
    let mut input = PutObjectInput::builder();
    let (mut headers, mut metadata) = (HeaderMap::new(), Metadata::default());
    input.set_bucket(bucket.to_owned()).set_key(key.to_owned());
    input.set_content_length(i64::try_from(size).ok());
    for (name, value) in fields {
        if let Some(name) = name.strip_prefix("x-amz-meta-") {
            metadata.insert(name.to_owned(), value);
            continue;
        }
        if name != "tagging" && value.chars().any(char::is_control) {
            return Err(invalid_argument("A field has a control character, which no header can have"));
        }
        match name.as_str() {
            "acl" => input.set_acl(Some(ObjectCannedACL::from(value))),
            "cache-control" => input.set_cache_control(Some(value)),
            "content-disposition" => input.set_content_disposition(Some(value)),
            "content-encoding" => input.set_content_encoding(Some(value)),
            "content-type" => input.set_content_type(Some(value)),
            "expires" => input.set_expires(Some(value)),
            "tagging" => input.set_tagging(Some(tagging(&value)?)),
            "x-amz-storage-class" => input.set_storage_class(Some(StorageClass::from(value))),
            "x-amz-website-redirect-location" => input.set_website_redirect_location(Some(value)),
            "x-amz-object-lock-mode" => input.set_object_lock_mode(Some(ObjectLockMode::from(value))),
            "x-amz-object-lock-legal-hold" => {
                input.set_object_lock_legal_hold_status(Some(ObjectLockLegalHoldStatus::from(value)))
            }
            "x-amz-object-lock-retain-until-date" => {
                let date = Timestamp::parse(TimestampFormat::DateTime, &value);
                let date = date.map_err(|_| {
                    invalid_argument("The retain until date must be provided in ISO 8601 format")
                })?;
                input.set_object_lock_retain_until_date(Some(date))
            }
            "x-amz-server-side-encryption" => {
                input.set_server_side_encryption(Some(ServerSideEncryption::from(value)))
            }
            "x-amz-server-side-encryption-customer-key" => input.set_sse_customer_key(Some(value)),
            name if name == "content-md5" || name.starts_with("x-amz-checksum-") => {
                let name =
                    HeaderName::try_from(name).map_err(|_| invalid_argument("A field's name is wrong"))?;
                let value = HeaderValue::try_from(value);
                headers.insert(name, value.map_err(|_| invalid_argument("A checksum is wrong"))?);
                &mut input
            }
            _ => &mut input,
        };
    }
    if !metadata.is_empty() {
        input.set_metadata(Some(metadata));
    }
    let input = input.build().map_err(|_| s3_error!(InternalError))?;
    Ok((input, headers))
}

/// The document of the field, as PutObject's header would have it.
fn tagging(document: &str) -> S3Result<String> {
    let document = xml::plain(document.as_bytes()).map_err(|_| s3_error!(MalformedXML))?;
    document::elements(document.as_bytes(), &tags::ELEMENTS)?;
    let mut reader = Deserializer::new(document.as_bytes());
    let parsed = Tagging::deserialize(&mut reader).and_then(|parsed| reader.expect_eof().map(|()| parsed));
    let set = parsed.map_err(|_| s3_error!(MalformedXML))?.tag_set;
    let encoded = |text: &str| utf8_percent_encode(text, IN_QUERY).to_string();
    let pairs = tags::of_document(set)?
        .into_iter()
        .map(|(key, value)| format!("{}={}", encoded(&key), encoded(&value)));
    Ok(pairs.collect::<Vec<_>>().join("&"))
}

/// What the client wants to hear.
#[derive(Debug, PartialEq, Eq)]
struct Success {
    redirect: Option<String>,
    status: StatusCode,
}

impl Success {
    fn of(fields: &mut std::collections::BTreeMap<String, String>) -> Self {
        let redirect = fields.remove("success_action_redirect").or_else(|| fields.remove("redirect"));
        let status = match fields.remove("success_action_status").as_deref() {
            Some("200") => StatusCode::OK,
            Some("201") => StatusCode::CREATED,
            _ => StatusCode::NO_CONTENT,
        };
        // One that is no URL is as good as none.
        Self { redirect: redirect.filter(|url| is_url(url)), status }
    }

    fn respond(
        self,
        base: &str,
        bucket: &str,
        key: &str,
        stored: S3Response<PutObjectOutput>,
    ) -> Response<Body> {
        let etag =
            stored.output.e_tag.as_ref().map(|etag| format!("\"{}\"", etag.value())).unwrap_or_default();
        let location = format!("{base}/{}", utf8_percent_encode(key, IN_PATH));
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = stored.headers;
        *response.status_mut() = self.status;
        let mut target = location.clone();
        if let Some(url) = self.redirect {
            let joint = if url.contains('?') { '&' } else { '?' };
            let encoded = |text: &str| utf8_percent_encode(text, IN_QUERY).to_string();
            let (bucket, key, etag) = (encoded(bucket), encoded(key), encoded(&etag));
            target = format!("{url}{joint}bucket={bucket}&key={key}&etag={etag}");
            *response.status_mut() = StatusCode::SEE_OTHER;
        } else if self.status == StatusCode::CREATED {
            let texts = [("Location", &*location), ("Bucket", bucket), ("Key", key), ("ETag", &*etag)];
            let mut xml = Elements::default();
            xml.element("PostResponse", |xml| texts.iter().for_each(|(name, text)| xml.text(name, text)));
            // No line feed between them: as a control character it would become a reference, where XML has none.
            let xml = ["<?xml version=\"1.0\" encoding=\"UTF-8\"?>", xml.as_str()].concat();
            *response.body_mut() = Body::from(xml);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        }
        let version = stored.output.version_id.map(|version| (VERSION_ID, version));
        for (name, value) in [(LOCATION, target), (ETAG, etag)].into_iter().chain(version) {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

fn is_url(text: &str) -> bool {
    let uri = text.parse::<Uri>().ok();
    uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

/// The bucket's URL, as the client has it.
fn base_url(plane: &Plane, request: &Request<Body>, domains: &Domains, bucket: &str) -> String {
    let scheme = if plane.config.s3.tls.is_some() { "https" } else { "http" };
    let host = host(request).unwrap_or_default();
    match domains.bucket(host) {
        Some(_) => format!("{scheme}://{host}"),
        None => format!("{scheme}://{host}/{bucket}"),
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn success(pairs: &[(&str, &str)]) -> Success {
        let mut fields =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Success::of(&mut fields)
    }

    fn stored() -> S3Response<PutObjectOutput> {
        let e_tag = Some(s3s::dto::ETag::Strong("e".to_owned()));
        let version_id = Some("v1".to_owned());
        S3Response::new(PutObjectOutput { e_tag, version_id, ..Default::default() })
    }

    #[test]
    fn answers() {
        let respond = |success: Success| success.respond("http://h/b", "b", "a b&c", stored());
        let plain = respond(success(&[("success_action_status", "404")]));
        assert_eq!(plain.status(), 204);
        assert_eq!(plain.headers()[LOCATION], "http://h/b/a%20b%26c");
        assert_eq!(plain.headers()[ETAG], "\"e\"");
        assert_eq!(plain.headers()[VERSION_ID], "v1");
        let created = respond(success(&[("success_action_status", "201")]));
        let body = created.body().bytes().expect("whole");
        assert_eq!(created.status(), 201);
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("?><PostResponse>") && !body.contains(char::is_control), "{body}");
        assert!(body.contains("<Key>a b&amp;c</Key><ETag>&quot;e&quot;</ETag>"));
        let away = respond(success(&[("redirect", "https://x/?y=1"), ("success_action_status", "201")]));
        assert_eq!(away.status(), 303);
        assert_eq!(away.headers()[LOCATION], "https://x/?y=1&bucket=b&key=a%20b%26c&etag=%22e%22");
        assert_eq!(success(&[("success_action_redirect", "javascript:x")]).redirect, None);
    }

    #[test]
    fn fields_become_a_put() {
        let pairs = [
            ("content-type", "text/plain"),
            ("x-amz-meta-a", "1"),
            ("x-ignore-b", "2"),
            ("x-amz-checksum-crc32", "AAAAAA=="),
            ("x-amz-object-lock-legal-hold", "ON"),
            (
                "tagging",
                "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&#43;2</Value></Tag></TagSet></Tagging>",
            ),
        ];
        let fields = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (input, headers) = input(fields, "b", "k", 7).expect("good");
        assert_eq!((input.content_length, input.content_type.as_deref()), (Some(7), Some("text/plain")));
        assert_eq!(input.metadata.expect("some")["a"], "1");
        assert_eq!(input.tagging.as_deref(), Some("a%20b=1%2B2"));
        assert_eq!(headers["x-amz-checksum-crc32"], "AAAAAA==");
        let hold = input.object_lock_legal_hold_status.as_ref().map(ObjectLockLegalHoldStatus::as_str);
        assert_eq!(hold, Some("ON"));
        let section =
            "<Tagging><TagSet><Tag><Key>a</Key><Value><![CDATA[b]]></Value></Tag></TagSet></Tagging>";
        assert_eq!(tagging(section).expect("a document"), "a=b");
        assert_eq!(tagging("<Tagging>").expect_err("cut").code().as_str(), "MalformedXML");
    }

    #[test]
    fn only_to_a_bucket() {
        let domains = Domains::new(&["s3.test".to_owned()]);
        let of = |host: &str, path: &str| {
            let request = Request::builder().uri(path).header("host", host).body(()).expect("a request");
            bucket(&request, &domains)
        };
        assert_eq!(of("h", "/b").as_deref(), Some("b"));
        assert_eq!(of("h", "/b/").as_deref(), Some("b"));
        assert_eq!(of("b.s3.test", "/").as_deref(), Some("b"));
        for (host, path) in [("h", "/"), ("h", "/b/k"), ("b.s3.test", "/k"), ("h", "//")] {
            assert_eq!(of(host, path), None, "{host} {path}");
        }
    }
}
