//! The set keeps what did not change, counts what is called, and notices backends that fall and rise.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use s3o_backend::{
    ApiClass, Backend, BackendMetrics, BackendSet, BreakerConfig, BreakerState, HttpPool, Meters, Operation,
    UsageSink,
};
use s3o_testkit::s3server::{self, Fault, FaultyBackend, Rule};
use s3o_types::BackendId;

#[derive(Default)]
struct Ledger(Mutex<Vec<String>>);

impl BackendMetrics for Ledger {
    fn request(&self, operation: Operation, backend: &str, status: &str, _: f64) {
        self.0.lock().unwrap().push(format!("{} {backend} {status}", operation.as_str()));
    }
}

impl UsageSink for Ledger {
    fn request(&self, backend: BackendId, class: ApiClass) {
        self.0.lock().unwrap().push(format!("{} class {}", backend.0, class.as_str()));
    }
    fn ingress(&self, backend: BackendId, bytes: u64) {
        self.0.lock().unwrap().push(format!("{} in {bytes}", backend.0));
    }
    fn egress(&self, backend: BackendId, bytes: u64) {
        self.0.lock().unwrap().push(format!("{} out {bytes}", backend.0));
    }
}

#[tokio::test]
async fn everything_is_counted() {
    let server = FaultyBackend::start().await.unwrap();
    let ledger = Arc::new(Ledger::default());
    let meters = Meters { metrics: ledger.clone(), usage: ledger.clone() };
    let set = BackendSet::new(HttpPool::default(), meters, BreakerConfig::default());
    set.rebuild(vec![server.spec(7, "seven")]);
    let backend = set.get(BackendId(7)).unwrap();
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"hello"))]);
    backend.put("k", 5, vec![], body).await.unwrap();
    let mut got = backend.get("k", None, None).await.unwrap();
    while got.body.next().await.is_some() {}
    backend.head("none").await.unwrap_err();
    let seen = ledger.0.lock().unwrap().join(", ");
    assert_eq!(
        seen,
        "7 class a, PutObject seven 200, 7 in 5, 7 class b, GetObject seven 200, 7 out 5, 7 class b, HeadObject seven 404"
    );
    assert!(backend.health().latency().is_some());
}

