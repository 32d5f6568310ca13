//! The cluster's configuration as data planes get it: what they need to serve, and no more.

use s3o_core::config::{BackendConfig, BucketConfig, BucketState, ClusterConfig, CredentialConfig};
use s3o_proto::v1;
use s3o_types::{BackendSpec, BackendState, BucketId, Credentials, DegradedReads, Scope};
use s3o_wire::{cors, lifecycle, lock, quirks, versioning};

pub(crate) fn configuration(config: &ClusterConfig) -> v1::Configuration {
    // How placement chooses is the control plane's.
    let ClusterConfig { generation, cluster, routing: _, backends, buckets, credentials } = config;
    v1::Configuration {
        generation: *generation,
        cluster: cluster.to_string(),
        backends: backends.iter().map(backend).collect(),
        buckets: buckets.iter().filter_map(bucket).collect(),
        credentials: credentials.iter().map(credential).collect(),
    }
}

fn backend(config: &BackendConfig) -> v1::Backend {
    // Limits, order and attachment are placement's.
    let BackendConfig {
        spec,
        state,
        quota_bytes: _,
        max_object_size: _,
        limits: _,
        priority: _,
        attached: _,
        removal: _,
    } = config;
    let BackendSpec { id, name, endpoint, region, bucket, place, credentials, quirks } = spec;
    v1::Backend {
        id: id.0,
        name: name.clone(),
        endpoint: endpoint.clone(),
        region: region.clone(),
        bucket: bucket.clone(),
        credentials: Some(backend_credentials(credentials)),
        quirks: Some(quirks::to_wire(quirks)),
        state: match state {
            BackendState::Active => v1::BackendState::Active,
            BackendState::Draining => v1::BackendState::Draining,
            BackendState::Removed => v1::BackendState::Removed,
        }
        .into(),
        place: place.number(),
    }
}

fn backend_credentials(credentials: &Credentials) -> v1::backend::Credentials {
    match credentials {
        Credentials::Static { access_key_id, secret_access_key, session_token } => {
            v1::backend::Credentials::Static(v1::StaticCredentials {
                access_key_id: access_key_id.clone(),
                secret_access_key: secret_access_key.expose().to_owned(),
                session_token: session_token.as_ref().map(|token| token.expose().to_owned()),
            })
        }
        Credentials::AwsDefaultChain => v1::backend::Credentials::AwsDefaultChain(v1::AwsDefaultChain {}),
    }
}

/// `None` for a bucket that clients must not see any more.
fn bucket(config: &BucketConfig) -> Option<v1::Bucket> {
    // How sure a write must be is decided at Begin.
    // So is whether it keeps versions, in the transaction that writes; readers without the database must know it too.
    let BucketConfig {
        id,
        name,
        state,
        ack: _,
        replication_factor: _,
        max_object_size,
        created,
        cors,
        lifecycle,
        versioning,
        lock,
        degraded_reads,
    } = config;
    match state {
        BucketState::Active => {}
        BucketState::Deleting | BucketState::Gone => return None,
    }
    Some(v1::Bucket {
        id: id.0,
        name: name.as_str().to_owned(),
        created_us: created.0,
        max_object_size: max_object_size.unwrap_or_default(),
        cors: cors.iter().cloned().map(cors::to_wire).collect(),
        lifecycle: lifecycle.iter().cloned().map(lifecycle::to_wire).collect(),
        versioning: versioning::to_wire(*versioning).into(),
        lock: lock.map(lock::bucket_to_wire),
        degraded_reads: match degraded_reads {
            DegradedReads::Allowed => v1::DegradedReads::Allowed,
            DegradedReads::Cache => v1::DegradedReads::Cache,
            DegradedReads::Refused => v1::DegradedReads::Refused,
        }
        .into(),
    })
}

fn credential(config: &CredentialConfig) -> v1::Credential {
    let CredentialConfig { access_key_id, secret_access_key, create_buckets, grants, scopes } = config;
    let scoped = |(bucket, Scope { prefix, rights }): &(BucketId, Scope)| v1::ScopedGrant {
        bucket: bucket.0,
        prefix: prefix.clone(),
        rights: u32::from(rights.bits()),
    };
    v1::Credential {
        access_key_id: access_key_id.clone(),
        secret_access_key: secret_access_key.expose().to_owned(),
        grants: grants.iter().map(|(bucket, write)| v1::Grant { bucket: bucket.0, write: *write }).collect(),
        scopes: scopes.iter().map(scoped).collect(),
        create_buckets: *create_buckets,
    }
}
