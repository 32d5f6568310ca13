//! The HTTP side: accepts connections, reads a request, asks for its fault, lets `objects.rs` work.
//!
//! Invariant: all connections end with the task that accepted them.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::discard;
use super::fault::{Fault, Operation};
use super::objects;
use super::store::{Place, Shared};
use super::xml;

pub(super) type Answer = Response<BoxBody<Bytes, io::Error>>;

/// In place of an answer: the connection is closed.
#[derive(Debug)]
pub(super) struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl std::error::Error for HangUp {}

pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                // A reset is what a crashed server's peer sees; nodelay as every S3 server has it.
                let _ = socket.set_nodelay(true);
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| handle(Arc::clone(&shared), request));
                    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                    // How a connection ended is the client's to notice.
                    let _ = served.await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A request, understood.
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) place: Place,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) fault: Option<Fault>,
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, HangUp> {
    let (parts, body) = request.into_parts();
    let path = decode(parts.uri.path().trim_start_matches('/'));
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let query = parse_query(parts.uri.query().unwrap_or_default());
    let operation = operation_of(&parts.method, key, &parts.headers, &query);
    // A listing is matched by its prefix.
    let matched = if key.is_empty() { value(&query, "prefix").unwrap_or_default() } else { key };
    let fault = shared.arrive(operation, matched);
    let place = (bucket.to_owned(), key.to_owned());
    match &fault {
        Some(Fault::Latency(delay)) => tokio::time::sleep(*delay).await,
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::StatusEarly(status)) => return Ok(error(*status, key)),
        _ => {}
    }
    if operation == Operation::Put && fault.is_none() && shared.lock().discard {
        return discard::put(&shared, place, &parts.headers, body).await;
    }
    let body = read_body(body, fault.as_ref()).await?;
    if let Some(Fault::Status(status)) = &fault {
        return Ok(error(*status, key));
    }
    if fault.as_ref().is_some_and(|fault| refuses(fault, &parts.headers)) {
        return Ok(error(400, key));
    }
    let call = Call { operation, place, query, headers: parts.headers, fault };
    let lost = call.fault.clone();
    let bare = parts.method == Method::HEAD || parts.method == Method::PUT;
    let answer = match operation {
        Operation::Other if key.is_empty() && bare => empty(StatusCode::OK),
        Operation::Other => error(501, key),
        _ => objects::answer(&shared, call, body)?,
    };
    match lost {
        Some(Fault::LostReply) => Err(HangUp),
        Some(Fault::HangReply) => std::future::pending().await,
        _ => Ok(answer),
    }
}

fn refuses(fault: &Fault, headers: &HeaderMap) -> bool {
    let Fault::Refuses { header, value } = fault else { return false };
    headers.get(*header).is_some_and(|found| value.is_empty() || found == *value)
}

fn operation_of(method: &Method, key: &str, headers: &HeaderMap, query: &[(String, String)]) -> Operation {
    match (method, key.is_empty()) {
        (&Method::PUT, false) if headers.contains_key("x-amz-copy-source") => Operation::Copy,
        (&Method::PUT, false) => Operation::Put,
        (&Method::GET, false) => Operation::Get,
        (&Method::HEAD, false) => Operation::Head,
        (&Method::DELETE, false) => Operation::Delete,
        (&Method::GET, true) if value(query, "list-type") == Some("2") => Operation::List,
        _ => Operation::Other,
    }
}

/// Reads the body whole; an incomplete one is nobody's.
async fn read_body(mut body: Incoming, fault: Option<&Fault>) -> Result<Bytes, HangUp> {
    let mut read = BytesMut::new();
    let mut paused = false;
    loop {
        let seen = read.len() as u64;
        match fault {
            Some(Fault::ResetReceiving { after }) if seen >= *after => return Err(HangUp),
            Some(Fault::StallReceiving { after }) if seen >= *after => std::future::pending::<()>().await,
            Some(Fault::PauseReceiving { after, pause }) if seen >= *after && !paused => {
                paused = true;
                tokio::time::sleep(*pause).await;
            }
            _ => {}
        }
        match body.frame().await {
            None => return Ok(read.freeze()),
            Some(Err(_)) => return Err(HangUp),
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    read.extend_from_slice(&chunk);
                }
            }
        }
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn parse_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(n, v)| (decode(n), decode(&v.replace('+', " "))))
        .collect()
}

pub(super) fn value<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn boxed(bytes: Bytes) -> BoxBody<Bytes, io::Error> {
    http_body_util::Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}

pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(boxed(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

pub(super) fn document(status: u16, text: String) -> Answer {
    let mut answer = Response::new(boxed(Bytes::from(text)));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/xml"));
    answer
}

pub(super) fn error(status: u16, key: &str) -> Answer {
    document(status, xml::error(status, key))
}

/// A body as a blob's bytes travel: in chunks, and with whatever breaks them.
pub(super) fn streamed(bytes: &Bytes, fault: Option<&Fault>) -> BoxBody<Bytes, io::Error> {
    const CHUNK: usize = 64 * 1024;
    let (stop, tail): (_, std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send + Sync>>) =
        match fault {
            Some(Fault::ResetSending { after }) => {
                (Some(*after), Box::pin(futures::stream::iter([Err(io::Error::other("reset on purpose"))])))
            }
            Some(Fault::StallSending { after }) => (Some(*after), Box::pin(futures::stream::pending())),
            _ => (None, Box::pin(futures::stream::empty())),
        };
    let stop = stop.and_then(|stop| usize::try_from(stop).ok()).unwrap_or(usize::MAX);
    let sent = bytes.slice(..bytes.len().min(stop));
    let starts = (0..sent.len()).step_by(CHUNK);
    let chunks: Vec<_> = starts.map(|start| Ok(sent.slice(start..sent.len().min(start + CHUNK)))).collect();
    let stream = futures::stream::iter(chunks).chain(tail);
    BoxBody::new(StreamBody::new(stream.map(|chunk| chunk.map(Frame::data))))
}
