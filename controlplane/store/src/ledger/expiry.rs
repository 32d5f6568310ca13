//! What calls that let something expire are decided from, besides the rows of their keys: the rules of the bucket, and where
//! a noncurrent row stands. Read under the key's lock; other calls pay nothing for them.

use std::collections::HashMap;

use s3o_core::call::{Call, Expire, Expiring, Request};
use s3o_core::lifecycle::Standing;
use s3o_types::{BucketId, LifecycleRule, Op};
use uuid::Uuid;

use super::effects::column;
use super::facts::Subject;
use super::flight::Param;
use super::plan::{Part, Plan};
use crate::error::Failure;
use crate::lifecycle::standing;
use crate::rows::{Cells, lifecycle};

/// The rules of buckets, declared or stored.
pub(super) const RULES: &str =
    "SELECT b.id, b.lifecycle, b.stored_lifecycle FROM buckets b WHERE b.id = ANY ($1::int[])";

/// Where rows of `object_versions` stand among those of their keys.
pub(super) const STANDINGS: &str = concat!(
    "SELECT t.op, t.item, ",
    standing!(),
    "
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::uuid[]) AS t (op, item, bucket, key, version)
    CROSS JOIN LATERAL (
        SELECT bucket, key, seq FROM object_versions WHERE object_versions.version = t.version OFFSET 0
    ) AS v
    WHERE v.bucket = t.bucket AND v.key = t.key"
);

fn expire(request: &Request) -> Option<(Op, &Expire)> {
    match &request.call {
        Call::Expire(expire) => Some((request.op, expire)),
        _ => None,
    }
}

pub(super) async fn plan(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    let mut buckets: Vec<i32> =
        requests.iter().filter_map(|request| expire(request)).map(|(_, expire)| expire.bucket.0).collect();
    if buckets.is_empty() {
        return Ok(());
    }
    buckets.sort_unstable();
    buckets.dedup();
    plan.add(Part::Lifecycle, RULES, vec![Box::new(buckets)]).await?;
    let noncurrent = requests.iter().filter_map(|request| expire(request));
    let noncurrent: Vec<(Op, &Expire, Uuid)> = noncurrent
        .filter_map(|(op, expire)| match expire.what {
            Expiring::Noncurrent { version, .. } => Some((op, expire, version.to_uuid())),
            Expiring::Current(_) | Expiring::Upload(_) => None,
        })
        .collect();
    if noncurrent.is_empty() {
        return Ok(());
    }
    let params: Vec<Param> = vec![
        column(&noncurrent, |(op, ..)| op.id),
        column(&noncurrent, |(op, ..)| op.item),
        column(&noncurrent, |(_, expire, _)| expire.bucket.0),
        column(&noncurrent, |(_, expire, _)| expire.key.clone()),
        column(&noncurrent, |(.., version)| *version),
    ];
    plan.add(Part::Standing, STANDINGS, params).await
}

/// By rules that this release cannot read nothing expires; the page of rows that comes before says that they are such.
pub(super) fn take_rules(
    known: &mut HashMap<BucketId, Vec<LifecycleRule>>,
    cells: Cells<'_>,
) -> Result<(), (Subject, String)> {
    let id = BucketId(cells.get("id").map_err(|why| (Subject::Everybody, why))?);
    if let Ok(rules) = lifecycle(cells) {
        known.insert(id, rules);
    }
    Ok(())
}

pub(super) fn take_standing(known: &mut HashMap<Op, Standing>, cells: Cells<'_>) -> Result<(), String> {
    let op = Op { id: cells.get("op")?, item: cells.get("item")? };
    known.insert(op, crate::lifecycle::read_standing(cells)?);
    Ok(())
}
