//! Configuration rows.

use std::collections::HashMap;

use s3o_core::config::{
    BackendConfig, BucketConfig, BucketState, ClusterConfig, CredentialConfig, DeclaredBackend,
};
use s3o_core::removal::Removal;
use s3o_types::{
    BackendId, BackendSpec, BucketId, BucketName, CorsRule, Credentials, EtagProof, LifecycleRule, Place,
    Quirks, Rights, Scope, Secret, Seq,
};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::{Cells, bucket_lock, corrupt};
use crate::error::Failure;

/// `backends.spec`: what stands in [`BackendSpec`] without id, name and place.
#[derive(Serialize, Deserialize)]
struct SpecJson {
    endpoint: String,
    region: String,
    bucket: String,
    credentials: Credentials,
    quirks: Quirks,
}

/// The document for a declared backend.
pub(crate) fn spec_json(declared: &DeclaredBackend) -> Result<serde_json::Value, Failure> {
    let spec = SpecJson {
        endpoint: declared.endpoint.clone(),
        region: declared.region.clone(),
        bucket: declared.bucket.clone(),
        credentials: declared.credentials.clone(),
        quirks: declared.quirks.clone(),
    };
    serde_json::to_value(spec).map_err(|error| corrupt("backends", &declared.name, error))
}

/// The same of its limits; `None`: it has none.
pub(crate) fn limits_json(declared: &DeclaredBackend) -> Result<Option<serde_json::Value>, Failure> {
    if declared.limits.is_none() {
        return Ok(None);
    }
    serde_json::to_value(declared.limits)
        .map(Some)
        .map_err(|error| corrupt("backends", &declared.name, error))
}

/// All rows of one generation, as one snapshot read them.
pub(crate) struct ConfigRows {
    pub(crate) settings: Vec<Row>,
    pub(crate) backends: Vec<Row>,
    pub(crate) buckets: Vec<Row>,
    pub(crate) credentials: Vec<Row>,
    pub(crate) grants: Vec<Row>,
    pub(crate) scopes: Vec<Row>,
}

impl TryFrom<ConfigRows> for ClusterConfig {
    type Error = Failure;

    fn try_from(rows: ConfigRows) -> Result<Self, Failure> {
        let settings = settings(&rows.settings)?;
        let text = |name: &str| settings.get(name).and_then(serde_json::Value::as_str);
        let missing =
            |name: &'static str| move || corrupt("settings", name, "it is missing or of another type");
        let cluster = text("cluster").ok_or_else(missing("cluster"))?;
        let routing = text("routing").ok_or_else(missing("routing"))?;
        let generation = settings.get("generation").and_then(serde_json::Value::as_i64);
        Ok(Self {
            generation: generation.ok_or_else(missing("generation"))?,
            cluster: cluster.parse().map_err(|error| corrupt("settings", "cluster", error))?,
            routing: routing.parse().map_err(|error| corrupt("settings", "routing", error))?,
            backends: each(&rows.backends, "backends", "id", backend)?,
            buckets: each(&rows.buckets, "buckets", "id", bucket)?,
            credentials: credentials(&rows.credentials, &rows.grants, &rows.scopes)?,
        })
    }
}

fn settings(rows: &[Row]) -> Result<HashMap<String, serde_json::Value>, Failure> {
    let read = |row| Ok::<_, String>((Cells(row).get("name")?, Cells(row).get("value")?));
    rows.iter().map(|row| read(row).map_err(|why| corrupt("settings", "?", why))).collect()
}

