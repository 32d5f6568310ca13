//! Reads go on: over backends that hang, stall or break off, over copies that are moved, and through an outage.

use std::time::Duration;

use crate::world::{World, bytes};
use s3o_proto::v1;
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};

/// Two backends; every object is written to so many of them.
async fn started(copies: u32) -> World {
    World::start(2, "call: 20s, commit: 60s, backend_idle: 1s", "", |model| {
        model.level = Some((copies as usize, copies));
        model.degraded_reads = v1::DegradedReads::Allowed.into();
    })
    .await
}

impl World {
    /// The copy that is read first while nothing is known of its backend.
    fn first(&self, key: &str) -> (&FaultyBackend, String) {
        let copy = self.fake.with(|model| model.objects[key].extents[0].copies[0].clone());
        (&self.backends[copy.backend as usize - 1], copy.storage_key)
    }

    /// Makes an object one of several extents, each a blob of its own.
    fn split(&self, key: &str, body: &[u8], size: usize) {
        let whole = self.fake.with(|model| model.objects[key].extents[0].clone());
        let extent = |(n, piece): (usize, &[u8])| {
            let mut copies = whole.copies.clone();
            for copy in &mut copies {
                copy.storage_key = format!("{}-{n}", copy.storage_key);
                self.backends[copy.backend as usize - 1].plant(&copy.storage_key, piece.to_vec());
            }
            let (offset, size) = ((n * size) as u64, piece.len() as u64);
            v1::LocatedExtent { offset, size, copies, ..Default::default() }
        };
        let extents: Vec<_> = body.chunks(size).enumerate().map(extent).collect();
        self.fake.with(|model| {
            let located = model.objects.get_mut(key).unwrap();
            located.parts = Some(extents.len() as u32);
            located.extents = extents;
        });
    }

