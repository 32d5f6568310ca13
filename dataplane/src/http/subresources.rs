//! S3's sub-resources, and which of them a method has: asked before `s3s` routes a request.
//!
//! Why: `s3s` passes over a sub-resource that the method does not have, and takes `DELETE /bucket/key?acl` for the end of
//! the object and `PUT /bucket/key?uploads` for a new one. S3 refuses both (S3 API reference, "Error responses":
//! `MethodNotAllowed`).
//!
//! Invariant: a request that names a sub-resource reaches no operation but one that is of a sub-resource by that method.

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request};
use s3s::path::S3Path;
use s3s::{S3Error, s3_error};

use super::request::{host, s3_path};
use crate::access::parameters;
use crate::host::Domains;
use crate::pipeline::faults::invalid_argument;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Service,
    Bucket,
    Object,
}

/// The operations of the S3 API reference: of what, by which method, and the sub-resources that name them. An empty one is
/// the operation without any. Those that this release lacks are in here too: they say so by themselves.
static OPERATIONS: [(Level, &str, &[&str]); 11] = [
    (Level::Service, "GET", &[""]),
    (
        Level::Bucket,
        "GET",
        &[
            "",
            "abac",
            "accelerate",
            "acl",
            "analytics",
            "cors",
            "encryption",
            "intelligent-tiering",
            "inventory",
            "lifecycle",
            "location",
            "logging",
            "metadataConfiguration",
            "metadataTable",
            "metrics",
            "notification",
            "object-lock",
            "ownershipControls",
            "policy",
            "policyStatus",
            "publicAccessBlock",
            "replication",
            "requestPayment",
            "session",
            "tagging",
            "uploads",
            "versioning",
            "versions",
            "website",
        ],
    ),
    (Level::Bucket, "HEAD", &[""]),
    (
        Level::Bucket,
        "PUT",
        &[
            "",
            "abac",
            "accelerate",
            "acl",
            "analytics",
            "cors",
            "encryption",
            "intelligent-tiering",
            "inventory",
            "lifecycle",
            "logging",
            "metadataAnnotationTable",
            "metadataInventoryTable",
            "metadataJournalTable",
            "metrics",
            "notification",
            "object-lock",
            "ownershipControls",
            "policy",
            "publicAccessBlock",
            "replication",
            "requestPayment",
            "tagging",
            "versioning",
            "website",
        ],
    ),
    // Without one it is a form, and those are known by their type.
    (Level::Bucket, "POST", &["delete", "metadataConfiguration", "metadataTable"]),
    (
        Level::Bucket,
        "DELETE",
        &[
            "",
            "analytics",
            "cors",
            "encryption",
            "intelligent-tiering",
            "inventory",
            "lifecycle",
            "metadataConfiguration",
            "metadataTable",
            "metrics",
            "ownershipControls",
            "policy",
            "publicAccessBlock",
            "replication",
            "tagging",
            "website",
        ],
    ),
    (
        Level::Object,
        "GET",
        &[
            "",
            "acl",
            "annotation",
            "attributes",
            "legal-hold",
            "partNumber",
            "retention",
            "tagging",
            "torrent",
            "uploadId",
        ],
    ),
    (Level::Object, "HEAD", &["", "partNumber"]),
    // A part has both its number and its upload.
    (
        Level::Object,
        "PUT",
        &[
            "",
            "acl",
            "annotation",
            "encryption",
            "legal-hold",
            "partNumber",
            "renameObject",
            "retention",
            "tagging",
        ],
    ),
    (Level::Object, "POST", &["restore", "select", "uploadId", "uploads"]),
    (Level::Object, "DELETE", &["", "annotation", "tagging", "uploadId"]),
];

/// Names one of an object's versions, and no operation.
const VERSION: &str = "versionId";
/// What a PUT may change of a version.
const OF_VERSIONS: [&str; 6] = ["acl", "annotation", "encryption", "legal-hold", "retention", "tagging"];

/// Why S3 refuses what method and query say together. `None`: there is such an operation, or the path is none, which `s3s`
/// says itself.
pub(super) fn refusal<B>(request: &Request<B>, domains: &Domains) -> Option<S3Error> {
    // A preflight asks for an operation, and is none.
    if request.method() == Method::OPTIONS {
        return None;
    }
    let level = level(request, domains)?;
    let named: Vec<_> =
        parameters(request.uri().query()).filter_map(|(name, _)| sub_resource(&name)).collect();
    refused(level, request.method().as_str(), &named)
}

