//! Bytes that went wrong on a backend never reach a client whole.

use crate::fake::{Fake, client};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use s3o_dataplane::{DataPlane, DataPlaneConfig};
use s3o_runtime::Shutdown;
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};

struct World {
    fake: Fake,
    backends: Vec<FaultyBackend>,
    client: Client,
    _plane: DataPlane,
}

/// Two backends; every object is written to both.
async fn world(more: &str) -> World {
    let backends = vec![FaultyBackend::start().await.unwrap(), FaultyBackend::start().await.unwrap()];
    let fake = Fake::default();
    fake.with(|model| {
        model.backends =
            backends.iter().zip(1..).map(|(backend, id)| backend.spec(id, &format!("b{id}"))).collect();
        model.level = Some((2, 2));
    });
    let control = fake.serve().await;
    let yaml = format!(
        "name: test\ncontrol_planes: [\"http://{control}\"]\ns3: {{listen: \"127.0.0.1:0\"}}\nhttp: {{listen: \"127.0.0.1:0\"}}\n\
         timeouts: {{call: 5s, commit: 5s}}\nlog: {{filter: error}}\n{more}"
    );
    let config: DataPlaneConfig = s3o_runtime::config::parse(&yaml, "test", &|_| None).unwrap();
    let plane = DataPlane::start(config, Shutdown::new()).await.unwrap();
    plane.ready().await;
    let client = client(plane.s3_addr());
    World { fake, backends, client, _plane: plane }
}

impl World {
    async fn put(&self, key: &str, body: &[u8]) {
        let body = ByteStream::from(body.to_vec());
        self.client.put_object().bucket("photos").key(key).body(body).send().await.unwrap();
    }

    async fn get(&self, key: &str, range: Option<&str>) -> Result<Vec<u8>, String> {
        let got = self.client.get_object().bucket("photos").key(key).set_range(range.map(str::to_owned));
        let got = got.send().await.map_err(|error| format!("{error:?}"))?;
        Ok(got.body.collect().await.map_err(|error| error.to_string())?.to_vec())
    }

    fn corrupt(&self, backend: usize, key: &str) {
        let server = &self.backends[backend];
        let stored = server.keys().into_iter().find(|stored| stored.starts_with(&format!("photos/{key}~")));
        assert!(server.corrupt(&stored.unwrap()));
    }

    async fn reported(&self, key: &str) -> usize {
        for _ in 0..200 {
            let count = self.fake.with(|model| model.reports.iter().filter(|report| *report == key).count());
            if count > 0 {
                return count;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        0
    }
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect()
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
        let (told, _) = (world.reported("k0").await + world.reported("k1").await, ());
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
        assert!(world.reported(key).await > 0, "{key}");
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
