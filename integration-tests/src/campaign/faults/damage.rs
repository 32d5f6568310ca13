//! Single blobs that rot or vanish, where the promises survive it.
//!
//! Invariant: a version is damaged once at most, only when it has all the copies that its bucket wants, at least two,
//! and another one of them is whole at that moment; and the ledger knows of it before the damage is done.

use anyhow::{Context, Result};
use s3o_types::{BlobName, Extent, Gen, StorageKey, VersionId};

use super::{Fault, Kind};
use crate::backend::Backend;
use crate::campaign::board::Damage;
use crate::campaign::buckets::BUCKETS;
use crate::campaign::field::Field;

/// Copies on one backend of versions that have another one, on a backend that stays.
const CANDIDATES: &str = "
    SELECT b.name, c.key, c.version, c.extent, c.gen, o.etag, k2.name, c2.gen
    FROM copies c
    JOIN buckets b ON b.id = c.bucket AND b.name = ANY ($2)
    JOIN backends k ON k.id = c.backend AND k.name = $1
    JOIN (SELECT version, etag FROM objects UNION ALL SELECT version, etag FROM object_versions) AS o
        ON o.version = c.version
    JOIN copies c2 ON c2.version = c.version AND c2.extent = c.extent AND c2.backend <> c.backend
    JOIN backends k2 ON k2.id = c2.backend
    WHERE c.state = 'verified' AND c2.state = 'verified' AND k.state = 'active' AND k2.state = 'active'
    ORDER BY c.version, c.extent, c2.backend LIMIT 2000";

pub(super) async fn inject(fault: &Fault, field: &mut Field) -> Result<()> {
    let backend = &field.cluster.backends[fault.target];
    let buckets: Vec<&str> =
        BUCKETS.iter().filter(|bucket| bucket.may_be_damaged).map(|bucket| bucket.name).collect();
    let sql = field.cluster.sql().await?;
    let rows = sql.query(CANDIDATES, &[&backend.name, &buckets]).await?;
    let start = usize::try_from(fault.amount).unwrap_or_default() % rows.len().max(1);
    for row in rows.iter().cycle().skip(start).take(rows.len()) {
        let (bucket, key): (&str, &str) = (row.get(0), row.get(1));
        let blob = |attempt: i16| -> Result<String> {
            let (version, extent) = (VersionId::from_uuid(row.get(2)), u16::try_from(row.get::<_, i16>(3))?);
            let blob = BlobName {
                version,
                extent: Extent::new(extent).unwrap_or_default(),
                r#gen: Gen::new(u16::try_from(attempt)?).unwrap_or_default(),
            };
            Ok(StorageKey::format(bucket, key, blob))
        };
        let damage = Damage {
            version: row.get(2),
            etag: row.get(5),
            backend: backend.name.clone(),
            storage_key: blob(row.get(4))?,
        };
        let (other, other_key) = (row.get::<_, &str>(6), blob(row.get(7))?);
        let other = field.cluster.backends.iter().find(|backend| backend.name == other);
        let is_whole = other.is_some_and(|other| same(other, &other_key, backend, &damage.storage_key));
        if is_whole && field.board.begin_damage(damage.clone()) {
            let done = match fault.kind {
                Kind::Corrupt => backend.server.corrupt(&damage.storage_key),
                _ => backend.server.remove(&damage.storage_key),
            };
            anyhow::ensure!(done, "{} was gone meanwhile", damage.storage_key);
            return Ok(());
        }
    }
    Err(anyhow::anyhow!("no blob on {} may be damaged", backend.name)).context("damage")
}

fn same(one: &Backend, one_key: &str, other: &Backend, other_key: &str) -> bool {
    match (one.server.blob(one_key), other.server.blob(other_key)) {
        (Some(one), Some(other)) => one.bytes == other.bytes,
        _ => false,
    }
}
