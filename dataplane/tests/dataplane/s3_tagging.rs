//! Tags through a data plane: there and back, and what a control plane of before tagging means for a client.

use crate::fake::{Fake, client};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::types::{Tag, Tagging};
use s3o_dataplane::{DataPlane, DataPlaneConfig};
use s3o_proto::v1;
use s3o_runtime::Shutdown;

struct World {
    fake: Fake,
    client: Client,
    shutdown: Shutdown,
}

impl World {
    /// With one object, `k`, whose bytes nobody asks for.
    async fn start() -> Self {
        let fake = Fake::default();
        let object = v1::Located {
            version: vec![1; 16].into(),
            size: 7,
            etag: "e".to_owned(),
            modified_us: 1_700_000_000_000_000,
            ..Default::default()
        };
        fake.with(|model| model.objects.insert("k".to_owned(), object));
        let control = fake.serve().await;
        let yaml = format!(
            "name: test\ncontrol_planes: [\"http://{control}\"]\ns3: {{listen: \"127.0.0.1:0\"}}\n\
             http: {{listen: \"127.0.0.1:0\"}}\nlog: {{filter: error}}\n"
        );
        let config: DataPlaneConfig = s3o_runtime::config::parse(&yaml, "test", &|_| None).unwrap();
        let shutdown = Shutdown::new();
        let plane = DataPlane::start(config, shutdown.clone()).await.unwrap();
        plane.ready().await;
        let client = client(plane.s3_addr());
        Self { fake, client, shutdown }
    }

    async fn set(&self, key: &str, tags: &[(&str, &str)]) -> Result<(), (u16, String)> {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build().unwrap());
        let tagging = Tagging::builder().set_tag_set(Some(tags.collect())).build().unwrap();
        let put = self.client.put_object_tagging().bucket("photos").key(key).tagging(tagging);
        let sent = put.send().await;
        sent.map(|_| ()).map_err(|error| {
            let status = error.raw_response().unwrap().status().as_u16();
            (status, SdkError::code(&error).unwrap_or_default().to_owned())
        })
    }

    async fn get(&self) -> Vec<(String, String)> {
        let got = self.client.get_object_tagging().bucket("photos").key("k").send().await.unwrap();
        got.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back() {
    let world = World::start().await;
    assert!(world.get().await.is_empty());
    world.set("k", &[("b c", "ü/+="), ("empty", "")]).await.unwrap();
    let of = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(world.get().await, [of("b c", "ü/+="), of("empty", "")]);
    let head = || world.client.head_object().bucket("photos").key("k").send();
    assert_eq!(head().await.unwrap().tag_count(), Some(2));
    world.client.delete_object_tagging().bucket("photos").key("k").send().await.unwrap();
    assert_eq!((world.get().await.len(), head().await.unwrap().tag_count()), (0, None));
    assert_eq!(world.set("none", &[("a", "1")]).await, Err((404, "NoSuchKey".to_owned())));
    assert_eq!(world.set("k", &[("a,b", "1")]).await, Err((400, "InvalidTag".to_owned())));
    world.shutdown.begin();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_control_plane_is_no_silence() {
    let world = World::start().await;
    world.fake.with(|model| model.knows_no_tags = true);
    assert_eq!(world.set("k", &[("a", "1")]).await, Err((503, "ServiceUnavailable".to_owned())));
    let deleted = world.client.delete_object_tagging().bucket("photos").key("k").send().await;
    assert_eq!(SdkError::code(&deleted.unwrap_err()), Some("ServiceUnavailable"));
    world.shutdown.begin();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_control_plane_has_no_multipart_uploads() {
    let world = World::start().await;
    let created = world.client.create_multipart_upload().bucket("photos").key("k").send().await;
    assert_eq!(SdkError::code(&created.unwrap_err()), Some("ServiceUnavailable"));
    let listed = world.client.list_multipart_uploads().bucket("photos").send().await;
    assert_eq!(SdkError::code(&listed.unwrap_err()), Some("ServiceUnavailable"));
    world.shutdown.begin();
}
