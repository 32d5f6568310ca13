//! A configuration with something of everything.

use s3o_core::config::{BackendConfig, BucketConfig, BucketState, ClusterConfig, CredentialConfig, Routing};
use s3o_types::{
    AckLevel, BackendId, BackendSpec, BackendState, BucketId, CorsRule, Credentials, DegradedReads, Place,
    Quirks, Rights, Scope, Secret, Timestamp, UsageLimits, Versioning,
};
use uuid::Uuid;

pub(crate) fn config(generation: i64) -> ClusterConfig {
    let bucket = |id, name: &str, state| BucketConfig {
        id: BucketId(id),
        name: name.parse().unwrap(),
        state,
        ack: AckLevel::One,
        replication_factor: 1,
        max_object_size: Some(5),
        created: Timestamp(7),
        lifecycle: vec![s3o_types::LifecycleRule {
            expire_after_days: Some(7),
            ..s3o_types::LifecycleRule::default()
        }],
        cors: vec![CorsRule {
            allowed_origins: vec!["*".into()],
            max_age_seconds: Some(9),
            ..CorsRule::default()
        }],
        versioning: Versioning::Off,
        lock: None,
        degraded_reads: DegradedReads::Cache,
    };
    ClusterConfig {
        generation,
        cluster: Uuid::from_u128(99),
        routing: Routing::Pack,
        backends: vec![BackendConfig {
            spec: BackendSpec {
                id: BackendId(3),
                name: "b3".into(),
                endpoint: "http://127.0.0.1:1".into(),
                region: "r".into(),
                bucket: "real".into(),
                place: Place::from_number(2),
                credentials: Credentials::Static {
                    access_key_id: "ak".into(),
                    secret_access_key: Secret::new("sk"),
                    session_token: None,
                },
                quirks: Quirks::default(),
            },
            state: BackendState::Active,
            quota_bytes: Some(1000),
            max_object_size: None,
            limits: UsageLimits { egress_bytes: Some(10), ..UsageLimits::default() },
            priority: 0,
            attached: true,
            removal: None,
        }],
        buckets: vec![bucket(1, "photos", BucketState::Active), bucket(2, "old", BucketState::Deleting)],
        credentials: vec![CredentialConfig {
            scopes: vec![(BucketId(2), Scope { prefix: "p/".into(), rights: Rights::READ })],
            access_key_id: "client".into(),
            secret_access_key: Secret::new("hush"),
            create_buckets: true,
            grants: vec![(BucketId(1), true)],
        }],
    }
}
