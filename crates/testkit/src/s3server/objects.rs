//! What S3 does with objects, as far as this server knows it.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED,
    RANGE,
};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use percent_encoding::percent_decode_str;

use super::aws_chunked;
use super::control::flip_bit;
use super::fault::{Fault, Operation};
use super::serve::{Answer, Call, HangUp, document, empty, error, streamed, value};
use super::store::{Blob, Place, Shared};
use super::xml;
use crate::aws_chunked::CRC64NVME;

pub(super) fn answer(shared: &Arc<Shared>, call: Call, body: Bytes) -> Result<Answer, HangUp> {
    match call.operation {
        Operation::Put => put(shared, call, body),
        Operation::Get => Ok(read(shared, &call, true)),
        Operation::Head => Ok(read(shared, &call, false)),
        Operation::Delete => {
            shared.lock().blobs.remove(&call.place);
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Operation::Copy => Ok(copy(shared, call)),
        Operation::List => Ok(list(shared, &call)),
        Operation::Other => Ok(error(501, &call.place.1)),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn put(shared: &Arc<Shared>, mut call: Call, body: Bytes) -> Result<Answer, HangUp> {
    let compares = call.fault != Some(Fault::IgnoresTrailer);
    let Ok((body, crc)) = aws_chunked::decode(&mut call.headers, body, compares) else {
        return Ok(error(400, &call.place.1));
    };
    let mut blob = Blob::new(body, &call.headers);
    shared.lock().moved.0 += blob.bytes.len() as u64;
    if let Some(md5) = text(&call.headers, "content-md5") {
        let sent = base64::engine::general_purpose::STANDARD.decode(md5).map(hex::encode);
        if sent.as_ref() != Ok(&blob.etag) {
            return Ok(error(400, &call.place.1));
        }
    }
    let taken = shared.lock().blobs.contains_key(&call.place);
    if taken && text(&call.headers, IF_NONE_MATCH.as_str()) == Some("*") {
        return Ok(error(412, &call.place.1));
    }
    let etag = shown_etag(&blob, call.fault.as_ref());
    let crc =
        crc.map(|crc| if call.fault == Some(Fault::WrongChecksum) { "AAAAAAAAAAA=".to_owned() } else { crc });
    match call.fault {
        Some(Fault::Late(delay)) => {
            shared.store_late(call.place, blob, delay);
            return Err(HangUp);
        }
        Some(Fault::BitFlip) => blob.bytes = flip_bit(&blob.bytes),
        _ => {}
    }
    shared.store(call.place, blob);
    let mut answer = empty(StatusCode::OK);
    answer.headers_mut().extend(etag.map(|etag| (ETAG, etag)));
    let crc = crc.and_then(|crc| HeaderValue::try_from(crc).ok());
    answer.headers_mut().extend(crc.map(|crc| (HeaderName::from_static(CRC64NVME), crc)));
    Ok(answer)
}

fn shown_etag(blob: &Blob, fault: Option<&Fault>) -> Option<HeaderValue> {
    let etag = match fault {
        Some(Fault::WrongEtag) => format!("\"{}\"", "0".repeat(32)),
        Some(Fault::OpaqueEtag) => format!("\"opaque-{}\"", &blob.etag[..8]),
        _ => format!("\"{}\"", blob.etag),
    };
    HeaderValue::try_from(etag).ok()
}

/// GET and HEAD.
fn read(shared: &Shared, call: &Call, with_body: bool) -> Answer {
    let Some(blob) = shared.lock().blobs.get(&call.place).cloned() else { return error(404, &call.place.1) };
    let wanted = text(&call.headers, IF_MATCH.as_str()).map(|etag| etag.trim_matches('"'));
    if wanted.is_some_and(|etag| etag != "*" && etag != blob.etag) {
        return error(412, &call.place.1);
    }
    let mut bytes = blob.bytes.clone();
    let mut headers = blob.headers.clone();
    let mut status = StatusCode::OK;
    if let Some(range) = text(&call.headers, RANGE.as_str()) {
        let Some((first, last)) = parse_range(range, bytes.len()) else { return error(416, &call.place.1) };
        let shown = format!("bytes {first}-{last}/{}", bytes.len());
        headers.extend(HeaderValue::try_from(shown).ok().map(|shown| (CONTENT_RANGE, shown)));
        bytes = bytes.slice(first..=last);
        status = StatusCode::PARTIAL_CONTENT;
    }
    match &call.fault {
        Some(Fault::Truncated { keep }) => {
            bytes.truncate(usize::try_from(*keep).unwrap_or(usize::MAX));
        }
        Some(Fault::BitFlip) => bytes = flip_bit(&bytes),
        _ => {}
    }
    headers.insert(CONTENT_LENGTH, bytes.len().into());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.extend(shown_etag(&blob, call.fault.as_ref()).map(|etag| (ETAG, etag)));
    headers
        .extend(HeaderValue::try_from(xml::http_date(blob.modified)).ok().map(|date| (LAST_MODIFIED, date)));
    if with_body {
        shared.lock().moved.1 += bytes.len() as u64;
    }
    let body = if with_body { streamed(&bytes, call.fault.as_ref()) } else { streamed(&Bytes::new(), None) };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

/// First and last byte, both included, of one range; `None` where S3 answers 416.
fn parse_range(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let suffix = last.parse::<usize>().ok().filter(|&suffix| suffix > 0)?;
        return (length > 0).then(|| (length.saturating_sub(suffix), length - 1));
    }
    let first = first.parse::<usize>().ok().filter(|&first| first < length)?;
    let last = if last.is_empty() { length - 1 } else { last.parse::<usize>().ok()?.min(length - 1) };
    (first <= last).then_some((first, last))
}

fn copy(shared: &Shared, call: Call) -> Answer {
    let source = text(&call.headers, "x-amz-copy-source").unwrap_or_default().trim_start_matches('/');
    let source = percent_decode_str(source).decode_utf8_lossy().into_owned();
    let (bucket, key) = source.split_once('/').unwrap_or_default();
    let place: Place = (bucket.to_owned(), key.to_owned());
    let Some(found) = shared.lock().blobs.get(&place).cloned() else { return error(404, key) };
    let replaces = text(&call.headers, "x-amz-metadata-directive") == Some("REPLACE");
    let mut blob = Blob::new(found.bytes, if replaces { &call.headers } else { &found.headers });
    blob.etag = found.etag;
    let answer = document(200, xml::copied(&blob));
    shared.store(call.place, blob);
    answer
}

fn list(shared: &Shared, call: &Call) -> Answer {
    let query = |name| value(&call.query, name);
    let prefix = query("prefix").unwrap_or_default();
    let delimiter = query("delimiter").filter(|delimiter| !delimiter.is_empty());
    let after = query("continuation-token").or_else(|| query("start-after")).unwrap_or_default().to_owned();
    let max_keys = query("max-keys").and_then(|text| text.parse().ok()).unwrap_or(1000_usize).min(1000);
    let (bucket, encoded) = (call.place.0.as_str(), query("encoding-type") == Some("url"));
    let mut page = xml::Page {
        bucket,
        prefix,
        start_after: query("start-after"),
        max_keys,
        encoded,
        contents: Vec::new(),
        common_prefixes: Vec::new(),
        next: None,
    };
    let mut last = String::new();
    let state = shared.lock();
    for ((_, key), blob) in
        state.blobs.iter().filter(|((b, k), _)| b == bucket && k.starts_with(prefix) && *k > after)
    {
        let rest = &key[prefix.len()..];
        let rolled =
            delimiter.and_then(|d| rest.find(d).map(|at| key[..prefix.len() + at + d.len()].to_owned()));
        if rolled
            .as_ref()
            .is_some_and(|rolled| page.common_prefixes.last() == Some(rolled) || after.starts_with(rolled))
        {
            last.clone_from(key);
            continue;
        }
        if page.contents.len() + page.common_prefixes.len() == max_keys {
            page.next = Some(last);
            break;
        }
        match rolled {
            Some(rolled) => page.common_prefixes.push(rolled),
            None => page.contents.push((key.clone(), blob.clone())),
        }
        last.clone_from(key);
    }
    drop(state);
    document(200, xml::listing(&page))
}