fn level<B>(request: &Request<B>, domains: &Domains) -> Option<Level> {
    let host = host(request).unwrap_or_default();
    Some(match s3_path(host, request.uri(), domains)? {
        S3Path::Root => Level::Service,
        S3Path::Bucket { .. } => Level::Bucket,
        S3Path::Object { .. } => Level::Object,
    })
}

/// The sub-resource of that name. Whatever else a query has is a parameter, and S3 passes over those that it does not know.
fn sub_resource(name: &str) -> Option<&'static str> {
    let all = OPERATIONS.iter().flat_map(|(_, _, names)| names.iter().copied()).chain([VERSION]);
    all.filter(|known| !known.is_empty()).find(|known| *known == name)
}

fn refused(level: Level, method: &str, named: &[&str]) -> Option<S3Error> {
    let has = |name: &str| named.contains(&name);
    let Some(operations) = operations(level, method) else { return Some(not_allowed(level, "")) };
    let is_put = level == Level::Object && method == "PUT";
    let takes_version = match level {
        Level::Service | Level::Bucket => false,
        Level::Object => !is_put || OF_VERSIONS.into_iter().any(has),
    };
    if has(VERSION) && !takes_version {
        return Some(invalid_argument("This operation does not accept a version-id."));
    }
    if is_put && has("partNumber") && !has("uploadId") {
        return Some(invalid_argument("This operation does not accept partNumber without uploadId"));
    }
    let is_part = is_put && has("partNumber");
    let mut selecting =
        named.iter().copied().filter(|name| *name != VERSION && !(is_part && *name == "uploadId")).peekable();
    if selecting.peek().is_none() && !operations.contains(&"") {
        return Some(without_any(level));
    }
    selecting.find(|name| !operations.contains(name)).map(|name| not_allowed(level, name))
}

fn operations(level: Level, method: &str) -> Option<&'static [&'static str]> {
    let found = OPERATIONS.iter().find(|(of, by, _)| *of == level && *by == method);
    found.map(|(_, _, names)| *names)
}

/// A POST, of which there is none without a sub-resource.
fn without_any(level: Level) -> S3Error {
    if level == Level::Bucket {
        return s3_error!(
            PreconditionFailed,
            "Bucket POST must be of the enclosure-type multipart/form-data"
        );
    }
    not_allowed(level, "")
}

