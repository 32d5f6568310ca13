//! CORS: preflights without a signature, and what lets a page read an answer (Amazon S3 User Guide, "Using cross-origin
//! resource sharing").

use anyhow::Result;
use s3o_integration_tests::config::{CORS_ORIGIN, OTHER};
use s3o_integration_tests::raw::{Request, Response};
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options};

async fn preflight(cluster: &Cluster, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
    let raw = cluster.raw(0);
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let host = &raw.host;
    let lines = lines.concat();
    let text = format!("OPTIONS {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{lines}\r\n");
    raw.send_bytes(text.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_rules_may_and_no_others() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    s3::put(&cluster.s3(0), OTHER, "k", body("k", 10)).await.expect("put");
    let origin = ("origin", CORS_ORIGIN);
    let put = ("access-control-request-method", "PUT");

    let wanted = ("access-control-request-headers", "Content-Type, x-amz-date");
    let answer = preflight(&cluster, "/other/k", &[origin, put, wanted]).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("access-control-allow-origin"), Some(CORS_ORIGIN));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, PUT"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type, x-amz-date"));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")));

    for (headers, status, code) in [
        (vec![("origin", "https://evil.example"), put], 403, "AccessForbidden"),
        (vec![origin, ("access-control-request-method", "DELETE")], 403, "AccessForbidden"),
        (vec![origin, put, ("access-control-request-headers", "x-secret")], 403, "AccessForbidden"),
        (vec![put], 400, "BadRequest"),
        (vec![origin], 400, "BadRequest"),
    ] {
        let answer = preflight(&cluster, "/other/k", &headers).await?;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{headers:?} {}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let without = preflight(&cluster, "/data/k", &[origin, put]).await?;
    assert_eq!((without.status, without.code().as_str()), (403, "AccessForbidden"));

    // What is allowed is said on the answers too, on refusals as well: a page has to be able to read why.
    let raw = cluster.raw(0);
    let got = raw.send(&Request::new("GET", "/other/k").header("origin", CORS_ORIGIN)).await?;
    assert_eq!((got.status, got.header("access-control-allow-origin")), (200, Some(CORS_ORIGIN)));
    assert_eq!(got.header("access-control-expose-headers"), Some("ETag"));
    let missing = raw.send(&Request::new("GET", "/other/none").header("origin", CORS_ORIGIN)).await?;
    assert_eq!((missing.status, missing.header("access-control-allow-origin")), (404, Some(CORS_ORIGIN)));
    let other = raw.send(&Request::new("GET", "/other/k").header("origin", "https://evil.example")).await?;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
    // A cache must not give this page's answer to the other one.
    assert!(other.header("vary").is_some_and(|vary| vary.contains("Origin")));

    let rules = cluster.s3(0).get_bucket_cors().bucket(OTHER).send().await?;
    assert_eq!(rules.cors_rules()[0].allowed_origins(), [CORS_ORIGIN]);
    assert_eq!(rules.cors_rules()[0].max_age_seconds(), Some(600));
    cluster.finish().await
}
