//! How a PUT must look so that the backend takes it at all: the address, the payload's signature, `Content-MD5`.
//!
//! Invariant: the form that uploads have as things are configured is tried first; what works is how everything after it
//! is asked.

use std::net::IpAddr;

use bytes::Bytes;
use http::Uri;
use s3o_types::{ChecksumMode, ProbeFinding, Quirks};

use super::asker::{Asker, How, content_md5, is_silence};
use super::finding::is_no;
use crate::error::{BackendError, BackendErrorKind};

const PATH_STYLE: &str = "path_style";
const UNSIGNED_PAYLOAD: &str = "unsigned_payload";
const CHECKSUM: &str = "checksum";

/// Also the findings of a backend that takes nothing: then the second is false.
pub(super) async fn find(asker: &mut Asker<'_>) -> (Vec<ProbeFinding>, bool) {
    let configured = asker.configured().clone();
    let mut errors: Vec<BackendError> = Vec::new();
    let mut silent_style = None;
    for (n, quirks) in candidates(&configured, asker.endpoint()).into_iter().enumerate() {
        // Who does not answer there will not answer to another signature there.
        if silent_style == Some(quirks.path_style) {
            continue;
        }
        let (client, how) = (asker.with(quirks.clone()), how(&quirks));
        match asker.put_by(&client, &format!("reach-{n}"), Vec::new(), body(), how).await {
            Ok(_) => {
                asker.settle(quirks.clone());
                return (reached(asker, &configured, &quirks, &errors).await, true);
            }
            Err(error) => {
                silent_style = is_silence(&error).then_some(quirks.path_style);
                errors.push(error);
            }
        }
    }
    let why = errors.first().map(ToString::to_string).unwrap_or_default();
    let detail = format!("no form of a PUT is taken, so nothing else was asked: {why}");
    (vec![ProbeFinding::unknown("write", detail)], false)
}

fn body() -> Bytes {
    Bytes::from_static(b"a few bytes")
}

fn how(quirks: &Quirks) -> How {
    if quirks.unsigned_payload { How::Stream } else { How::Whole }
}

/// Ways to send a PUT, that of uploads first.
fn candidates(configured: &Quirks, endpoint: &str) -> Vec<Quirks> {
    let style = configured.path_style;
    // A bucket has no name below an address of numbers.
    let styles = if is_number(endpoint) { vec![style] } else { vec![style, !style] };
    let checksum = configured.checksum;
    let other = if checksum == ChecksumMode::None { ChecksumMode::ContentMd5 } else { ChecksumMode::None };
    let mut all = Vec::new();
    for path_style in styles {
        for (unsigned_payload, checksum) in [(true, checksum), (false, checksum), (true, other)] {
            all.push(Quirks { path_style, unsigned_payload, checksum, ..configured.clone() });
        }
    }
    all
}