fn each<T>(
    rows: &[Row],
    table: &str,
    key: &str,
    read: impl Fn(Cells<'_>) -> Result<T, String>,
) -> Result<Vec<T>, Failure> {
    let name = |cells: Cells<'_>| cells.get::<i32>(key).map_or_else(|_| "?".to_owned(), |id| id.to_string());
    rows.iter().map(|row| read(Cells(row)).map_err(|why| corrupt(table, name(Cells(row)), why))).collect()
}

fn backend(cells: Cells<'_>) -> Result<BackendConfig, String> {
    let spec: serde_json::Value = cells.get("spec")?;
    let spec: SpecJson = serde_json::from_value(spec).map_err(|error| format!("column spec: {error}"))?;
    let mut quirks = spec.quirks;
    if quirks.etag == EtagProof::Unknown {
        let proof = serde_json::Value::String(cells.get("etag_proof")?);
        quirks.etag = serde_json::from_value(proof).map_err(|error| format!("column etag_proof: {error}"))?;
    }
    Ok(BackendConfig {
        spec: BackendSpec {
            id: BackendId(cells.get("id")?),
            name: cells.get("name")?,
            endpoint: spec.endpoint,
            region: spec.region,
            bucket: spec.bucket,
            place: Place::from_number(cells.get("place")?),
            credentials: spec.credentials,
            quirks,
        },
        state: cells.word("state")?,
        quota_bytes: cells.optional_unsigned("quota_bytes")?,
        max_object_size: cells.optional_unsigned("max_object_size")?,
        limits: cells.json("usage_limits")?,
        priority: cells.get("priority")?,
        attached: cells.get("attached")?,
        removal: removal(cells)?,
    })
}

/// How a backend is given up; `None`: it is not.
pub(crate) fn removal(cells: Cells<'_>) -> Result<Option<Removal>, String> {
    let mode: Option<String> = cells.get("removal")?;
    let Some(mode) = mode else { return Ok(None) };
    let losses_upto = cells.get::<Option<i64>>("removal_losses_upto")?.map(Seq);
    Ok(Some(Removal { mode: mode.parse()?, losses_upto }))
}

fn bucket(cells: Cells<'_>) -> Result<BucketConfig, String> {
    let name: String = cells.get("name")?;
    let factor: i16 = cells.get("replication_factor")?;
    Ok(BucketConfig {
        id: BucketId(cells.get("id")?),
        name: BucketName::try_from(name)?,
        state: bucket_state(cells)?,
        ack: cells.word("ack")?,
        replication_factor: u16::try_from(factor).map_err(|error| format!("replication_factor: {error}"))?,
        max_object_size: cells.optional_unsigned("max_object_size")?,
        created: cells.time("created")?,
        cors: cors(cells)?,
        lifecycle: lifecycle(cells)?,
        versioning: cells.word("versioning")?,
        lock: bucket_lock(cells)?,
        degraded_reads: cells.word("degraded_reads")?,
    })
}

/// Those of YAML, where it has any; else those that were set through the API.
fn cors(cells: Cells<'_>) -> Result<Vec<CorsRule>, String> {
    let declared: Vec<CorsRule> = cells.json("cors")?;
    if declared.is_empty() { cells.json("stored_cors") } else { Ok(declared) }
}

/// The same of what expires.
pub(crate) fn lifecycle(cells: Cells<'_>) -> Result<Vec<LifecycleRule>, String> {
    let declared: Vec<LifecycleRule> = cells.json("lifecycle")?;
    if declared.is_empty() { cells.json("stored_lifecycle") } else { Ok(declared) }
}

/// A bucket that was ever versioned has a word of its own, and so has one with Object Lock: an older release cannot read it,
/// and keeps off.
pub(crate) fn bucket_state(cells: Cells<'_>) -> Result<BucketState, String> {
    match cells.get("state")? {
        "versioned" | "locked" => Ok(BucketState::Active),
        word => word.parse(),
    }
}

/// Rules of a bucket as its row has them.
pub(crate) fn rules_json<T: Serialize>(bucket: &str, rules: &[T]) -> Result<String, Failure> {
    serde_json::to_string(rules).map_err(|error| corrupt("buckets", bucket, error))
}

/// A row of `scoped_grants`.
pub(crate) fn scope(cells: Cells<'_>) -> Result<(BucketId, Scope), String> {
    let bits: i16 = cells.get("rights")?;
    let rights = Rights::from_bits(u32::try_from(bits).map_err(|error| format!("rights: {error}"))?);
    Ok((BucketId(cells.get("bucket")?), Scope { prefix: cells.get("prefix")?, rights }))
}

fn credentials(rows: &[Row], grants: &[Row], scopes: &[Row]) -> Result<Vec<CredentialConfig>, Failure> {
    let mut scoped: HashMap<String, Vec<(BucketId, Scope)>> = HashMap::new();
    for row in scopes {
        let cells = Cells(row);
        let bad = |why| corrupt("scoped_grants", "?", why);
        let key: String = cells.get("access_key_id").map_err(bad)?;
        scoped.entry(key).or_default().push(scope(cells).map_err(bad)?);
    }

    let mut by_key: HashMap<String, Vec<(BucketId, bool)>> = HashMap::new();
    for row in grants {
        let cells = Cells(row);
        let read =
            || Ok::<_, String>((cells.get("access_key_id")?, cells.get("bucket")?, cells.get("can_write")?));
        let (key, bucket, can_write): (String, i32, bool) =
            read().map_err(|why| corrupt("grants", "?", why))?;
        by_key.entry(key).or_default().push((BucketId(bucket), can_write));
    }
    let mut read = |row| {
        let cells = Cells(row);
        let access_key_id: String = cells.get("access_key_id")?;
        let grants = by_key.remove(&access_key_id).unwrap_or_default();
        let scopes = scoped.remove(&access_key_id).unwrap_or_default();
        let secret: String = cells.get("secret_access_key")?;
        let secret_access_key = Secret::new(secret);
        let create_buckets = cells.get("create_buckets")?;
        Ok::<_, String>(CredentialConfig { access_key_id, secret_access_key, create_buckets, grants, scopes })
    };
    rows.iter().map(|row| read(row).map_err(|why| corrupt("credentials", "?", why))).collect()
}
