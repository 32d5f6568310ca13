//! Buckets that clients make, change and delete, and the configuration in which that stands.

use s3o_core::bucket::{BucketChange, Wanted};
use s3o_core::call::Refusal;
use s3o_proto::v1;
use s3o_proto::v1::change_bucket_request::Change;
use s3o_types::{BucketName, CorsRule};
use s3o_wire::cors;
use tonic::Status;
use tracing::debug;

use crate::field::{self, Bad, no_nul};
use crate::lifecycle;
use crate::object_lock;
use crate::session::configuration::configuration as to_wire;
use crate::status::port_failed;
use crate::wiring::Wiring;

pub(crate) async fn change(
    wiring: &Wiring,
    request: v1::ChangeBucketRequest,
) -> Result<v1::ChangeBucketReply, Status> {
    let change = change_of(request)?;
    let changed = wiring.ports()?.buckets.change(change).await.map_err(|error| port_failed(&error))?;
    let required_features = wiring.required_features();
    Ok(match changed {
        Ok(generation) => v1::ChangeBucketReply { generation, refused: None, required_features },
        Err(Refusal { code, message, limit: _ }) => v1::ChangeBucketReply {
            generation: 0,
            refused: Some(v1::Refused { code: code.info().wire, message }),
            required_features,
        },
    })
}

fn change_of(request: v1::ChangeBucketRequest) -> Result<BucketChange, Bad> {
    let v1::ChangeBucketRequest { op, request_id, access_key, name, change } = request;
    debug!(%request_id, name, "change of a bucket");
    let wanted = match change {
        Some(Change::Create(v1::CreateBucket {})) => Wanted::Create { locks: false },
        Some(Change::CreateLocked(v1::CreateLockedBucket {})) => Wanted::Create { locks: true },
        Some(Change::Delete(v1::DeleteBucket {})) => Wanted::Delete,
        Some(Change::SetCors(v1::SetCors { rules })) => {
            Wanted::Cors(rules.into_iter().map(rule).collect::<Result<_, _>>()?)
        }
        Some(Change::SetLifecycle(v1::SetLifecycle { rules })) => Wanted::Lifecycle(lifecycle::rules(rules)?),
        Some(Change::SetLock(lock)) => Wanted::Lock(object_lock::bucket_from_wire(lock)?),
        None => return Err(Bad::new("change", "is missing, or one that this release does not know")),
    };
    let name: BucketName = name.parse().map_err(|why: String| Bad::new("name", why))?;
    Ok(BucketChange {
        op: field::uuid("op", &op)?,
        access_key: no_nul("access_key", access_key)?,
        name,
        wanted,
    })
}

fn rule(rule: v1::CorsRule) -> Result<CorsRule, Bad> {
    let rule = cors::from_wire(rule);
    let rule = CorsRule { id: no_nul("rules.id", rule.id)?, ..rule };
    match rule.problems().into_iter().next() {
        None => Ok(rule),
        Some((field, why)) => Err(Bad::new(&format!("rules.{field}"), why)),
    }
}

pub(crate) async fn configuration(
    wiring: &Wiring,
    request: v1::GetConfigurationRequest,
) -> Result<v1::GetConfigurationReply, Status> {
    let v1::GetConfigurationRequest { generation, request_id } = request;
    debug!(%request_id, generation, "newest configuration");
    let newest = wiring.ports()?.configs.newest().await.map_err(|error| port_failed(&error))?;
    Ok(v1::GetConfigurationReply {
        configuration: (newest.generation > generation).then(|| to_wire(&newest)),
        required_features: wiring.required_features(),
    })
}
