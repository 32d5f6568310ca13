//! Headers and documents that are read before `s3s` reads them, and headers by which a request is let in.

use std::net::SocketAddr;

use http::header::{AUTHORIZATION, HOST, IF_MODIFIED_SINCE, ORIGIN, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use percent_encoding::percent_encode_byte;
use proptest::prelude::*;
use s3o_fuzz::{bytes, check, texts};
use s3s::Body;
use s3s::dto::{Range, Timestamp, TimestampFormat};
use s3s::xml::Deserializer;

use super::request::{RequestInfo, host};
use super::subresources::tests::code;
use super::{cors, settled, xml};
use crate::access::signs;
use crate::host::{Domains, is_domain};
use crate::snapshot::Snapshot;

fn with(method: Method, name: HeaderName, value: &str) -> Option<Request<Body>> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    request.headers_mut().insert(name, HeaderValue::try_from(value).ok()?);
    Some(request)
}

#[test]
fn range_headers() {
    let number = || prop_oneof![0..30_u64, any::<u64>()];
    let valid = (number(), number(), 0..4_u8).prop_map(|(first, last, form)| match form {
        0 => format!("bytes={first}-{last}"),
        1 => format!("Bytes= {first} - {last} "),
        2 => format!("bytes={first}-"),
        _ => format!("bytes=-{last}"),
    });
    check(&texts(valid, &["bytes", "=", "-", ",", " ", "\t", "+", "99999999999999999999", "é"]), |text| {
        let Some(mut request) = with(Method::GET, RANGE, &text) else { return Ok(()) };
        settled::settle(&mut request, &Domains::new(&[]));
        if let Some(settled) = request.headers().get(RANGE) {
            let settled = settled.to_str().unwrap_or_default().to_owned();
            prop_assert!(Range::parse(&settled).is_ok(), "S3 answers no range with 400: {settled}");
            // Once more changes nothing.
            settled::settle(&mut request, &Domains::new(&[]));
            prop_assert_eq!(request.headers()[RANGE].to_str().ok(), Some(settled.as_str()));
        }
        Ok(())
    });
}

#[test]
fn conditional_dates() {
    let valid = prop_oneof![
        "(Sun|Mon), [0-3]?[0-9] (Nov|Dec) [12][0-9]{3} [0-2][0-9]:[0-5][0-9]:[0-5][0-9] GMT",
        "(Sunday|Monday), [0-3][0-9]-(Nov|Dec)-[0-9]{2} [0-2][0-9]:[0-5][0-9]:[0-5][0-9] GMT",
        "(Sun|Mon) (Nov|Dec) [ 0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9] [12][0-9]{3}",
    ];
    check(&texts(valid, &["GMT", "Sun", ",", " ", "-", ":", "0", "é", "\t"]), |text| {
        let Some(mut request) = with(Method::GET, IF_MODIFIED_SINCE, &text) else { return Ok(()) };
        prop_assert!(settled::settle(&mut request, &Domains::new(&[])).is_none(), "nothing is signed");
        if let Some(date) = request.headers().get(IF_MODIFIED_SINCE) {
            let date = date.to_str().unwrap_or_default().to_owned();
            prop_assert!(Timestamp::parse(TimestampFormat::HttpDate, &date).is_ok(), "{date}");
            settled::settle(&mut request, &Domains::new(&[]));
            prop_assert_eq!(request.headers()[IF_MODIFIED_SINCE].to_str().ok(), Some(date.as_str()));
        }
        Ok(())
    });
}

/// The text that `s3s` finds in the root of a document, if it has nothing else.
fn text_of(document: &[u8]) -> Option<String> {
    Deserializer::new(document).element(|reader, _| reader.text(|text| Ok(text.to_owned()))).ok()
}

/// What XML is made of.
const XML: &[&str] = &[
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "&amp;",
    "&#x1;",
    "&x;",
    "<?",
    "?>",
    "<!DOCTYPE",
    "xmlns:s3='",
    " xmlns:s3='http://s3.amazonaws.com/doc/2006-03-01/'",
    " xmlns='http://s3.amazonaws.com/doc/2006-03-01/'",
    "s3:",
    ":",
    "/>",
    "<Key>",
    "</Key>",
    "\r\n",
    "\u{FEFF}",
];

