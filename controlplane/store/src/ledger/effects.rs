//! The second flight of a batch: its effects and the commit.
//!
//! Invariant: `backend_usage` is written by the last statement, its rows in ascending order of the backend, so that its
//! locks are held for the shortest time and by everybody in one order; what that statement writes besides is locked already,
//! by its key or its intent, or new.

use s3o_core::cleanup::{CleanupEntry, CleanupTimes, VersionCleanup};
use s3o_core::effects::Effects;
use s3o_core::intent::{Intent, Target};
use s3o_core::object::ObjectRow;
use s3o_core::outcome_log::Change;
use s3o_core::upload::UploadEffects;
use s3o_core::usage::{Usage, UsageDeltas, signed};
use s3o_core::versions::VersionEffects;
use s3o_types::{BucketId, ObjectLock, Op, VersionId, VersionRef};
use serde::Serialize;
use uuid::Uuid;

use super::flight::{Flight, Param};
use super::writes::{
    self, ADD_CLEANUP, ADD_INTENTS, ADD_MARKERS, ADD_REPLICATION, ADD_TARGETS, ADD_USAGE, ADD_VERSIONS,
    CLOSE_UPLOADS, COUNT_ATTEMPTS, COUNT_COPIES, DROP_COPIES, DROP_OBJECTS, DROP_VERSIONS, MARK_COPIES,
    OPEN_UPLOADS, PUT_PARTS, RESTORE_VERSIONS, RETIRE_OBJECTS, SET_LOCKS, SET_TAGS, SETTLE, TAG_VERSIONS,
    TAKE_COPIES,
};
use super::{copies, uploads, versions as version_rows};
use crate::connection::Connection;
use crate::error::Failure;
use crate::rows::{PgTime, corrupt, fifteen_bits, int_array, object_json, text_array};

/// What a lane prepares when it connects.
pub(crate) async fn prepare(connection: &mut Connection) -> Result<(), Failure> {
    for sql in writes::ALL {
        connection.prepare(sql).await?;
    }
    Ok(())
}

