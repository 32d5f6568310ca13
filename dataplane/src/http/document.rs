//! Bodies that are documents. `s3s` compares nothing of them but the signature, and reads not all of XML.

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request};
use http_body::Body as _;
use s3o_blob::{Expected, Guard};
use s3s::path::S3Path;
use s3s::{Body, S3Result, TrailingHeaders, s3_error};

use super::request::{host, s3_path};
use super::xml;
use crate::access::parameters;
use crate::host::Domains;
use crate::ops::{post_object, upload};
use crate::pipeline::faults;

/// A document's size at most: DeleteObjects with 1,000 keys of 1,024 escaped characters, or 10,000 parts with all
/// checksums.
pub(crate) const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Sub-resources of an object that are put as a document.
const OF_OBJECTS: [&str; 4] = ["acl", "legal-hold", "retention", "tagging"];
/// That of a bucket which is JSON.
const POLICY: [&str; 1] = ["policy"];

/// A document as it was said anew. In the request's extensions.
#[derive(Clone)]
pub(crate) struct Document(pub Bytes);

/// Whether a request brings one: what is posted or put is one, but for the bytes of an object or a part.
pub(super) fn is_one(request: &Request<Body>, domains: &Domains) -> bool {
    if request.body().is_end_stream() || size(request) == Some(0) {
        return false;
    }
    match *request.method() {
        // What comes with a CreateMultipartUpload, were it nothing in chunks, is read by nobody.
        Method::POST => !post_object::is_form(request, domains) && !names_one(request, &["uploads"]),
        Method::PUT => match s3_path(host(request).unwrap_or_default(), request.uri(), domains) {
            Some(S3Path::Bucket { .. }) => !names_one(request, &POLICY),
            Some(S3Path::Object { .. }) => names_one(request, &OF_OBJECTS),
            Some(S3Path::Root) | None => false,
        },
        _ => false,
    }
}

fn names_one<B>(request: &Request<B>, sub_resources: &[&str]) -> bool {
    parameters(request.uri().query()).any(|(name, _)| sub_resources.contains(&&*name))
}

/// Whether the checksums of the headers are those of an object, and not of the document that comes.
fn is_completion<B>(request: &Request<B>) -> bool {
    names_one(request, &["uploadId"])
}

/// Reads it, compares it with what the client said of it, and puts it anew in its place.
pub(super) async fn restate(request: &mut Request<Body>, trailing: Option<TrailingHeaders>) -> S3Result<()> {
    let mut came = std::mem::take(request.body_mut());
    let Some(size) = size(request) else {
        // Without its length there may be none.
        return match came.try_next().await {
            Ok(None) => Ok(()),
            _ => Err(s3_error!(MissingContentLength)),
        };
    };
    if size > MAX_BYTES as u64 {
        return Err(s3_error!(MaxMessageLengthExceeded));
    }
    let expected = if is_completion(request) {
        Expected { md5: upload::content_md5(request.headers())?, ..Expected::of_size(size) }
    } else {
        upload::expected(request.headers(), size, trailing)?
    };
    let (guard, verdict) = Guard::new(came, expected);
    let read: Result<Vec<Bytes>, _> = guard.try_collect().await;
    if let Some(fault) = verdict.fault() {
        return Err(faults::of_body(fault));
    }
    let read = read.map_err(|_| s3_error!(IncompleteBody))?.concat();
    if read.is_empty() {
        return Ok(());
    }
    let anew = Bytes::from(xml::plain(&read).map_err(|_| s3_error!(MalformedXML))?);
    request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(anew.len()));
    request.extensions_mut().insert(Document(anew.clone()));
    *request.body_mut() = Body::from(anew);
    Ok(())
}

/// Its bytes, as the client says; of one that comes in chunks those within them.
fn size<B>(request: &Request<B>) -> Option<u64> {
    let said = |name: &str| request.headers().get(name)?.to_str().ok()?.parse().ok();
    said("x-amz-decoded-content-length").or_else(|| said(CONTENT_LENGTH.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, uri: &str) -> Request<Body> {
        let body = Body::from("<A/>".to_owned());
        Request::builder().method(method).uri(uri).header("host", "h").body(body).expect("a request")
    }

    #[test]
    fn documents() {
        let is = |method: Method, uri: &str| is_one(&request(method, uri), &Domains::new(&[]));
        for uri in ["/photos?delete", "/photos/k?uploadId=1", "/photos/k?restore"] {
            assert!(is(Method::POST, uri), "{uri}");
        }
        for uri in [
            "/photos",
            "/photos/",
            "/photos%2F?cors",
            "/photos?versioning",
            "/photos?x=1&acl=",
            "/photos/k?tagging",
            "/photos/k?versionId=1&retention",
        ] {
            assert!(is(Method::PUT, uri), "{uri}");
        }
        for uri in [
            "/photos/tagging",
            "/photos/k?x=acl",
            "/photos/k?object-lock",
            "/photos/k?partNumber=1&uploadId=2",
            "/photos?policy",
        ] {
            assert!(!is(Method::PUT, uri), "{uri}");
        }
        assert!(!is(Method::GET, "/photos?acl") && !is(Method::POST, "/photos/k?uploads"));
        let empty = request(Method::POST, "/photos/k?uploads").map(|_| Body::empty());
        assert!(!is_one(&empty, &Domains::new(&[])));
    }

    async fn restated(uri: &str, headers: &[(&'static str, &str)], document: &str) -> Result<String, String> {
        let mut request = request(Method::POST, uri).map(|_| Body::from(document.to_owned()));
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::try_from(*value).expect("a value"));
        }
        let done = restate(&mut request, None).await;
        done.map_err(|error| error.code().as_str().to_owned())?;
        let anew = request.body().bytes().expect("whole");
        assert_eq!(request.headers()[CONTENT_LENGTH], anew.len().to_string());
        Ok(String::from_utf8_lossy(&anew).into_owned())
    }

    #[tokio::test]
    async fn what_was_said_of_it_holds() {
        let document = "<A><![CDATA[&]]></A>";
        let anew = Ok("<A>&amp;</A>".to_owned());
        assert_eq!(restated("/photos?delete", &[], document).await, anew);
        let good = [("content-md5", "fed5FdMHd5iOf1H3g8uf0A==")];
        let of = async |name: &'static str, value: &str| {
            restated("/photos?delete", &[(name, value)], document).await
        };
        assert_eq!(of("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==").await, Err("BadDigest".to_owned()));
        assert_eq!(of("x-amz-checksum-crc32", "AAAAAA==").await, Err("BadDigest".to_owned()));
        assert_eq!(of("x-amz-checksum-crc32", "x").await, Err("InvalidRequest".to_owned()));
        assert_eq!(
            restated("/photos/k?uploadId=1", &[("x-amz-checksum-crc32", "AAAAAA==")], document).await,
            anew,
            "it is the object's"
        );
        assert_eq!(
            restated("/photos?delete", &good, "<A>").await,
            Err("BadDigest".to_owned()),
            "before it is read"
        );
        assert_eq!(restated("/photos?delete", &[], "<A>").await, Err("MalformedXML".to_owned()));
        assert_eq!(
            restated("/photos?delete", &[("content-length", "8388609")], document).await,
            Err("MaxMessageLengthExceeded".to_owned())
        );
        assert_eq!(
            restated("/photos?delete", &[("content-length", "50")], document).await,
            Err("IncompleteBody".to_owned())
        );
    }
}
