//! What a survey finds out of backends that lack something, and that it leaves nothing there.

#![allow(clippy::unwrap_used)]

use s3o_backend::{Backend, BreakerConfig, HttpPool, Meters, Survey, Timeouts, survey};
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::{ChecksumMode, EtagProof, ProbeFinding, ProbeVerdict, Quirks};

async fn asked(server: &FaultyBackend, quirks: Quirks) -> Survey {
    let mut spec = server.spec(1, "b1");
    spec.quirks = quirks;
    let backend =
        Backend::new(spec, HttpPool::new(Timeouts::default()), Meters::none(), BreakerConfig::default());
    let found = survey(&backend, "tag", &|| false).await;
    assert!(backend.health().is_up(std::time::Instant::now()), "the breaker is told nothing");
    found
}

/// Asked of a backend that always does this, configured as by default.
async fn of(fault: Fault) -> Survey {
    let server = FaultyBackend::start().await.unwrap();
    server.inject(Rule::new(fault));
    let found = asked(&server, Quirks::default()).await;
    assert!(server.keys().is_empty() && found.left.is_empty(), "{found:?}: {:?}", server.keys());
    found
}

fn finding<'a>(survey: &'a Survey, name: &str) -> &'a ProbeFinding {
    survey
        .findings
        .iter()
        .find(|finding| finding.name == name)
        .unwrap_or_else(|| panic!("{name}: {survey:?}"))
}

fn said<'a>(survey: &'a Survey, name: &str) -> (ProbeVerdict, Option<&'a str>) {
    let finding = finding(survey, name);
    (finding.verdict, finding.setting.as_deref())
}

/// Those that are not as they should be.
fn complaints(survey: &Survey) -> Vec<&'static str> {
    let bad = survey.findings.iter().filter(|finding| finding.verdict != ProbeVerdict::Ok);
    bad.map(|finding| finding.name).collect()
}

#[tokio::test]
async fn an_honest_backend_needs_nothing() {
    let server = FaultyBackend::start().await.unwrap();
    let found = asked(&server, Quirks::default()).await;
    assert_eq!(complaints(&found), [""; 0], "{found:?}");
    let names: Vec<_> = found.findings.iter().map(|finding| finding.name).collect();
    let all = [
        "path_style",
        "unsigned_payload",
        "checksum",
        "etag",
        "strip_headers",
        "kept_headers",
        "metadata",
        "range",
        "if_match",
        "copy",
        "odd_keys",
        "long_keys",
        "listing",
        "delete",
        "delete_absent",
        "versions",
    ];
    assert_eq!(names, all);
    assert_eq!(found.proof, Some(EtagProof::Md5Trailer));
    assert_eq!(said(&found, "etag"), (ProbeVerdict::Ok, Some("etag: md5_trailer")));
    assert!(server.keys().is_empty() && found.left.is_empty(), "{:?}", server.keys());
    let (writes, reads) = ([Operation::Put, Operation::Copy], [Operation::Get, Operation::Head]);
    let others = [Operation::Delete, Operation::List];
    let kinds = [writes, reads, others].concat();
    assert_eq!(found.requests, kinds.into_iter().map(|kind| server.count(kind)).sum::<u64>());
    assert!(found.requests < 60, "a few dozen: {}", found.requests);
}

#[tokio::test]
async fn etags_that_are_no_md5s() {
    let found = of(Fault::OpaqueEtag).await;
    assert_eq!(found.proof, Some(EtagProof::Opaque));
    assert_eq!(said(&found, "etag"), (ProbeVerdict::Ok, Some("etag: opaque")));
    let server = FaultyBackend::start().await.unwrap();
    server.inject(Rule::new(Fault::WrongEtag).on(Operation::Put));
    let found = asked(&server, Quirks { etag: EtagProof::Md5, ..Quirks::default() }).await;
    assert_eq!(said(&found, "etag"), (ProbeVerdict::Needs, Some("etag: opaque")));
}

#[tokio::test]
async fn checksums_behind_the_body_that_are_not_known_or_not_compared() {
    let (header, value) = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    for fault in [Fault::Refuses { header, value }, Fault::IgnoresTrailer, Fault::WrongChecksum] {
        let found = of(fault.clone()).await;
        assert_eq!(found.proof, Some(EtagProof::Md5), "{fault:?}");
        assert_eq!(said(&found, "etag"), (ProbeVerdict::Ok, Some("etag: md5")), "{fault:?}");
        assert_eq!(complaints(&found), [""; 0], "{fault:?}");
    }
}

#[tokio::test]
async fn payloads_that_must_or_must_not_be_signed() {
    let value = "UNSIGNED-PAYLOAD";
    let found = of(Fault::Refuses { header: "x-amz-content-sha256", value }).await;
    assert_eq!(
        said(&found, "unsigned_payload"),
        (ProbeVerdict::Unsupported, Some("unsigned_payload: false"))
    );
    assert_eq!(complaints(&found), ["unsigned_payload"]);
}

