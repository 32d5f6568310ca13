//! Changes of buckets: what is asked is checked, what was decided is said; and the newest configuration.

use s3o_core::bucket::{BucketChange, Wanted};
use s3o_core::call::Refusal;
use s3o_proto::v1;
use s3o_proto::v1::change_bucket_request::Change;
use s3o_types::ErrorCode;
use uuid::Uuid;

use super::Plane;
use super::fakes::config;
use crate::status::fields;

fn request(change: Option<Change>) -> v1::ChangeBucketRequest {
    v1::ChangeBucketRequest {
        op: Uuid::from_u128(5).as_bytes().to_vec().into(),
        request_id: "r".into(),
        access_key: "client".into(),
        name: "photos".into(),
        change,
    }
}

#[tokio::test]
async fn a_change_is_handed_on_and_its_outcome_said() {
    let plane = Plane::start().await;
    let mut client = plane.dataplane();
    let refusal = Refusal::new(ErrorCode::BucketNotEmpty, "it has objects");
    plane.fakes.bucket_outcomes.lock().unwrap().extend([Ok(8), Err(refusal)]);
    let create = request(Some(Change::Create(v1::CreateBucket {})));
    let reply = client.change_bucket(create).await.unwrap().into_inner();
    assert_eq!((reply.generation, reply.refused), (8, None));
    let delete = request(Some(Change::Delete(v1::DeleteBucket {})));
    let refused = client.change_bucket(delete.clone()).await.unwrap().into_inner().refused.unwrap();
    assert_eq!(ErrorCode::from_wire(refused.code), Some(ErrorCode::BucketNotEmpty));
    let asked = plane.fakes.bucket_changes.lock().unwrap().clone();
    let name = "photos".parse().unwrap();
    let op = Uuid::from_u128(5);
    let created =
        BucketChange { op, access_key: "client".into(), name, wanted: Wanted::Create { locks: false } };
    assert_eq!(asked, [created.clone(), BucketChange { wanted: Wanted::Delete, ..created }]);
    // Nothing was prepared: the database is away.
    assert_eq!(client.change_bucket(delete).await.unwrap_err().code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn what_makes_no_sense_is_named() {
    let plane = Plane::start().await;
    let mut client = plane.dataplane();
    let create = || Some(Change::Create(v1::CreateBucket {}));
    let rule = v1::CorsRule { allowed_origins: vec!["*".into()], ..v1::CorsRule::default() };
    for (wrong, field) in [
        (request(None), "change"),
        (v1::ChangeBucketRequest { name: "A_B".into(), ..request(create()) }, "name"),
        (v1::ChangeBucketRequest { op: vec![1].into(), ..request(create()) }, "op"),
        (request(Some(Change::SetCors(v1::SetCors { rules: vec![rule] }))), "rules.allowed_methods"),
    ] {
        let status = client.change_bucket(wrong).await.unwrap_err();
        assert_eq!(fields(&status), [field]);
    }
    assert!(plane.fakes.bucket_changes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_a_newer_configuration_is_sent() {
    let plane = Plane::start().await;
    let mut client = plane.dataplane();
    plane.fakes.config.send_replace(std::sync::Arc::new(config(7)));
    for (generation, newer) in [(6, Some(7)), (7, None), (8, None)] {
        let request = v1::GetConfigurationRequest { generation, request_id: "r".into() };
        let reply = client.get_configuration(request).await.unwrap().into_inner();
        assert_eq!(reply.configuration.map(|configuration| configuration.generation), newer);
    }
}
