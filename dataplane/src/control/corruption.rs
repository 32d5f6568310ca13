//! Tells the control plane of wrong bytes.

use s3o_proto::v1;
use s3o_types::{BucketId, VersionId};

use super::calls::{Caller, Failure};
use super::convert::uuid_bytes;

impl Caller {
    /// A reader got bytes of a version that are not what they should be: its copies are read by a worker.
    pub(crate) async fn report_corruption(
        &self,
        bucket: BucketId,
        key: &str,
        version: VersionId,
    ) -> Result<(), Failure> {
        let request = v1::ReportCorruptionRequest {
            bucket: bucket.0,
            key: key.to_owned(),
            version: uuid_bytes(version.to_uuid()),
            request_id: self.request_id.clone(),
        };
        let reply = self.ask(|mut client| {
            let request = request.clone();
            async move { client.report_corruption(request).await }
        });
        let v1::ReportCorruptionReply { required_features } = reply.await?;
        self.control.see_required(&required_features);
        Ok(())
    }
}