#[test]
fn documents_anew() {
    const ROOTS: [(&str, &str); 2] =
        [("Key", " x='1'"), ("s3:Key", " xmlns:s3='http://s3.amazonaws.com/doc/2006-03-01/'")];
    let text = "[a-c &;<>\\]\\[!\u{1}\n]{0,8}";
    let valid = (text, text, "[a-c]{0,3}", prop::sample::select(&ROOTS));
    let valid = valid.prop_map(|(section, inner, plain, (root, attributes))| {
        let section = section.replace("]]>", "");
        let inner = inner.replace('&', "&amp;").replace('<', "&lt;");
        let start = format!("<?xml version=\"1.0\"?>\n<{root}{attributes}>");
        format!("{start}{plain}<![CDATA[{section}]]>{inner}</{root}>\n").into_bytes()
    });
    check(&bytes(valid, XML), |document| {
        let Ok(anew) = xml::plain(&document) else { return Ok(()) };
        let again = xml::plain(anew.as_bytes()).ok();
        prop_assert_eq!(again, Some(anew), "once more changes nothing");
        Ok(())
    });
}

#[test]
fn sections_of_documents() {
    let text = "[a-c &;<>'\"]{0,8}";
    check(&(text, text), |(before, section)| {
        let escaped = before.replace('&', "&amp;").replace('<', "&lt;");
        let section = section.replace("]]>", "");
        let document = format!("<Key>{escaped}<![CDATA[{section}]]></Key>");
        let anew = xml::plain(document.as_bytes()).map_err(|_| TestCaseError::fail("well-formed"))?;
        prop_assert_eq!(text_of(anew.as_bytes()), Some(format!("{before}{section}")));
        Ok(())
    });
}

#[test]
fn request_ids() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    check(&texts("[a-zA-Z0-9-]{1,20}|[a-z]{126,130}", &["\"", "<", "&", "\t", "é", "=", "/", ":"]), |text| {
        let mut headers = HeaderMap::new();
        let Ok(value) = HeaderValue::try_from(&text) else { return Ok(()) };
        headers.insert("x-request-id", value.clone());
        headers.insert("traceparent", value);
        let info = RequestInfo::new(&headers, address);
        prop_assert!((1..=128).contains(&info.id.len()));
        prop_assert!(!info.id.contains(['<', '>', '&', '"', '\'', ' ', '\n']), "it goes into XML and logs");
        prop_assert!(info.traceparent.is_empty() || info.traceparent == text);
        Ok(())
    });
}

#[test]
fn hosts() {
    let domains = ["s3.example.com", "example.com", "localhost"];
    let known = Domains::new(&domains.map(str::to_owned));
    let valid = "([a-z]{1,4}\\.){0,2}(s3\\.example\\.com|Example\\.Com|localhost|[a-z]{2}\\.org|\\[::1\\]|127\\.0\\.0\\.1)\\.?(:[0-9]{1,5})?";
    check(
        &texts(valid, &[".", "..", ":", "example.com", "localhost", "[", "]", "@", "é", "\0"]),
        move |text| {
            if let Some(bucket) = known.bucket(&text) {
                let lower = text.to_ascii_lowercase();
                prop_assert!(!bucket.is_empty() && lower.starts_with(&bucket));
                let named = |domain: &str| lower[bucket.len()..].starts_with(&format!(".{domain}"));
                prop_assert!(domains.iter().any(|domain| named(domain)), "{bucket:?}");
            }
            if let Some(request) = with(Method::GET, HOST, &text) {
                prop_assert!(host(&request).is_none_or(|host| host == text));
            }
            // What may be a domain has itself for no bucket.
            if is_domain(&text) {
                prop_assert_eq!(Domains::new(std::slice::from_ref(&text)).bucket(&text), None);
            }
            Ok(())
        },
    );
}

