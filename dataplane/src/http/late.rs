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

const DECLARATION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;

/// An answer that is still made.
type Pending = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
/// What makes it one of ours, once it is there.
type Finish = Box<dyn FnOnce(&mut Response<Body>) + Send>;

/// The answer, or its beginning, if it takes long.
pub(super) async fn answer(mut pending: Pending, finish: Finish) -> Response<Body> {
    if let Ok(response) = timeout(SIGN, &mut pending).await {
        return response;
    }
    let first = stream::once(async { Ok(Frame::data(Bytes::from_static(DECLARATION.as_bytes()))) });
    let rest = stream::unfold(Some((pending, finish)), |waiting| async {
        let (mut pending, finish) = waiting?;
        let Ok(mut response) = timeout(SIGN, &mut pending).await else {
            return Some((Ok(Frame::data(Bytes::from_static(b"\n"))), Some((pending, finish))));
        };
        finish(&mut response);
        Some((document(&response).map(Frame::data), None))
    });
    let body = StreamBody::new(futures::StreamExt::chain(first, rest));
    let mut response = Response::new(Body::http_body_unsync(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response.headers_mut().extend([UNBUFFERED]);
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

    use super::*;
    use crate::http::errors;

    fn after(seconds: u64, response: Response<Body>) -> Pending {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            response
        })
    }

    async fn text(response: Response<Body>) -> Result<String, StdError> {
        Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
    }

    fn copied() -> Response<Body> {
        Response::new(Body::from(format!("{DECLARATION}<CopyObjectResult/>")))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_in_time_is_left_alone() {
        let refused = errors::respond(s3_error!(PreconditionFailed));
        let response = answer(after(9, refused), Box::new(|_| panic!("its own caller does that"))).await;
        assert_eq!(response.status(), 412);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_announced_and_kept_alive() {
        let response = answer(after(35, copied()), Box::new(|_| ())).await;
        assert_eq!((response.status().as_u16(), &response.headers()[CONTENT_TYPE]), (200, "application/xml"));
        let text = text(response).await.expect("whole");
        assert_eq!(text, format!("{DECLARATION}\n\n<CopyObjectResult/>"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_error_is_the_document() {
        let refused = errors::respond(s3_error!(SlowDown, "Please try again"));
        let finish = Box::new(|response: &mut Response<Body>| {
            *response.body_mut() = Body::from(format!("{DECLARATION}<Error>finished</Error>"));
        });
        let response = answer(after(11, refused), finish).await;
        assert_eq!(text(response).await.expect("whole"), format!("{DECLARATION}<Error>finished</Error>"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_words_is_cut() {
        let response = answer(after(11, Response::new(Body::empty())), Box::new(|_| ())).await;
        assert!(text(response).await.is_err(), "a client would take white space for success");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_wait_ends_it() {
        let (running, ended) = tokio::sync::oneshot::channel::<()>();
        let pending = Box::pin(async move {
            let _running = running;
            futures::future::pending::<Response<Body>>().await
        });
        let response = answer(pending, Box::new(|_| ())).await;
        drop(response);
        assert!(ended.await.is_err(), "it is not made any more");
    }
}
