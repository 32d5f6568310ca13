//! Answers that take longer than clients wait: copies of large objects.
//!
//! S3 answers 200 then and sends white space until it is done; the document that follows is the result or an error, and clients
//! look (API reference, CopyObject: "A 200 OK response can contain either a success or an error"). A client that hears nothing
//! gives up after its read timeout, in SDKs 30 to 60 s, as does a proxy between, and copies again beside what goes on here.
//!
//! Invariant: the copy goes on only while somebody reads the answer; what is known too late for a header, such as the version's
//! id, is not said then.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::{Body, StdError};
use tokio::time::timeout;

/// How long nothing is said, and how long between two signs of life: well below the shortest read timeout of an SDK, 30 s
/// (AWS SDK for Java 2.x, `socketTimeout`). What is decided by then has its status, as most errors are.
const SIGN: Duration = Duration::from_secs(10);
/// What nginx holds back of an answer, unless it is told not to (ngx_http_proxy_module, `proxy_buffering`).
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

const XML: HeaderValue = HeaderValue::from_static("application/xml");
const DECLARATION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;

/// The answer is only begun. In the response's extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun;

/// An answer that is still made.
type Pending = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
/// What makes it one of ours, once it is there.
type Finish = Box<dyn FnOnce(&mut Response<Body>) + Send>;

/// The answer, or its beginning, if it takes long and is, as is known by then, that to a copy.
pub(super) async fn answer(pending: Pending, finish: Finish, is_copy: impl Fn() -> bool) -> Response<Body> {
    answer_by(SIGN, pending, finish, is_copy).await
}

async fn answer_by(
    sign: Duration,
    mut pending: Pending,
    finish: Finish,
    is_copy: impl Fn() -> bool,
) -> Response<Body> {
    if let Ok(response) = timeout(sign, &mut pending).await {
        return response;
    }
    if !is_copy() {
        return pending.await;
    }
    let first = stream::once(async { Ok(Frame::data(Bytes::from_static(DECLARATION.as_bytes()))) });
    let rest = stream::unfold(Some((pending, finish)), move |waiting| async move {
        let (mut pending, finish) = waiting?;
        let Ok(mut response) = timeout(sign, &mut pending).await else {
            return Some((Ok(Frame::data(Bytes::from_static(b"\n"))), Some((pending, finish))));
        };
        finish(&mut response);
        Some((document(&response).map(Frame::data), None))
    });
    let body = StreamBody::new(futures::StreamExt::chain(first, rest));
    let mut response = Response::new(Body::http_body_unsync(body));
    response.headers_mut().insert(CONTENT_TYPE, XML);
    response.headers_mut().extend([UNBUFFERED]);
    response.extensions_mut().insert(Begun);
    response
}

/// The document without its declaration, which was sent.
fn document(response: &Response<Body>) -> Result<Bytes, StdError> {
    let bytes = response.body().bytes().filter(|bytes| !bytes.is_empty());
    let bytes = bytes.ok_or("an answer without a document")?;
    let text = std::str::from_utf8(&bytes)?;
    let declared = text.starts_with("<?xml").then(|| text.find("?>")).flatten();
    Ok(bytes.slice(declared.map_or(0, |end| end + 2)..))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use s3s::s3_error;
    use tokio::sync::oneshot;

    use super::*;
    use crate::http::errors;

    const SOON: Duration = Duration::from_millis(1);

    /// An answer, and what lets it come.
    fn held(response: Response<Body>) -> (oneshot::Sender<()>, Pending) {
        let (come, comes) = oneshot::channel();
        let pending = Box::pin(async move {
            comes.await.expect("it is let come");
            response
        });
        (come, pending)
    }

    async fn begun(pending: Pending, finish: Finish) -> Body {
        let response = answer_by(SOON, pending, finish, || true).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/xml");
        assert!(response.extensions().get::<Begun>().is_some());
        response.into_body()
    }

    async fn frame(body: &mut Body) -> Bytes {
        let frame = body.frame().await.expect("there is more").expect("good");
        frame.into_data().expect("bytes")
    }

    async fn text(body: Body) -> Result<String, StdError> {
        Ok(String::from_utf8(body.collect().await?.to_bytes().to_vec())?)
    }

    #[tokio::test]
    async fn what_is_there_in_time_is_left_alone() {
        let refused = errors::respond(s3_error!(PreconditionFailed));
        let pending = Box::pin(std::future::ready(refused));
        let response = answer(pending, Box::new(|_| panic!("its own caller does that")), || true).await;
        assert_eq!(response.status(), 412);
        assert!(response.extensions().get::<Begun>().is_none());
    }

    #[tokio::test]
    async fn what_is_no_copy_is_waited_for() {
        let (come, pending) = held(errors::respond(s3_error!(SlowDown)));
        let waits = tokio::spawn(answer_by(SOON, pending, Box::new(|_| ()), move || {
            // Asked when the time is over.
            false
        }));
        tokio::time::sleep(2 * SOON).await;
        come.send(()).expect("it waits");
        assert_eq!(waits.await.expect("an answer").status(), 503);
    }

    #[tokio::test]
    async fn a_late_answer_is_announced_and_kept_alive() {
        let copied = Response::new(Body::from(format!("{DECLARATION}<CopyObjectResult/>")));
        let (come, pending) = held(copied);
        let mut body = begun(pending, Box::new(|_| ())).await;
        assert_eq!(frame(&mut body).await, DECLARATION);
        assert_eq!(frame(&mut body).await, "\n");
        assert_eq!(frame(&mut body).await, "\n");
        come.send(()).expect("it waits");
        assert_eq!(text(body).await.expect("whole").trim_start(), "<CopyObjectResult/>");
    }

    #[tokio::test]
    async fn a_late_error_is_the_document() {
        let (come, pending) = held(errors::respond(s3_error!(SlowDown, "Please try again")));
        let finish = Box::new(|response: &mut Response<Body>| {
            assert_eq!(response.status(), 503);
            *response.body_mut() = Body::from(format!("{DECLARATION}<Error>finished</Error>"));
        });
        let mut body = begun(pending, finish).await;
        assert_eq!(frame(&mut body).await, DECLARATION);
        come.send(()).expect("it waits");
        assert_eq!(text(body).await.expect("whole").trim_start(), "<Error>finished</Error>");
    }

    #[tokio::test]
    async fn an_answer_without_words_is_cut() {
        let (come, pending) = held(Response::new(Body::empty()));
        let body = begun(pending, Box::new(|_| ())).await;
        come.send(()).expect("it waits");
        assert!(text(body).await.is_err(), "a client would take white space for success");
    }

    #[tokio::test]
    async fn who_does_not_wait_ends_it() {
        let (come, pending) = held(Response::new(Body::empty()));
        let body = begun(pending, Box::new(|_| ())).await;
        assert!(!come.is_closed());
        drop(body);
        assert!(come.is_closed(), "it is not made any more");
    }
}
