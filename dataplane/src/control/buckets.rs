//! Changes of buckets, and the newest configuration when it cannot be waited for.

use s3o_proto::v1;
use s3o_proto::v1::change_bucket_request::Change;
use s3o_types::{CorsRule, ErrorCode, LifecycleRule};
use s3o_wire::{cors, lifecycle};

use super::convert::uuid_bytes;
use super::{Caller, Failure};

impl Caller {
    /// Makes a bucket of the caller's own. Answers the generation of the configuration that has it, as all of these do.
    /// `locks`: with Object Lock.
    pub(crate) async fn create_bucket(&self, name: &str, locks: bool) -> Result<i64, Failure> {
        let change = if locks {
            Change::CreateLocked(v1::CreateLockedBucket {})
        } else {
            Change::Create(v1::CreateBucket {})
        };
        self.change_bucket(name, change).await
    }

    /// Deletes a bucket that is empty.
    pub(crate) async fn delete_bucket(&self, name: &str) -> Result<i64, Failure> {
        self.change_bucket(name, Change::Delete(v1::DeleteBucket {})).await
    }

    /// Gives a bucket these CORS rules; none removes them.
    pub(crate) async fn set_cors(&self, name: &str, rules: &[CorsRule]) -> Result<i64, Failure> {
        let rules = rules.iter().cloned().map(cors::to_wire).collect();
        self.change_bucket(name, Change::SetCors(v1::SetCors { rules })).await
    }

    /// Gives a bucket these rules by which objects expire; none removes them.
    pub(crate) async fn set_lifecycle(&self, name: &str, rules: &[LifecycleRule]) -> Result<i64, Failure> {
        let rules = rules.iter().cloned().map(lifecycle::to_wire).collect();
        self.change_bucket(name, Change::SetLifecycle(v1::SetLifecycle { rules })).await
    }

    pub(super) async fn change_bucket(&self, name: &str, change: Change) -> Result<i64, Failure> {
        let request = v1::ChangeBucketRequest {
            op: uuid_bytes(self.op),
            request_id: self.request_id.clone(),
            access_key: self.access_key.clone(),
            name: name.to_owned(),
            change: Some(change),
        };
        let reply = self
            .ask(|mut client| {
                let request = request.clone();
                async move { client.change_bucket(request).await }
            })
            .await?;
        let v1::ChangeBucketReply { generation, refused, required_features } = reply;
        self.control.see_required(&required_features);
        let Some(v1::Refused { code, message }) = refused else { return Ok(generation) };
        match ErrorCode::from_wire(code) {
            Some(code) => Err(Failure::Refused { code, message }),
            None => Err(Failure::Unknown),
        }
    }

    /// The configuration that the database has now, if it is newer than `generation`.
    pub(crate) async fn newest_configuration(
        &self,
        generation: i64,
    ) -> Result<Option<v1::Configuration>, Failure> {
        let request = v1::GetConfigurationRequest { generation, request_id: self.request_id.clone() };
        let reply = self
            .ask(|mut client| {
                let request = request.clone();
                async move { client.get_configuration(request).await }
            })
            .await?;
        let v1::GetConfigurationReply { configuration, required_features } = reply;
        self.control.see_required(&required_features);
        Ok(configuration)
    }
}