fn is_number(endpoint: &str) -> bool {
    let uri: Option<Uri> = endpoint.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

async fn reached(
    asker: &mut Asker<'_>,
    configured: &Quirks,
    works: &Quirks,
    errors: &[BackendError],
) -> Vec<ProbeFinding> {
    let first = errors.first().map(ToString::to_string).unwrap_or_default();
    vec![
        path_style(configured, works, &first),
        unsigned_payload(asker, configured, works, errors.last()).await,
        checksum(asker, configured, works, errors.last()).await,
    ]
}

/// Whether it says something of the form of a request: a signature of another kind may be called a wrong one.
fn is_refusal(error: &BackendError) -> bool {
    is_no(error) || error.kind == BackendErrorKind::Denied
}

/// What is to be said where another form was not taken, without an answer that says why.
fn unclear(name: &'static str, error: &BackendError) -> ProbeFinding {
    ProbeFinding::unknown(name, format!("a PUT failed in another form: {error}"))
}

fn path_style(configured: &Quirks, works: &Quirks, why: &str) -> ProbeFinding {
    let style = if works.path_style { "endpoint/bucket/key" } else { "bucket.endpoint/key" };
    if configured.path_style == works.path_style {
        return ProbeFinding::ok(PATH_STYLE, format!("{style} works"));
    }
    let detail = format!("only {style} works: {why}");
    ProbeFinding::needs(PATH_STYLE, detail, format!("{PATH_STYLE}: {}", works.path_style))
}

async fn unsigned_payload(
    asker: &mut Asker<'_>,
    configured: &Quirks,
    works: &Quirks,
    last: Option<&BackendError>,
) -> ProbeFinding {
    let setting = |wanted: bool| {
        (configured.unsigned_payload != wanted).then(|| format!("{UNSIGNED_PAYLOAD}: {wanted}"))
    };
    if let Some(why) = last.filter(|_| !works.unsigned_payload) {
        if !is_refusal(why) {
            return unclear(UNSIGNED_PAYLOAD, why);
        }
        let detail = format!(
            "bodies must be signed by their hash ({why}): markers and the journal can be stored so, objects cannot, since \
             they are streamed and their hash is not known before"
        );
        return ProbeFinding::unsupported(UNSIGNED_PAYLOAD, detail).with_setting(setting(false));
    }
    let client = asker.with(Quirks { unsigned_payload: false, ..works.clone() });
    let signed = asker.put_by(&client, "signed", Vec::new(), body(), How::Whole).await;
    match (signed, setting(true)) {
        (Ok(_), _) => {
            ProbeFinding::ok(UNSIGNED_PAYLOAD, "bodies signed by their hash are taken, and unsigned ones")
        }
        (Err(error), _) if !is_refusal(&error) => unclear(UNSIGNED_PAYLOAD, &error),
        (Err(error), Some(setting)) => {
            let detail = format!("bodies signed by their hash are refused: {error}");
            ProbeFinding::needs(UNSIGNED_PAYLOAD, detail, setting)
        }
        (Err(error), None) => {
            let detail = format!("unsigned bodies are taken, those signed by their hash are not: {error}");
            ProbeFinding::ok(UNSIGNED_PAYLOAD, detail)
        }
    }
}

async fn checksum(
    asker: &mut Asker<'_>,
    configured: &Quirks,
    works: &Quirks,
    last: Option<&BackendError>,
) -> ProbeFinding {
    if let Some(why) = last.filter(|_| works.checksum != configured.checksum) {
        return other_checksum(works.checksum, why);
    }
    let client = asker.with(Quirks { checksum: ChecksumMode::ContentMd5, ..works.clone() });
    let (right, wrong) = (how(works), how(works));
    match asker.put_by(&client, "md5-right", Vec::new(), body(), right).await {
        Ok(_) => {}
        Err(error) if is_refusal(&error) => {
            return ProbeFinding::ok(
                CHECKSUM,
                format!("none is needed, and Content-MD5 is refused: {error}"),
            );
        }
        Err(error) => return unclear(CHECKSUM, &error),
    }
    let headers = content_md5(b"other bytes").into_iter().collect();
    match asker.put_by(&client, "md5-wrong", headers, body(), wrong).await {
        Ok(_) => ProbeFinding::ok(CHECKSUM, "none is needed; a wrong Content-MD5 is taken without a word"),
        Err(error) if is_refusal(&error) => {
            ProbeFinding::ok(CHECKSUM, "none is needed; a wrong Content-MD5 is refused")
        }
        Err(error) => unclear(CHECKSUM, &error),
    }
}

fn other_checksum(works: ChecksumMode, why: &BackendError) -> ProbeFinding {
    if !is_refusal(why) {
        return unclear(CHECKSUM, why);
    }
    match works {
        ChecksumMode::ContentMd5 => {
            let detail = format!(
                "a PUT without Content-MD5 is refused ({why}): uploads whose MD5 the client does not say are refused with \
                 the setting, too"
            );
            ProbeFinding::needs(CHECKSUM, detail, format!("{CHECKSUM}: content_md5"))
        }
        ChecksumMode::None => {
            let detail = format!("a PUT with Content-MD5 is refused: {why}");
            ProbeFinding::needs(CHECKSUM, detail, format!("{CHECKSUM}: none"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_uploads_comes_first() {
        let configured = Quirks { path_style: false, ..Quirks::default() };
        let all = candidates(&configured, "https://s3.example.com");
        assert_eq!((all.len(), &all[0]), (6, &configured));
        assert!(all[3..].iter().all(|quirks| quirks.path_style));
    }

    #[test]
    fn an_address_of_numbers_has_one_style() {
        for endpoint in ["http://127.0.0.1:9000", "https://[::1]:9000"] {
            assert_eq!(candidates(&Quirks::default(), endpoint).len(), 3, "{endpoint}");
        }
        assert!(!is_number("http://localhost:9000"));
    }
}
