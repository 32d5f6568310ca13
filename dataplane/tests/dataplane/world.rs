//! A data plane with its control plane and its backends in memory: what the worlds of the concerns begin with.

use std::time::Duration;

use crate::fake::{Fake, Model, client};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use s3o_dataplane::{DataPlane, DataPlaneConfig};
use s3o_proto::v1;
use s3o_runtime::Shutdown;
use s3o_testkit::s3server::FaultyBackend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Timeouts of calls where a test is not about them.
pub(crate) const SHORT: &str = "call: 5s, commit: 5s";

pub(crate) struct World {
    pub(crate) fake: Fake,
    pub(crate) backends: Vec<FaultyBackend>,
    pub(crate) plane: DataPlane,
    pub(crate) client: Client,
    pub(crate) shutdown: Shutdown,
}

impl World {
    /// So many backends. `more` is what else the configuration says, `tune` what else the control plane has.
    pub(crate) async fn start(
        count: usize,
        timeouts: &str,
        more: &str,
        tune: impl FnOnce(&mut Model),
    ) -> Self {
        let mut backends = Vec::new();
        for _ in 0..count {
            backends.push(FaultyBackend::start().await.unwrap());
        }
        let fake = Fake::default();
        fake.with(|model| {
            let specs = backends.iter().zip(1..).map(|(backend, id)| backend.spec(id, &format!("b{id}")));
            model.backends = specs.collect();
            tune(model);
        });
        let control = fake.serve().await;
        let yaml = format!(
            "name: test\ncontrol_planes: [\"http://{control}\"]\ns3: {{listen: \"127.0.0.1:0\"}}\n\
             http: {{listen: \"127.0.0.1:0\"}}\ntimeouts: {{{timeouts}}}\nlog: {{filter: error}}\n{more}"
        );
        let config: DataPlaneConfig = s3o_runtime::config::parse(&yaml, "test", &|_| None).unwrap();
        let shutdown = Shutdown::new();
        let plane = DataPlane::start(config, shutdown.clone()).await.unwrap();
        plane.ready().await;
        let client = client(plane.s3_addr());
        Self { fake, backends, plane, client, shutdown }
    }

    pub(crate) async fn put(&self, key: &str, body: &[u8]) {
        let body = ByteStream::from(body.to_vec());
        self.client.put_object().bucket("photos").key(key).body(body).send().await.unwrap();
    }

    pub(crate) async fn get(&self, key: &str, range: Option<&str>) -> Result<Vec<u8>, String> {
        let got = self.client.get_object().bucket("photos").key(key).set_range(range.map(str::to_owned));
        let got = got.send().await.map_err(|error| format!("{error:?}"))?;
        Ok(got.body.collect().await.map_err(|error| error.to_string())?.to_vec())
    }

    pub(crate) async fn http(&self, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.plane.http_addr()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Returns when the page says so, or does not any more.
    pub(crate) async fn until(&self, path: &str, text: &str, says: bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(90);
        while self.http(path).await.contains(text) != says {
            assert!(tokio::time::Instant::now() < end, "{path}: {text:?}: waited for {says}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Tells every data plane, in its session.
    pub(crate) fn tell(&self, message: v1::session_down::Message) {
        let down = v1::SessionDown { message: Some(message), required_features: vec![] };
        self.fake.with(|model| model.sessions.retain(|session| session.send(down.clone()).is_ok()));
    }

    /// Nothing is decided from now on, and the data plane knows it.
    pub(crate) async fn outage(&self) {
        self.fake.with(|model| model.is_away = true);
        self.tell(v1::session_down::Message::Database(v1::DatabaseHealth { reachable: false }));
        self.until("/health", "\"database_breaker\":\"closed\"", false).await;
    }

    /// How often wrong bytes of the key were told of. They are waited for so long.
    pub(crate) async fn reported(&self, key: &str, patience: Duration) -> usize {
        for _ in 0..patience.as_millis() / 10 {
            let count = self.fake.with(|model| model.reports.iter().filter(|report| *report == key).count());
            if count > 0 {
                return count;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        0
    }
}

pub(crate) fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect()
}