    /// The months of these are used up, and the data plane knows it: what is said in a session is heard in its order.
    async fn spend(&self, backends: &[i32]) {
        self.tell(v1::session_down::Message::Spent(v1::SpentBackends { backends: backends.to_vec() }));
        // That of the configuration which follows.
        let generation = self.fake.with(|model| model.generation + 2);
        self.fake.reconfigure();
        self.until("/health", &format!("\"generation\":{generation}"), true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_a_backend_that_hangs_open_its_breaker() {
    let world = started(2).await;
    world.put("k", b"hello").await;
    let (hangs, _) = world.first("k");
    let name = if std::ptr::eq(hangs, &world.backends[0]) { "b1" } else { "b2" };
    hangs.inject(Rule::new(Fault::Hang));
    // Less than what a copy gets while there is another one.
    let patience = Duration::from_secs(4);
    let leave = || tokio::time::timeout(patience, world.get("k", None));
    let left = futures::future::join_all((0..5).map(|_| leave())).await;
    assert!(left.iter().all(Result::is_err), "all of them have asked the one that hangs");
    let closed = format!("s3o_circuit_breaker_state{{name=\"{name}\"}} 0");
    world.until("/metrics", &closed, false).await;
    let asked = hangs.count(Operation::Get);
    assert_eq!(world.get("k", None).await, Ok(b"hello".to_vec()));
    assert_eq!(hangs.count(Operation::Get), asked, "the other copy was read at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_hangs_is_left_for_another_one_and_asked_again_when_that_fails() {
    let world = started(2).await;
    world.put("k", b"hello").await;
    let (slow, _) = world.first("k");
    slow.inject(Rule::new(Fault::Hang).on(Operation::Get).times(1));
    // Half of the limit for an answer.
    let got = tokio::time::timeout(Duration::from_secs(30), world.get("k", None)).await;
    assert_eq!(got, Ok(Ok(b"hello".to_vec())));
    slow.heal();

    let world = started(2).await;
    world.put("k", b"hello").await;
    let (slow, _) = world.first("k");
    for backend in &world.backends {
        let fault = if std::ptr::eq(slow, backend) {
            Fault::Latency(Duration::from_secs(7))
        } else {
            Fault::Status(500)
        };
        backend.inject(Rule::new(fault).on(Operation::Get));
    }
    assert_eq!(world.get("k", None).await, Ok(b"hello".to_vec()));
    assert_eq!(slow.count(Operation::Get), 2, "once too short, and once with the whole limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_stands_still_goes_on_at_another_copy() {
    let world = started(2).await;
    let body = bytes(3 << 20);
    world.put("k", &body).await;
    for after in [0, 1 << 20] {
        // Each of them once, whichever is read first.
        for backend in &world.backends {
            backend.inject(Rule::new(Fault::StallSending { after }).on(Operation::Get).times(1));
        }
        assert!(world.get("k", None).await.as_ref() == Ok(&body), "after {after} bytes");
        world.backends.iter().for_each(FaultyBackend::heal);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_may_break_at_any_byte() {
    let world = started(2).await;
    let body = bytes(300_000);
    world.put("k", &body).await;
    for after in [0, 1, 65_535, 65_536, 65_537, 150_000, 299_999] {
        for (first, last) in [(0, 299_999), (70_000, 299_998), (299_999, 299_999)] {
            let range = format!("bytes={first}-{last}");
            let range = (first > 0).then_some(range.as_str());
            // Each of them once, whichever is read first.
            for backend in &world.backends {
                backend.inject(Rule::new(Fault::ResetSending { after }).on(Operation::Get).times(1));
            }
            let got = world.get("k", range).await;
            let is_right = got.as_ref().is_ok_and(|got| *got == body[first..=last]);
            assert!(is_right, "{range:?} breaks after {after} bytes: {:?}", got.map(|got| got.len()));
            world.backends.iter().for_each(FaultyBackend::heal);
        }
    }
    assert_eq!(world.fake.with(|model| model.reports.len()), 0, "what breaks off is not wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_moved_while_it_is_read_is_found_again() {
    let world = started(1).await;
    let body = bytes(4 << 20);
    world.put("k", &body).await;
    let (from, stored) = world.first("k");
    assert!(std::ptr::eq(from, &world.backends[0]), "where it was placed");
    world.backends[1].plant(&stored, body.clone());
    world.fake.with(|model| {
        let mut moved = model.objects["k"].clone();
        moved.extents[0].copies[0].backend = 2;
        model.moved.insert("k".to_owned(), moved);
    });
    // It breaks off, and then its blob is gone.
    from.inject(Rule::new(Fault::ResetSending { after: 1 << 20 }).on(Operation::Get).times(1));
    from.inject(Rule::new(Fault::Status(404)).on(Operation::Get));
    assert!(world.get("k", None).await.as_ref() == Ok(&body), "the rest is where it is now");
    assert_eq!(world.backends[1].count(Operation::Get), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_read_goes_on_through_an_outage() {
    let world = started(1).await;
    let body = bytes(3 << 20);
    world.put("k", &body).await;
    world.split("k", &body, 1 << 20);
    // One extent at a time, and after the first one nothing is decided.
    world.fake.with(|model| (model.window, model.leaves) = (Some(1), true));
    let got = world.client.get_object().bucket("photos").key("k").send().await.unwrap();
    let read = tokio::spawn(got.body.collect());
    world.outage().await;
    world.fake.with(|model| model.is_away = false);
    let read = read.await.unwrap();
    assert!(read.is_ok_and(|read| read.to_vec() == body), "it has waited for the database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_in_the_first_seconds_of_an_outage_is_answered() {
    let world = started(1).await;
    world.put("k", b"hello").await;
    world.fake.with(|model| model.is_away = true);
    assert_eq!(world.get("k", None).await, Ok(b"hello".to_vec()), "from what is remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_what_its_row_says_is_told_of() {
    let world = started(2).await;
    let body = bytes(1000);
    for key in ["gone", "short"] {
        world.put(key, &body).await;
    }
    // It never gives an answer of which the time would be known, and so it is asked first.
    let (bad, _) = world.first("gone");
    for key in ["gone", "short"] {
        let (_, stored) = world.first(key);
        assert!(bad.remove(&stored), "each has a copy of each");
        if key == "short" {
            bad.plant(&stored, body[..10].to_vec());
        }
        assert_eq!(world.get(key, None).await.as_ref(), Ok(&body), "{key}");
        assert!(world.reported(key, Duration::from_secs(5)).await > 0, "{key}");
    }
}

/// Availability before thrift: what is used up is read last, and still read.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_whose_month_is_used_up_is_read_last() {
    let world = started(2).await;
    world.put("k", b"hello").await;
    let reads = || [0, 1].map(|n: usize| world.backends[n].count(Operation::Get));
    for (spent, other) in [(1, 1), (2, 0)] {
        world.spend(&[spent]).await;
        let before = reads();
        for _ in 0..3 {
            assert_eq!(world.get("k", None).await, Ok(b"hello".to_vec()));
        }
        assert_eq!(reads()[other], before[other] + 3, "backend {spent} is not needed");
        assert_eq!(reads()[1 - other], before[1 - other], "backend {spent} is not needed");
    }
    // The other one fails.
    world.backends[0].inject(Rule::new(Fault::Status(500)).on(Operation::Get));
    assert_eq!(world.get("k", None).await, Ok(b"hello".to_vec()), "now it is");
    world.backends[0].heal();
    world.spend(&[1, 2]).await;
    assert_eq!(world.get("k", None).await, Ok(b"hello".to_vec()), "there is no other one");
    // The month's turn.
    world.spend(&[]).await;
    assert_eq!(world.get("k", None).await, Ok(b"hello".to_vec()));
}
