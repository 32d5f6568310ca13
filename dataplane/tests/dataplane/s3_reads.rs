//! Reads go on: over backends that hang, stall or break off, over copies that are moved, and through an outage.

use std::time::Duration;

use crate::world::{World, bytes};
use aws_sdk_s3::types::{ChecksumMode, ChecksumType, GetObjectAttributesParts, ObjectAttributes};
use s3o_blob::{Algorithm, AlgorithmSet, BodyHasher};
use s3o_proto::v1;
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};

fn crc32c(bytes: &[u8]) -> String {
    let digests = BodyHasher::digest(bytes, AlgorithmSet::NONE.with(Algorithm::Crc32c));
    digests.checksum(Algorithm::Crc32c).unwrap().to_owned()
}

/// Two backends; every object is written to so many of them.
async fn started(copies: u32) -> World {
    started_with(copies, "").await
}

/// The same with more limits of time.
async fn started_with(copies: u32, limits: &str) -> World {
    World::start(2, &format!("call: 20s, commit: 60s{limits}"), "", |model| {
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
            let checksums = [("crc32c".to_owned(), crc32c(piece))].into();
            v1::LocatedExtent { offset, size, copies, checksums, ..Default::default() }
        };
        let extents: Vec<_> = body.chunks(size).enumerate().map(extent).collect();
        self.fake.with(|model| {
            let located = model.objects.get_mut(key).unwrap();
            located.parts = Some(extents.len() as u32);
            located.checksums = [("crc32c".to_owned(), format!("AAAAAA==-{}", extents.len()))].into();
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
    let patience = Duration::from_secs(3);
    let asked_five = async {
        while hangs.count(Operation::Get) < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        got = futures::future::select_all((0..5).map(|_| Box::pin(world.get("k", None)))) => panic!("{:?}", got.0),
        () = asked_five => {}
    }
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
    let world = started_with(2, ", backend_idle: 1s").await;
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

impl World {
    async fn parts(&self, key: &str, behind: u16, max: i32) -> Result<GetObjectAttributesParts, String> {
        let asked = self.client.get_object_attributes().bucket("photos").key(key);
        let asked = asked.object_attributes(ObjectAttributes::ObjectParts).max_parts(max);
        let answer = asked.part_number_marker(behind.to_string()).send().await;
        answer.map(|answer| answer.object_parts.unwrap()).map_err(|error| format!("{error:?}"))
    }
}

/// Number, size and checksum of each, and the number behind which there are more.
type Listed = (Vec<(i32, i64, String)>, Option<String>);

fn listed(parts: &GetObjectAttributesParts) -> Listed {
    let each = parts.parts().iter().map(|part| {
        let checksum = part.checksum_crc32_c().unwrap_or_default().to_owned();
        (part.part_number().unwrap(), part.size().unwrap(), checksum)
    });
    let next = parts.next_part_number_marker().map(str::to_owned);
    (each.collect(), next.filter(|_| parts.is_truncated() == Some(true)))
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_listed_with_their_checksums() {
    let world = started(1).await;
    let body = bytes(4500);
    world.put("k", &body).await;
    world.split("k", &body, 1000);
    // One more extent at a time, behind the one that is known.
    world.fake.with(|model| model.window = Some(2));
    let all: Vec<_> = (1..)
        .zip(body.chunks(1000))
        .map(|(number, piece)| (number, piece.len() as i64, crc32c(piece)))
        .collect();
    let (first, rest) = all.split_at(3);
    let page = world.parts("k", 0, 3).await.unwrap();
    assert_eq!(listed(&page), (first.to_vec(), Some("3".to_owned())));
    assert_eq!((page.total_parts_count(), page.max_parts()), (Some(5), Some(3)));
    assert_eq!(listed(&world.parts("k", 3, 3).await.unwrap()), (rest.to_vec(), None));
    for behind in [5, 6, 10_000, u16::MAX] {
        assert_eq!(listed(&world.parts("k", behind, 3).await.unwrap()), (vec![], None), "behind {behind}");
    }
    // One that is not known is not made up, and the others are no list without it.
    world.fake.with(|model| model.objects.get_mut("k").unwrap().extents[4].checksums.clear());
    let page = world.parts("k", 0, 1000).await.unwrap();
    assert_eq!((listed(&page), page.total_parts_count(), page.max_parts()), ((vec![], None), Some(5), None));
    // Nor are those of an object without any.
    world.fake.with(|model| model.objects.get_mut("k").unwrap().checksums.clear());
    let page = world.parts("k", 0, 1).await.unwrap();
    assert_eq!((listed(&page), page.total_parts_count()), ((vec![], None), Some(5)));
}

/// A part behind those that are gone keeps its number.
#[tokio::test(flavor = "multi_thread")]
async fn no_parts_are_listed_of_what_is_taken_apart() {
    let world = started(1).await;
    let body = bytes(4500);
    world.put("k", &body).await;
    world.split("k", &body, 1000);
    world.fake.with(|model| {
        model.window = Some(2);
        model.objects.get_mut("k").unwrap().extents.remove(2);
    });
    let refused = world.parts("k", 0, 5).await.unwrap_err();
    assert!(refused.contains("The object changes faster than it can be looked at"), "{refused}");
}

/// What there is of the version that was located is not mixed with another one's.
#[tokio::test(flavor = "multi_thread")]
async fn parts_are_listed_of_one_version() {
    let world = started(1).await;
    let body = bytes(4500);
    world.put("k", &body).await;
    world.split("k", &body, 1000);
    world.put("other", b"x").await;
    world.fake.with(|model| {
        let other = model.objects["other"].clone();
        model.moved.insert("k".to_owned(), other);
    });
    let refused = world.parts("k", 0, 3).await.unwrap_err();
    assert!(refused.contains("The object changes faster than it can be looked at"), "{refused}");
    assert_eq!(world.parts("k", 0, 1).await.unwrap().parts().len(), 1, "nothing more is needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_read_with_its_checksum() {
    let world = started(1).await;
    let body = bytes(2500);
    world.put("k", &body).await;
    world.split("k", &body, 1000);
    let head = || world.client.head_object().bucket("photos").key("k").part_number(2);
    let told = head().checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    let checksum = crc32c(&body[1000..2000]);
    assert_eq!((told.checksum_crc32_c(), told.parts_count()), (Some(checksum.as_str()), Some(3)));
    assert_eq!(told.checksum_type(), Some(&ChecksumType::Composite), "the kind is the object's");
    assert_eq!(head().send().await.unwrap().checksum_crc32_c(), None, "nobody asked for it");
    let get = world.client.get_object().bucket("photos").key("k").part_number(3);
    let got = get.checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!(got.checksum_crc32_c(), Some(crc32c(&body[2000..]).as_str()));
    assert_eq!(got.body.collect().await.unwrap().to_vec(), body[2000..], "the client has compared it");
    world.fake.with(|model| model.objects.get_mut("k").unwrap().extents[1].checksums.clear());
    let unknown = head().checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!((unknown.checksum_crc32_c(), unknown.parts_count()), (None, Some(3)));
}