#[tokio::test]
async fn content_md5_where_it_is_refused() {
    let found = of(Fault::Refuses { header: "content-md5", value: "" }).await;
    assert_eq!(said(&found, "checksum"), (ProbeVerdict::Ok, None));
    assert!(finding(&found, "checksum").detail.contains("refused"));
    let server = FaultyBackend::start().await.unwrap();
    server.inject(Rule::new(Fault::Refuses { header: "content-md5", value: "" }));
    let quirks = Quirks { checksum: ChecksumMode::ContentMd5, ..Quirks::default() };
    let found = asked(&server, quirks).await;
    assert_eq!(said(&found, "checksum"), (ProbeVerdict::Needs, Some("checksum: none")));
    assert_eq!(complaints(&found), ["checksum"]);
}

#[tokio::test]
async fn headers_that_are_refused_are_named() {
    let server = FaultyBackend::start().await.unwrap();
    for header in ["cache-control", "expires"] {
        server.inject(Rule::new(Fault::Refuses { header, value: "" }).key_contains(header));
        server.inject(Rule::new(Fault::Refuses { header, value: "" }).key_contains("/headers"));
    }
    let found = asked(&server, Quirks::default()).await;
    let setting = Some("strip_headers: [cache-control, expires]");
    assert_eq!(said(&found, "strip_headers"), (ProbeVerdict::Needs, setting));
    assert_eq!(said(&found, "kept_headers").0, ProbeVerdict::Ok);
    let strip_headers = vec!["cache-control".to_owned(), "expires".to_owned()];
    let found = asked(&server, Quirks { strip_headers, ..Quirks::default() }).await;
    assert_eq!(said(&found, "strip_headers"), (ProbeVerdict::Ok, None));
}

#[tokio::test]
async fn parts_that_are_not_those_asked_for() {
    let server = FaultyBackend::start().await.unwrap();
    server.inject(Rule::new(Fault::Truncated { keep: 1 }).on(Operation::Get).key_contains("/read").times(1));
    let found = asked(&server, Quirks::default()).await;
    assert_eq!(complaints(&found), ["range"]);
    assert_eq!(finding(&found, "range").verdict, ProbeVerdict::Unsupported);
}

#[tokio::test]
async fn what_could_not_be_deleted_is_named() {
    let server = FaultyBackend::start().await.unwrap();
    server.inject(Rule::new(Fault::Status(500)).on(Operation::Delete).key_contains("/metadata"));
    let found = asked(&server, Quirks::default()).await;
    assert_eq!(complaints(&found), [""; 0]);
    assert_eq!(
        (found.left, server.keys()),
        (vec![".s3o/probe/tag/metadata".to_owned()], vec![".s3o/probe/tag/metadata".to_owned()])
    );
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing_and_stops_no_other() {
    let server = FaultyBackend::start().await.unwrap();
    server.inject(Rule::new(Fault::LostReply).on(Operation::Put).key_contains("/metadata"));
    server.inject(Rule::new(Fault::Status(403)).on(Operation::List));
    let found = asked(&server, Quirks::default()).await;
    assert_eq!(complaints(&found), ["metadata", "odd_keys", "long_keys", "listing"]);
    assert!(found.findings.iter().all(|finding| finding.verdict != ProbeVerdict::Unsupported), "{found:?}");
    assert!(server.keys().is_empty() && found.left.is_empty());
}

#[tokio::test]
async fn a_backend_that_takes_nothing_is_not_asked_on() {
    let server = FaultyBackend::start().await.unwrap();
    server.inject(Rule::new(Fault::Status(403)));
    let found = asked(&server, Quirks::default()).await;
    assert_eq!((complaints(&found), found.requests, found.proof), (vec!["write"], 3, None));
    server.kill().await;
    let found = asked(&server, Quirks::default()).await;
    assert_eq!((complaints(&found), found.requests), (vec!["write"], 1));
    assert!(found.left.is_empty(), "nothing was sent");
}

#[tokio::test]
async fn who_stops_takes_away_what_was_made() {
    let server = FaultyBackend::start().await.unwrap();
    let pool = HttpPool::new(Timeouts::default());
    let backend = Backend::new(server.spec(1, "b1"), pool, Meters::none(), BreakerConfig::default());
    let found = survey(&backend, "tag", &|| server.keys().len() > 4).await;
    assert!(server.count(Operation::Put) > 4 && server.keys().is_empty() && found.left.is_empty());
    assert!(found.findings.iter().any(|finding| finding.detail.contains("stopping")), "{found:?}");
}