#[test]
fn signed_headers() {
    let list = "SignedHeaders=(host;)?(range;)?(x-amz-date)?(;Host)?";
    let header = (list, "[ ,]{1,2}").prop_map(|(list, joint)| {
        format!("AWS4-HMAC-SHA256 Credential=a/20260131/r/s3/aws4_request{joint}{list}{joint}Signature=00")
    });
    let query =
        "(a=b&)?X-Amz-SignedHeaders=(host|host%3Brange|range)(&X-Amz-SignedHeaders=host)?&X-Amz-Signature=00";
    let header = texts(header, &["SignedHeaders=", "host", ";", ",", " ", "range", "é"]);
    let query = texts(query, &["X-Amz-SignedHeaders=host", "X-Amz-Signature=", "&", "=", "%", "%3B", "%FF"]);
    check(&(prop::option::of(header), prop::option::of(query)), |(header, query)| {
        let mut headers = HeaderMap::new();
        if let Some(value) = header.as_deref().and_then(|header| HeaderValue::try_from(header).ok()) {
            headers.insert(AUTHORIZATION, value);
        }
        for name in ["host", "range"] {
            if signs(name, &headers, query.as_deref()) {
                let said = format!(
                    "{}{}",
                    header.as_deref().unwrap_or_default(),
                    query.as_deref().unwrap_or_default()
                );
                let said =
                    percent_encoding::percent_decode_str(&said).decode_utf8_lossy().to_ascii_lowercase();
                prop_assert!(said.contains("signedheaders") && said.contains(name), "{said}");
            }
        }
        Ok(())
    });
}

#[test]
fn preflights() {
    let values = || {
        texts(
            "https://[a-z]{1,4}\\.org|GET|x-[a-z]{1,4}(, ?x-[a-z]{1,4}){0,3}",
            &["*", ",", "null", "é", "\t"],
        )
    };
    let (domains, snapshot) = (Domains::new(&[]), Snapshot::default());
    check(&(values(), values(), values()), move |(origin, method, headers)| {
        let Some(mut request) = with(Method::OPTIONS, ORIGIN, &origin) else { return Ok(()) };
        let others = [("access-control-request-method", method), ("access-control-request-headers", headers)];
        for (name, value) in others {
            if let Ok(value) = HeaderValue::try_from(value) {
                request.headers_mut().insert(name, value);
            }
        }
        let answer = cors::preflight(&request, &domains, &snapshot);
        // There is no rule that could allow anything.
        let Some(answer) = answer else { return Err(TestCaseError::fail("no answer")) };
        prop_assert!(answer.status().is_client_error());
        prop_assert!(!answer.headers().contains_key("access-control-allow-origin"));
        Ok(())
    });
}

#[test]
fn sub_resources() {
    let methods = prop::sample::select(vec!["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"]);
    let paths = prop::sample::select(vec!["/", "/photos", "/photos/", "/photos/k", "/photos%2Facl"]);
    let known = ["acl", "attributes", "delete", "partNumber", "policy", "tagging", "uploadId", "versionId"];
    let named = prop::collection::vec(prop::sample::select(known.to_vec()), 0..4);
    let parameters = prop::collection::vec("(x-id|prefix|Acl|acl2|X-Amz-Date|[f-o]{0,4})=[a-z]{0,4}", 0..4);
    check(&(methods, paths, named, parameters), |(method, path, named, parameters)| {
        let of = |query: &[String]| code(method, &format!("{path}?{}", query.join("&")));
        let plain: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        let escape = |name: &&str| name.bytes().map(percent_encode_byte).collect::<String>() + "=1";
        let escaped: Vec<String> = named.iter().map(escape).collect();
        let said = of(&plain);
        prop_assert_eq!(&of(&[parameters, escaped].concat()), &said, "parameters and spelling do not count");
        if method == "DELETE" && named.contains(&"acl") {
            prop_assert!(said.is_some(), "nothing is deleted for an ACL");
        }
        Ok(())
    });
}
