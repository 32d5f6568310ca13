//! Copies that are to be read: by a data plane's report, or on demand.

use std::pin::Pin;
use std::sync::Arc;

use s3o_core::ports::ObjectScrub;
use s3o_core::replication::{CopyTask, ReplicationEntry};
use s3o_core::scrub::{ScrubObject, ScrubbedCopy};
use s3o_proto::v1;
use s3o_runtime::Shutdown;
use s3o_types::BucketId;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;

use crate::field;
use crate::status::{bad_request, port_failed, refused};
use crate::wiring::Wiring;

/// What is found, as it is found.
pub(crate) type Verdicts = Pin<Box<dyn Stream<Item = Result<v1::ScrubbedCopy, Status>> + Send>>;

/// Queues a version whose bytes were wrong for a reader. A repeat changes nothing.
pub(crate) async fn report(
    wiring: &Wiring,
    request: v1::ReportCorruptionRequest,
) -> Result<v1::ReportCorruptionReply, Status> {
    let v1::ReportCorruptionRequest { bucket, key, version, request_id } = request;
    let version = field::version("version", &version)?;
    let key = field::key(key)?;
    tracing::warn!(request_id, bucket, key, %version, "a reader got wrong bytes");
    let entry = ReplicationEntry { version, bucket: BucketId(bucket), key, task: CopyTask::Verify };
    let ports = wiring.ports()?;
    ports.replication.queue_versions(vec![entry]).await.map_err(|error| port_failed(&error))?;
    Ok(v1::ReportCorruptionReply { required_features: wiring.required_features() })
}

/// Reads all copies of an object. Who hangs up ends nothing: what was begun is marked and repaired.
pub(crate) fn object(
    scrub: Arc<dyn ObjectScrub>,
    request: v1::ScrubObjectRequest,
    shutdown: &Shutdown,
) -> Result<Verdicts, Status> {
    let v1::ScrubObjectRequest { bucket, key, version_id } = request;
    if bucket.is_empty() {
        return Err(bad_request("bucket", "is empty"));
    }
    let version = field::version_ref("version_id", &version_id)?;
    let object = ScrubObject { bucket, key: field::key(key)?, version };
    // A line of text for each copy of one object.
    let (tell, told) = mpsc::unbounded_channel();
    let each = tell.clone();
    shutdown.spawn(async move {
        let each = Box::new(move |copy: ScrubbedCopy| drop(each.send(Ok(to_wire(copy)))));
        if let Err(refusal) = scrub.scrub_object(object, each).await {
            // Nobody listens any more.
            let _ = tell.send(Err(refused(refusal)));
        }
    });
    Ok(Box::pin(UnboundedReceiverStream::new(told)))
}

fn to_wire(copy: ScrubbedCopy) -> v1::ScrubbedCopy {
    let ScrubbedCopy { version, extent, backend, storage_key, size, verdict } = copy;
    v1::ScrubbedCopy {
        version: version.to_string(),
        extent: u32::from(extent.get()),
        backend,
        storage_key,
        size,
        verdict: verdict.as_str().to_owned(),
        why: verdict.why().to_owned(),
    }
}
