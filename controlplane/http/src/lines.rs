//! A stream of the admin service as `application/x-ndjson`: a line of JSON for each message, and an `error` where it is
//! broken off.

use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use serde::Serialize;
use tonic::Streaming;

#[derive(Serialize)]
struct BrokenOff {
    error: String,
}

/// What these answers are.
const NDJSON: &str = "application/x-ndjson";

/// Whether the client would rather read how far it is than wait for the end.
pub(crate) fn wants_lines(request: &HttpRequest) -> bool {
    let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|kind| {
        let mut words = kind.split(';').map(str::trim);
        words.next() == Some(NDJSON) && !words.any(|word| matches!(word, "q=0" | "q=0.0"))
    })
}

fn line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// Answers with each message as `L` says it.
pub(crate) fn lines<M: 'static, L: From<M> + Serialize>(messages: Streaming<M>) -> HttpResponse {
    let lines = futures::stream::unfold(Some(messages), |messages| async move {
        let mut messages = messages?;
        let (line, rest) = match messages.message().await {
            Ok(Some(message)) => (line(&L::from(message)), Some(messages)),
            Ok(None) => return None,
            Err(status) => (line(&BrokenOff { error: status.message().to_owned() }), None),
        };
        Some((Ok::<_, actix_web::Error>(line), rest))
    });
    HttpResponse::Ok().content_type(NDJSON).streaming(lines)
}