/// With the methods that there are instead (RFC 9110, 15.5.6).
fn not_allowed(level: Level, name: &str) -> S3Error {
    let others = OPERATIONS.iter().filter(|(of, _, names)| *of == level && names.contains(&name));
    let methods: Vec<_> = others.map(|(_, method, _)| *method).collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(methods) = HeaderValue::try_from(methods.join(", ")) {
        headers.insert(ALLOW, methods);
    }
    let mut error = s3_error!(MethodNotAllowed);
    error.set_headers(headers);
    error
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The code of the refusal, if there is one.
    pub(in crate::http) fn code(method: &str, uri: &str) -> Option<String> {
        let mut request = Request::new(());
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = uri.parse().expect("a URI");
        let refusal = refusal(&request, &Domains::new(&["s3.test".to_owned()]));
        refusal.map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn what_the_method_has_passes() {
        for (method, uri) in [
            ("GET", "/?x-id=ListBuckets&max-buckets=2"),
            ("GET", "/photos?list-type=2&prefix=acl&delimiter=/&encoding-type=url"),
            ("GET", "/photos/?location"),
            ("GET", "/photos?versions&key-marker=a&version-id-marker=b"),
            ("GET", "/photos?uploads=&max-uploads=1"),
            ("GET", "/photos?policyStatus"),
            ("GET", "/photos?analytics&id=1"),
            ("GET", "/photos?events=s3:ObjectCreated:*"),
            ("HEAD", "/photos"),
            ("PUT", "/photos"),
            ("PUT", "/photos?object-lock"),
            ("POST", "/photos?delete="),
            ("DELETE", "/photos?lifecycle"),
            ("DELETE", "/photos?cb=123"),
            ("GET", "/photos/k?versionId=null&partNumber=1&response-content-type=a"),
            ("GET", "/photos/k?X-Amz-Signature=0&X-Amz-SignedHeaders=host&x-id=GetObject"),
            ("GET", "/photos/k?uploadId=a&part-number-marker=1"),
            ("GET", "/photos/k?attributes&versionId=a"),
            ("HEAD", "/photos/k?versionId=a&partNumber=2"),
            ("PUT", "/photos/k?x-id=PutObject"),
            ("PUT", "/photos/k?partNumber=1&uploadId=a&x-id=UploadPart"),
            ("PUT", "/photos/k?tagging&versionId=a"),
            ("PUT", "/photos/k?renameObject"),
            ("POST", "/photos/k?uploads"),
            ("POST", "/photos/k?uploadId=a"),
            ("POST", "/photos/k?restore&versionId=a"),
            ("POST", "/photos/k?select&select-type=2"),
            ("DELETE", "/photos/k"),
            ("DELETE", "/photos/k?versionId=a&x-id=DeleteObject"),
            ("DELETE", "/photos/k?uploadId=a"),
            ("DELETE", "/photos/k?tagging&versionId=a"),
            ("OPTIONS", "/photos/k?acl"),
            ("DELETE", "/Bad_Bucket/k?acl"),
        ] {
            assert_eq!(code(method, uri), None, "{method} {uri}");
        }
    }

    #[test]
    fn what_it_does_not_have_is_refused() {
        for (method, uri) in [
            ("DELETE", "/photos/k?acl"),
            ("DELETE", "/photos/k?legal-hold="),
            ("DELETE", "/photos/k?retention&versionId=a"),
            ("DELETE", "/photos/k?x=y&%61cl"),
            ("DELETE", "/photos/k?partNumber=1&uploadId=a"),
            ("DELETE", "/photos/k?select&select-type=2"),
            ("DELETE", "/photos/k?tagging&acl"),
            ("DELETE", "/photos?versioning"),
            ("DELETE", "/photos/?acl"),
            ("DELETE", "/photos%2F?acl"),
            ("DELETE", "/photos?uploadId=a"),
            ("PUT", "/photos/k?attributes"),
            ("PUT", "/photos/k?uploads"),
            ("PUT", "/photos/k?uploadId=a"),
            ("PUT", "/photos/k?restore"),
            ("PUT", "/photos?policyStatus"),
            ("GET", "/photos?delete"),
            ("GET", "/photos/k?uploads"),
            ("HEAD", "/photos/k?acl"),
            ("POST", "/photos/k"),
            ("POST", "/photos/k?versionId=a"),
            ("POST", "/photos?acl"),
            ("PATCH", "/photos/k"),
            ("PUT", "/"),
            ("POST", "/"),
            ("DELETE", "/"),
            ("HEAD", "/"),
            ("GET", "/?acl"),
            ("DELETE", "http://photos.s3.test/?acl"),
            ("DELETE", "http://photos.s3.test/k?acl"),
        ] {
            assert_eq!(code(method, uri).as_deref(), Some("MethodNotAllowed"), "{method} {uri}");
        }
    }

    #[test]
    fn what_s3_says_otherwise() {
        for uri in ["/photos/k?versionId=a", "/photos/k?versionId=null&partNumber=1&uploadId=a"] {
            assert_eq!(code("PUT", uri).as_deref(), Some("InvalidArgument"), "{uri}");
        }
        assert_eq!(code("PUT", "/photos/k?partNumber=1").as_deref(), Some("InvalidArgument"));
        assert_eq!(code("DELETE", "/photos?versionId=a").as_deref(), Some("InvalidArgument"));
        assert_eq!(code("POST", "/photos").as_deref(), Some("PreconditionFailed"));
    }

    #[test]
    fn the_other_methods_are_named() {
        let allowed = |level, method, named: &[&str]| {
            let error = refused(level, method, named).expect("refused");
            error.headers().expect("headers")[ALLOW].clone()
        };
        assert_eq!(allowed(Level::Object, "DELETE", &["acl"]), "GET, PUT");
        assert_eq!(allowed(Level::Object, "PUT", &["uploadId"]), "GET, POST, DELETE");
        assert_eq!(allowed(Level::Object, "PATCH", &[]), "GET, HEAD, PUT, DELETE");
        assert_eq!(allowed(Level::Object, "GET", &["policy"]), "");
    }
}
