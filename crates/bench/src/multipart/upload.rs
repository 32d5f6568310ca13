//! One upload at one target: Create, the parts over several connections, Complete; then the object's GET
//! and its end.
//!
//! Invariant: an upload that fails is aborted, so that it takes no memory from those that follow.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use super::plan::Plan;
use crate::load::closed::Lap;
use crate::load::{Connection, Feed, Workshop, connect_all};
use crate::target::Target;

/// How long all parts of an upload may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// A connection for everything but parts.
pub(super) struct Client {
    workshop: Workshop,
    connection: Connection,
}

impl Client {
    pub(super) async fn open(target: &Target) -> Result<Self> {
        let workshop = Workshop::new(target.signer(), &target.bucket, &target.host)?;
        let connection = connect_all(&target.addresses, 1, true).await?.pop().context("no connection")?;
        Ok(Self { workshop, connection })
    }

    /// Stores each distinct body once, so that nobody sees one for the first time while it is measured.
    pub(super) async fn warm_up(&mut self, plan: &Plan) -> Result<()> {
        for (n, upload) in plan.distinct().enumerate() {
            let key = format!("multipart/warm-{n}");
            self.connection.exchange(&self.workshop.put(&key, upload)?).await?;
            self.delete(&key).await?;
        }
        Ok(())
    }

    /// Everything before Complete: the id of an upload whose parts are all there.
    pub(super) async fn begin(
        &mut self,
        key: &str,
        plan: &Plan,
        connections: Vec<Connection>,
    ) -> Result<String> {
        let (status, answer) = self.connection.fetch(&self.workshop.create_upload(key)?).await?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(status == 200, "Create: status {status}: {answer}");
        let id = upload_id(&answer).context("Create: an answer without an upload's id")?.to_owned();
        let parts = (0..plan.parts()).map(|index| {
            let number = index + 1;
            self.workshop.part(key, &id, number, plan.upload(index))
        });
        let lap = Lap::start(connections, Feed::once(parts.collect::<Result<_>>()?));
        lap.run(PATIENCE).await;
        let ended = lap.end().await?;
        let stored = ended.latency.len();
        if ended.failed.count > 0 || stored != plan.parts() as u64 {
            self.abort(key, &id).await;
            bail!("{stored} of {} parts were stored: {:?}", plan.parts(), ended.failed.first);
        }
        Ok(id)
    }

    /// How long Complete took.
    pub(super) async fn complete(&mut self, key: &str, id: &str, plan: &Plan) -> Result<Duration> {
        let request = self.workshop.complete_upload(key, id, plan.completion())?;
        let began = Instant::now();
        let (status, answer) = self.connection.fetch(&request).await?;
        let took = began.elapsed();
        let answer = String::from_utf8_lossy(&answer);
        // S3 may answer 200 before it knows, and then an error.
        if status != 200 || !answer.contains("<CompleteMultipartUploadResult") {
            self.abort(key, id).await;
            bail!("Complete: status {status}: {answer}");
        }
        Ok(took)
    }

    /// Nothing is to be done where it fails: something else has failed before.
    async fn abort(&mut self, key: &str, id: &str) {
        if let Ok(request) = self.workshop.abort_upload(key, id) {
            let _ = self.connection.exchange(&request).await;
        }
    }

    /// Reads the whole object; its length is looked at.
    pub(super) async fn read(&mut self, key: &str, size: usize) -> Result<()> {
        self.connection.exchange(&self.workshop.get_sized(key, size)?).await.context("GET")
    }

    /// Reads the whole object and compares it.
    pub(super) async fn compare(&mut self, key: &str, content: Bytes) -> Result<()> {
        self.connection.exchange(&self.workshop.get(key, content)?).await.context("GET")
    }

    pub(super) async fn delete(&mut self, key: &str) -> Result<()> {
        self.connection.exchange(&self.workshop.delete(key)?).await.context("DELETE")
    }
}

/// From the answer to Create.
fn upload_id(answer: &str) -> Option<&str> {
    let (_, rest) = answer.split_once("<UploadId>")?;
    rest.split_once("</UploadId>").map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::load::Payload;
    use crate::target::TargetSpec;

    #[test]
    fn ids() {
        assert_eq!(upload_id("<R><Key>k</Key><UploadId>a~b</UploadId></R>"), Some("a~b"));
        assert_eq!(upload_id("<Error/>"), None);
    }

    /// With the null backend, whose answers are what the other targets' are compared with.
    #[tokio::test]
    async fn an_upload_and_its_way_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(crate::null::accept(listener));
        let spec: TargetSpec = format!("null=http://{address},a,s,b").parse().expect("a target");
        let target = Target::rival(spec).expect("an address");
        for payload in [Payload::Unsigned, Payload::Signed, Payload::Trailer] {
            let plan = Plan::new(70_000, 5_120, payload, 1).expect("a plan");
            let mut client = Client::open(&target).await.expect("a connection");
            client.warm_up(&plan).await.expect("a warm-up");
            let connections = connect_all(&target.addresses, 3, false).await.expect("connections");
            let id = client.begin("k", &plan, connections).await.expect("parts");
            client.complete("k", &id, &plan).await.expect("an object");
            client.read("k", 70_000).await.expect("its length");
            client.read("k", 69_999).await.expect_err("another length");
            client.compare("k", plan.content()).await.expect("its content");
            client.delete("k").await.expect("its end");
            client.read("k", 70_000).await.expect_err("no object");
            client.complete("k", &id, &plan).await.expect_err("no upload");
        }
    }
}