/// Whoever deletes looks at the marker first, each time: a provider bills that like any other read.
#[tokio::test]
async fn looks_at_the_marker_are_counted_and_not_told_to_the_breaker() {
    let server = FaultyBackend::start().await.unwrap();
    server.plant(s3o_types::storage_key::MARKER, r#"{"cluster_id":"c","backend_id":7}"#);
    let ledger = Arc::new(Ledger::default());
    let meters = Meters { metrics: ledger.clone(), usage: ledger.clone() };
    let set = BackendSet::new(HttpPool::default(), meters, BreakerConfig::default());
    set.rebuild(vec![server.spec(7, "seven")]);
    let backend = set.get(BackendId(7)).unwrap();
    let (marker, _) = backend.read_marker().await.unwrap().unwrap();
    assert_eq!(marker.unwrap().backend_id, BackendId(7));
    assert_eq!(ledger.0.lock().unwrap().join(", "), "7 class b, 7 out 33");
    assert!(backend.health().latency().is_none());
}

/// A page that XML cannot say is two requests, and no failure.
#[tokio::test]
async fn a_page_that_is_asked_for_again_is_counted_twice() {
    let server = FaultyBackend::start().await.unwrap();
    server.plant("p/\u{fffe}", "x");
    let ledger = Arc::new(Ledger::default());
    let meters = Meters { metrics: ledger.clone(), usage: ledger.clone() };
    let set = BackendSet::new(HttpPool::default(), meters, BreakerConfig::default());
    set.rebuild(vec![server.spec(7, "seven")]);
    let backend = set.get(BackendId(7)).unwrap();
    assert_eq!(backend.list("p/", None, 10).await.unwrap().entries.len(), 1);
    let request = ["7 class a", "ListObjectsV2 seven 200"];
    assert_eq!(*ledger.0.lock().unwrap(), [request, request].concat());
}

#[tokio::test]
async fn a_fallen_backend_is_avoided_until_a_probe_finds_it_again() {
    let server = FaultyBackend::start().await.unwrap();
    let breaker =
        BreakerConfig { threshold: 2, open_for: Duration::from_millis(50), ..BreakerConfig::default() };
    let set = BackendSet::new(HttpPool::default(), Meters::none(), breaker);
    set.rebuild(vec![server.spec(1, "b1")]);
    let backend = set.get(BackendId(1)).unwrap();
    server.kill().await;
    for _ in 0..2 {
        backend.head("k").await.unwrap_err();
    }
    assert_eq!(set.down(Instant::now()), [BackendId(1)]);
    server.restart().await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), async {
        while backend.health().state(Instant::now()) != BreakerState::Closed {
            set.probe_due().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the probe closes the breaker");
    assert!(set.down(Instant::now()).is_empty());
}

/// Longer than what is given up must have waited.
const LATE: Duration = Duration::from_secs(3);

/// One backend, of which one failure is enough.
fn strict(server: &FaultyBackend) -> Arc<Backend> {
    let breaker = BreakerConfig { threshold: 1, ..BreakerConfig::default() };
    let set = BackendSet::new(HttpPool::default(), Meters::none(), breaker);
    set.rebuild(vec![server.spec(1, "b1")]);
    set.get(BackendId(1)).unwrap()
}

#[tokio::test]
async fn who_gives_a_call_up_after_a_while_tells_the_breaker() {
    let server = FaultyBackend::start().await.unwrap();
    let backend = strict(&server);
    server.inject(Rule::new(Fault::Hang));
    let soon = tokio::time::timeout(Duration::from_millis(100), backend.get("k", None, None)).await;
    assert!(soon.is_err() && backend.health().is_readable(Instant::now()), "who leaves at once says nothing");
    assert_eq!(backend.health().latency(), None);
    let body = stream::pending::<Result<Bytes, std::io::Error>>();
    let put = tokio::time::timeout(LATE, backend.put("k", 5, vec![], body)).await;
    assert!(put.is_err() && backend.health().is_up(Instant::now()), "its body may be what was slow");
    server.heal();
    server.plant("k", "hello");
    backend.head("k").await.unwrap();
    server.inject(Rule::new(Fault::Hang));
    let late = tokio::time::timeout(LATE, backend.get("k", None, None)).await;
    assert!(late.is_err() && !backend.health().is_readable(Instant::now()));
    let latency = backend.health().latency().unwrap();
    assert!(latency > LATE / 10, "the newest sample counts for a fifth: {latency:?}");
}

#[tokio::test]
async fn a_body_that_stands_still_counts_while_somebody_waits_for_it() {
    let server = FaultyBackend::start().await.unwrap();
    let backend = strict(&server);
    server.plant("k", vec![7_u8; 1 << 20]);
    server.inject(Rule::new(Fault::StallSending { after: 100_000 }).on(s3server::Operation::Get));
    let mut got = backend.get("k", None, None).await.unwrap();
    assert!(got.body.next().await.unwrap().is_ok());
    tokio::time::sleep(LATE).await;
    drop(got);
    assert!(backend.health().is_up(Instant::now()), "the reader did not ask for more");
    let mut got = backend.get("k", None, None).await.unwrap();
    let all = async { while got.body.next().await.is_some() {} };
    assert!(tokio::time::timeout(LATE, all).await.is_err());
    assert!(backend.health().is_up(Instant::now()), "it is still waited for");
    drop(got);
    assert!(!backend.health().is_readable(Instant::now()));
}

#[tokio::test]
async fn a_backend_may_hang_up_on_a_reader_that_pauses() {
    let server = FaultyBackend::start().await.unwrap();
    let backend = strict(&server);
    server.plant("k", vec![7_u8; 1 << 20]);
    // More than the server keeps before it sends the first of it.
    let cut = || server.inject(Rule::new(Fault::ResetSending { after: 900_000 }).times(1));
    cut();
    let mut got = backend.get("k", None, None).await.unwrap();
    tokio::time::sleep(LATE).await;
    while got.body.next().await.unwrap().is_ok() {}
    assert!(backend.health().is_up(Instant::now()), "it lay here broken off");
    cut();
    let mut got = backend.get("k", None, None).await.unwrap();
    while got.body.next().await.unwrap().is_ok() {}
    assert!(!backend.health().is_readable(Instant::now()));
}

#[tokio::test]
async fn a_probe_without_an_answer_fails_both_sides() {
    let server = FaultyBackend::start().await.unwrap();
    let breaker =
        BreakerConfig { threshold: 2, open_for: Duration::from_millis(1), ..BreakerConfig::default() };
    let set = BackendSet::new(HttpPool::default(), Meters::none(), breaker);
    set.rebuild(vec![server.spec(1, "b1")]);
    let backend = set.get(BackendId(1)).unwrap();
    (0..2).for_each(|_| backend.given_up());
    tokio::time::sleep(Duration::from_millis(10)).await;
    server.inject(Rule::new(Fault::Hang));
    for _ in 0..2 {
        assert!(backend.health().is_readable(Instant::now()));
        backend.probe().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!backend.health().is_readable(Instant::now()));
}

#[tokio::test]
async fn a_rebuild_keeps_what_did_not_change() {
    let server = FaultyBackend::start().await.unwrap();
    let set = BackendSet::new(HttpPool::default(), Meters::none(), BreakerConfig::default());
    set.rebuild(vec![server.spec(1, "a"), server.spec(2, "b")]);
    let (one, two) = (set.get(BackendId(1)).unwrap(), set.get(BackendId(2)).unwrap());
    set.rebuild(vec![server.spec(1, "a"), server.spec(2, "renamed"), server.spec(3, "c")]);
    assert!(Arc::ptr_eq(&one, &set.get(BackendId(1)).unwrap()));
    assert!(!Arc::ptr_eq(&two, &set.get(BackendId(2)).unwrap()));
    assert_eq!(set.all().len(), 3);
    set.rebuild(vec![]);
    assert!(set.get(BackendId(1)).is_none());
}
