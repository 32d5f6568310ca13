//! Bytes that went wrong on a backend never reach a client whole.

use std::time::Duration;

use crate::world::{SHORT, World, bytes};
use s3o_testkit::s3server::{Fault, Operation, Rule};

/// For a report, where there may be none.
const PATIENCE: Duration = Duration::from_secs(2);

/// Two backends; every object is written to both.
async fn world(more: &str) -> World {
    World::start(2, SHORT, more, |model| model.level = Some((2, 2))).await
}

impl World {
    fn corrupt(&self, backend: usize, key: &str) {
        let server = &self.backends[backend];
        let stored = server.keys().into_iter().find(|stored| stored.starts_with(&format!("photos/{key}~")));
        assert!(server.corrupt(&stored.unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_object_is_read_from_the_copy_that_is_right() {
    for digest in ["crc64nvme", "sha256"] {
        let world = world(&format!("integrity: {{digest: {digest}}}\n")).await;
        let body = bytes(1000);
        for bad in 0..2 {
            let key = format!("k{bad}");
            world.put(&key, &body).await;
            world.corrupt(bad, &key);
            for _ in 0..6 {
                assert_eq!(world.get(&key, None).await.as_ref(), Ok(&body), "{digest}");
            }
        }
        let (told, _) = (world.reported("k0", PATIENCE).await + world.reported("k1", PATIENCE).await, ());
        assert!((1..=2).contains(&told), "one of them is read first, and told of once: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_gets_a_wrong_object_whole() {
    let world = world("").await;
    let body = bytes(5_000_000);
    world.put("large", &body).await;
    world.put("small", &body[..1000]).await;
    for backend in 0..2 {
        world.corrupt(backend, "large");
        world.corrupt(backend, "small");
    }
    for (key, size) in [("large", body.len()), ("small", 1000)] {
        let got = world.get(key, None).await;
        assert!(got.is_err(), "{key}: {} bytes of {size}", got.unwrap().len());
        assert!(world.reported(key, PATIENCE).await > 0, "{key}");
    }
    // A range that is all of it is compared too; a piece of it cannot be.
    assert!(world.get("small", Some("bytes=0-999")).await.is_err());
    assert_eq!(world.get("small", Some("bytes=0-9")).await, Ok(body[..10].to_vec()));
}

/// What is wrong on one of two copies is passed over even where the other one breaks off in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_over_two_copies_is_compared_as_a_whole() {
    let world = world("").await;
    let body = bytes(4_000_000);
    world.put("k", &body).await;
    for backend in &world.backends {
        backend.inject(Rule::new(Fault::ResetSending { after: 1_500_000 }).on(Operation::Get).times(1));
    }
    assert!(world.get("k", None).await.unwrap() == body);
    assert_eq!(world.fake.with(|model| model.reports.len()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_made_of_wrong_bytes() {
    let world = world("").await;
    world.put("k", &bytes(300_000)).await;
    world.corrupt(0, "k");
    world.corrupt(1, "k");
    let refuse = || Rule::new(Fault::Status(501)).on(Operation::Copy);
    world.backends.iter().for_each(|backend| backend.inject(refuse()));
    let copy = world.client.copy_object().bucket("photos").key("c").copy_source("photos/k").send().await;
    assert!(copy.is_err());
    assert!(world.fake.with(|model| !model.objects.contains_key("c")));
}

#[tokio::test(flavor = "multi_thread")]
async fn verifying_can_be_left_to_the_scrubber() {
    let world = world("integrity: {verify_on_read: false}\n").await;
    let body = bytes(1000);
    world.put("k", &body).await;
    world.corrupt(0, "k");
    world.corrupt(1, "k");
    // As a range, since the client compares the whole with the checksum that it sent.
    let got = world.get("k", Some("bytes=0-999")).await.unwrap();
    assert!(got.len() == 1000 && got != body);
}