/// Statements with their parameters. What has nothing to write costs nothing.
#[derive(Default)]
struct Statements(Vec<(&'static str, Vec<Param>)>);

impl Statements {
    fn add(&mut self, nothing: bool, sql: &'static str, params: impl FnOnce() -> Vec<Param>) {
        if !nothing {
            self.0.push((sql, params()));
        }
    }

    fn try_add(
        &mut self,
        nothing: bool,
        sql: &'static str,
        params: impl FnOnce() -> Result<Vec<Param>, Failure>,
    ) -> Result<(), Failure> {
        if !nothing {
            self.0.push((sql, params()?));
        }
        Ok(())
    }
}

/// Writes and commits. When this fails with [`Failure::Lost`], the commit may have been done.
pub(crate) async fn write(
    connection: &Connection,
    effects: &Effects,
    slot: i16,
    times: &CleanupTimes,
) -> Result<(), Failure> {
    let mut flight = Flight::new(connection);
    for (sql, params) in statements(effects, slot, times)?.0 {
        flight.add(sql, params).await?;
    }
    let Effects { add_targets, uploads, copy_attempts, .. } = effects;
    if !add_targets.is_empty() || !uploads.attempts.is_empty() || !copy_attempts.is_empty() {
        // Only an intent may be forgotten: a target that was added would be written to unreserved, and an attempt
        // at a part or a copy would be given out again.
        flight.add_text("SET LOCAL synchronous_commit = on").await?;
    }
    flight.add_text("COMMIT").await?;
    flight.land().await?;
    Ok(())
}

/// In the order in which they are sent.
fn statements(effects: &Effects, slot: i16, times: &CleanupTimes) -> Result<Statements, Failure> {
    let Effects {
        put_objects,
        set_tags,
        set_locks,
        drop_objects,
        versions:
            VersionEffects { dropped: dropped_versions, retired, restored, markers, tagged: tagged_versions },
        add_copies,
        drop_copies,
        take_copies,
        mark_copies,
        copy_attempts,
        replicate,
        add_intents,
        add_targets,
        drop_intents,
        usage,
        cleanup,
        cleanup_versions,
        uploads: UploadEffects { opened, closed, attempts, parts },
        changes,
    } = effects;
    let settles_nothing =
        drop_intents.is_empty() && put_objects.is_empty() && add_copies.is_empty() && changes.is_empty();
    // The usage goes with the last of the two, or by itself.
    let (none, begins_nothing) = (UsageDeltas::default(), add_intents.is_empty());
    let usage_alone = settles_nothing && begins_nothing && !usage.is_empty();
    let begun = || {
        let mut begun = intents(add_intents);
        begun.extend(usages(if settles_nothing { usage } else { &none }, slot));
        begun
    };
    let settled = || {
        let mut settled = ops(drop_intents.iter());
        settled.extend(objects(put_objects)?);
        settled.extend(copies::added(add_copies)?);
        settled.extend(logged(changes)?);
        settled.push(locks(put_objects)?);
        settled.push(copies::checksums(add_copies)?);
        settled.extend(usages(usage, slot));
        Ok(settled)
    };
    let mut all = Statements::default();
    all.add(drop_copies.is_empty(), DROP_COPIES, || versions(drop_copies));
    all.add(take_copies.is_empty(), TAKE_COPIES, || copies::taken(take_copies));
    all.add(mark_copies.is_empty(), MARK_COPIES, || copies::marked(mark_copies));
    all.add(dropped_versions.is_empty(), DROP_VERSIONS, || version_rows::named(dropped_versions));
    all.add(retired.is_empty(), RETIRE_OBJECTS, || dropped(retired));
    all.add(drop_objects.is_empty(), DROP_OBJECTS, || dropped(drop_objects));
    all.add(restored.is_empty(), RESTORE_VERSIONS, || version_rows::named(restored));
    all.add(markers.is_empty(), ADD_MARKERS, || version_rows::markers(markers));
    all.try_add(set_tags.is_empty(), SET_TAGS, || tagged(set_tags))?;
    all.try_add(tagged_versions.is_empty(), TAG_VERSIONS, || tagged(tagged_versions))?;
    all.try_add(set_locks.is_empty(), SET_LOCKS, || locked(set_locks))?;
    all.add(add_targets.is_empty(), ADD_TARGETS, || targets(add_targets));
    all.try_add(opened.is_empty(), OPEN_UPLOADS, || uploads::opened(opened))?;
    all.try_add(closed.is_empty(), CLOSE_UPLOADS, || uploads::closed(closed))?;
    all.try_add(parts.is_empty(), PUT_PARTS, || uploads::parts(parts))?;
    all.add(attempts.is_empty(), COUNT_ATTEMPTS, || uploads::attempts(attempts));
    all.add(copy_attempts.is_empty(), COUNT_COPIES, || copies::attempts(copy_attempts));
    all.add(replicate.is_empty(), ADD_REPLICATION, || copies::queued(replicate));
    all.add(cleanup.is_empty(), ADD_CLEANUP, || cleanups(cleanup, times));
    all.add(cleanup_versions.is_empty(), ADD_VERSIONS, || versions_queued(cleanup_versions, times));
    all.add(begins_nothing, ADD_INTENTS, begun);
    all.try_add(settles_nothing, SETTLE, settled)?;
    all.add(!usage_alone, ADD_USAGE, || usages(usage, slot));
    Ok(all)
}

/// One column of the rows.
pub(super) fn column<R, T>(rows: &[R], of: impl Fn(&R) -> T) -> Param
where
    Vec<T>: tokio_postgres::types::ToSql + Sync + Send + 'static,
{
    Box::new(rows.iter().map(of).collect::<Vec<T>>())
}

/// NULL for a value that says no more than its default.
pub(super) fn json<T: Serialize + Default + PartialEq>(
    table: &str,
    key: &str,
    value: &T,
) -> Result<Option<String>, Failure> {
    if *value == T::default() {
        return Ok(None);
    }
    serde_json::to_string(value).map(Some).map_err(|error| corrupt(table, key, error))
}

fn ops<'a>(ops: impl Iterator<Item = &'a Op>) -> Vec<Param> {
    let (ids, items): (Vec<Uuid>, Vec<i32>) = ops.map(|op| (op.id, op.item)).unzip();
    vec![Box::new(ids), Box::new(items)]
}

fn versions(rows: &[VersionId]) -> Vec<Param> {
    vec![column(rows, |version| version.to_uuid())]
}

fn dropped(rows: &[(BucketId, String)]) -> Vec<Param> {
    vec![column(rows, |(bucket, _)| bucket.0), column(rows, |(_, key)| key.clone())]
}

fn objects(rows: &[ObjectRow]) -> Result<Vec<Param>, Failure> {
    let (mut attributes, mut checksums, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let mut untagged = row.attributes.clone();
        untagged.tags.clear();
        untagged.lock = ObjectLock::default();
        attributes.push(json("objects", &row.key, &untagged)?);
        checksums.push(json("objects", &row.key, &row.checksums)?);
        tags.push(json("objects", &row.key, &row.attributes.tags)?);
    }
    Ok(vec![
        column(rows, |row| row.bucket.0),
        column(rows, |row| row.key.clone()),
        column(rows, |row| row.seq.0),
        column(rows, |row| row.version.to_uuid()),
        column(rows, |row| signed(row.size)),
        column(rows, |row| row.etag.as_str().to_owned()),
        column(rows, |row| PgTime(row.modified)),
        Box::new(attributes),
        Box::new(checksums),
        Box::new(tags),
        column(rows, |row| row.is_null),
        column(rows, |row| row.parts.map(i32::from)),
    ])
}

fn tagged(rows: &[ObjectRow]) -> Result<Vec<Param>, Failure> {
    let tags: Vec<Option<String>> =
        rows.iter().map(|row| json("objects", &row.key, &row.attributes.tags)).collect::<Result<_, _>>()?;
    Ok(vec![
        column(rows, |row| row.bucket.0),
        column(rows, |row| row.key.clone()),
        column(rows, |row| row.version.to_uuid()),
        Box::new(tags),
    ])
}

fn locks(rows: &[ObjectRow]) -> Result<Param, Failure> {
    let locks = rows.iter().map(|row| json("objects", &row.key, &row.attributes.lock));
    Ok(Box::new(locks.collect::<Result<Vec<Option<String>>, _>>()?))
}

fn locked(rows: &[ObjectRow]) -> Result<Vec<Param>, Failure> {
    Ok(vec![
        column(rows, |row| row.bucket.0),
        column(rows, |row| row.key.clone()),
        column(rows, |row| row.version.to_uuid()),
        locks(rows)?,
    ])
}

fn intents(rows: &[Intent]) -> Vec<Param> {
    let ints = |row: &Intent, of: fn(&Target) -> i64| int_array(row.targets.iter().map(of));
    vec![
        column(rows, |row| row.op.id),
        column(rows, |row| row.op.item),
        column(rows, |row| row.session),
        column(rows, |row| row.bucket.0),
        column(rows, |row| row.key.clone()),
        column(rows, |row| row.version.to_uuid()),
        column(rows, |row| signed(row.size)),
        column(rows, |row| row.kind.as_str()),
        column(rows, |row| row.conditions.if_absent),
        column(rows, |row| row.conditions.if_match.as_ref().map(|etag| etag.as_str().to_owned())),
        column(rows, |row| fifteen_bits(row.required_copies)),
        column(rows, |row| row.log_floor.0),
        column(rows, |row| PgTime(row.begun)),
        column(rows, |row| ints(row, |target| i64::from(target.backend.0))),
        column(rows, |row| ints(row, |target| i64::from(target.extent.get()))),
        column(rows, |row| ints(row, |target| i64::from(target.r#gen.get()))),
        column(rows, |row| text_array(row.targets.iter().map(|target| target.storage_key.as_str()))),
        column(rows, |row| ints(row, |target| i64::from(target.place.number()))),
        column(rows, |row| row.upload.map(|upload| upload.0)),
    ]
}

fn targets(rows: &[(Op, Target)]) -> Vec<Param> {
    vec![
        column(rows, |(op, _)| op.id),
        column(rows, |(op, _)| op.item),
        column(rows, |(_, target)| target.backend.0),
        column(rows, |(_, target)| fifteen_bits(target.extent.get())),
        column(rows, |(_, target)| fifteen_bits(target.r#gen.get())),
        column(rows, |(_, target)| target.storage_key.clone()),
        column(rows, |(_, target)| target.place.number()),
    ]
}

fn cleanups(rows: &[CleanupEntry], times: &CleanupTimes) -> Vec<Param> {
    vec![
        column(rows, |row| row.backend.0),
        column(rows, |row| row.storage_key.clone()),
        column(rows, |row| row.blob.version.to_uuid()),
        column(rows, |row| fifteen_bits(row.blob.extent.get())),
        column(rows, |row| fifteen_bits(row.blob.r#gen.get())),
        column(rows, |row| row.backend_version.clone()),
        column(rows, |row| signed(row.size)),
        column(rows, |row| row.reason.as_str()),
        column(rows, |row| row.uncertain),
        column(rows, |row| times.first_wait_us(row.reason)),
    ]
}

fn versions_queued(rows: &[VersionCleanup], times: &CleanupTimes) -> Vec<Param> {
    vec![
        column(rows, |row| row.version.to_uuid()),
        column(rows, |row| row.prefix.clone()),
        column(rows, |row| signed(row.size)),
        column(rows, |row| row.reason.as_str()),
        column(rows, |row| times.first_wait_us(row.reason)),
    ]
}

fn logged(rows: &[Change]) -> Result<Vec<Param>, Failure> {
    let object = |row: &Change| row.object.as_ref().map(object_json).transpose();
    let objects: Vec<Option<String>> = rows
        .iter()
        .map(object)
        .collect::<Result<_, _>>()
        .map_err(|error| corrupt("changes", "new", error))?;
    Ok(vec![
        column(rows, |row| row.seq.0),
        column(rows, |row| row.op.id),
        column(rows, |row| row.op.item),
        column(rows, |row| row.logged.code()),
        column(rows, |row| row.bucket.0),
        column(rows, |row| row.key.clone()),
        column(rows, |row| row.version.map(VersionId::to_uuid)),
        Box::new(objects),
        column(rows, |row| row.told.map(|told| told == VersionRef::Null)),
    ])
}

fn usages(deltas: &UsageDeltas, slot: i16) -> Vec<Param> {
    let rows: Vec<(i32, Usage)> = deltas.iter().map(|(backend, usage)| (backend.0, *usage)).collect();
    vec![
        Box::new(slot),
        column(&rows, |(backend, _)| *backend),
        column(&rows, |(_, usage)| usage.used),
        column(&rows, |(_, usage)| usage.reserved),
        column(&rows, |(_, usage)| usage.orphaned),
        column(&rows, |(_, usage)| usage.objects),
    ]
}
