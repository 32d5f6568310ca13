//! A call as it comes from the wire.

use s3o_core::call::{
    Abort, Begin, Call, CarriedIntent, Delete, FinishedTarget, Request, Retarget, SetTags, TargetId,
};
use s3o_core::intent::{Target, TargetEnd, WriteKind};
use s3o_core::object::{Locate, Want};
use s3o_proto::v1;
use s3o_types::{BackendId, BucketId, ErrorCode, Op, Place};
use s3o_wire::conditions;

use super::{commit, upload};
use crate::field::{self, Bad};
use crate::object_lock;

/// What an operation asks of the ledger.
#[derive(Debug)]
pub(super) enum Work {
    /// A decision.
    Submit(Box<Request>),
    /// A lookup.
    Locate(Locate),
}

pub(super) fn work(operation: v1::Operation) -> Result<Work, Bad> {
    use v1::operation::Call as Wire;

    let v1::Operation {
        // Stands in the outcome.
        number: _,
        op,
        item,
        request_id,
        // Spans are not exported by this release.
        traceparent: _,
        access_key,
        source,
        session,
        bulk,
        call,
    } = operation;
    let call = match call.ok_or_else(unknown_call)? {
        Wire::Locate(wire) => return locate(wire).map(Work::Locate).map_err(|bad| bad.within("locate")),
        Wire::Begin(wire) => begin(wire).map(Call::Begin).map_err(|bad| bad.within("begin"))?,
        Wire::Retarget(wire) => retarget(wire).map(Call::Retarget).map_err(|bad| bad.within("retarget"))?,
        Wire::Commit(wire) => {
            commit::commit(wire).map(|c| Call::Commit(Box::new(c))).map_err(|bad| bad.within("commit"))?
        }
        Wire::Abort(wire) => abort(wire).map(Call::Abort).map_err(|bad| bad.within("abort"))?,
        Wire::Delete(wire) => delete(wire).map(Call::Delete).map_err(|bad| bad.within("delete"))?,
        Wire::SetTags(wire) => set_tags(wire).map(Call::SetTags).map_err(|bad| bad.within("set_tags"))?,
        Wire::SetLock(wire) => {
            object_lock::set(wire).map(Call::SetLock).map_err(|bad| bad.within("set_lock"))?
        }
        Wire::CreateUpload(wire) => {
            upload::create(wire).map(Call::CreateUpload).map_err(|bad| bad.within("create_upload"))?
        }
        Wire::CompleteUpload(wire) => upload::complete(wire)
            .map(|c| Call::CompleteUpload(Box::new(c)))
            .map_err(|bad| bad.within("complete_upload"))?,
        Wire::AbortUpload(wire) => {
            upload::abort(wire).map(Call::AbortUpload).map_err(|bad| bad.within("abort_upload"))?
        }
    };
    if item < 0 {
        return Err(Bad::new("item", format!("{item} is negative")));
    }
    Ok(Work::Submit(Box::new(Request {
        op: Op { id: field::uuid("op", &op)?, item },
        session: field::uuid("session", &session)?,
        access_key: field::no_nul("access_key", access_key)?,
        source: field::no_nul("source", source)?,
        request_id: field::no_nul("request_id", request_id)?,
        bulk,
        call,
    })))
}

/// A newer data plane asks for what this release cannot do. It hears so by a code that nothing else has.
fn unknown_call() -> Bad {
    Bad::new("call", "is missing, or not known to this release").with_code(ErrorCode::FeatureRequired)
}

fn begin(wire: v1::Begin) -> Result<Begin, Bad> {
    let v1::Begin { bucket, key, size, conditions, kind, down, prefer, part, lock } = wire;
    let kind = match v1::WriteKind::try_from(kind) {
        Ok(v1::WriteKind::Put) => WriteKind::Put,
        Ok(v1::WriteKind::Copy) => WriteKind::Copy,
        Ok(v1::WriteKind::Part) => WriteKind::Part,
        Ok(v1::WriteKind::Unspecified) | Err(_) => {
            return Err(Bad::new("kind", format!("{kind} is no kind of write that is known here")));
        }
    };
    let part = part.map(upload::part).transpose().map_err(|bad| bad.within("part"))?;
    if part.is_some() != (kind == WriteKind::Part) {
        return Err(Bad::new("part", "stands beside the kind `part`, and only there"));
    }
    Ok(Begin {
        bucket: BucketId(bucket),
        key: field::key(key)?,
        size: fits_table(size)?,
        conditions: conditions::from_wire(conditions),
        kind,
        part,
        down: backends(down),
        prefer: backends(prefer),
        lock: object_lock::from_wire(lock).map_err(|bad| bad.within("lock"))?,
    })
}

fn retarget(wire: v1::Retarget) -> Result<Retarget, Bad> {
    let v1::Retarget { intent, failed, down } = wire;
    Ok(Retarget { intent: carried_intent(intent)?, failed: BackendId(failed), down: backends(down) })
}

fn abort(wire: v1::Abort) -> Result<Abort, Bad> {
    let v1::Abort { intent, targets } = wire;
    let targets = targets.into_iter().map(finished_target).collect::<Result<_, _>>();
    Ok(Abort { intent: carried_intent(intent)?, targets: targets.map_err(|bad| bad.within("targets"))? })
}

fn delete(wire: v1::Delete) -> Result<Delete, Bad> {
    let v1::Delete { bucket, key, conditions, version_id, bypass_governance } = wire;
    Ok(Delete {
        bucket: BucketId(bucket),
        key: field::key(key)?,
        conditions: conditions::from_wire(conditions),
        version: field::version_ref("version_id", &version_id)?,
        bypass_governance,
    })
}

fn set_tags(wire: v1::SetTags) -> Result<SetTags, Bad> {
    let v1::SetTags { bucket, key, tags, version_id } = wire;
    Ok(SetTags {
        bucket: BucketId(bucket),
        key: field::key(key)?,
        tags: tags.into_iter().collect(),
        version: field::version_ref("version_id", &version_id)?,
    })
}

fn locate(wire: v1::Locate) -> Result<Locate, Bad> {
    let v1::Locate { bucket, key, range_start, range_end, part, of_version, version_id } = wire;
    let range = match (range_start, range_end) {
        (None, None) => None,
        (Some(start), Some(end)) if start <= end => Some((start, end)),
        (Some(_), Some(_)) => return Err(Bad::new("range_end", "is before range_start")),
        (Some(_), None) => return Err(Bad::new("range_end", "is missing beside range_start")),
        (None, Some(_)) => return Err(Bad::new("range_start", "is missing beside range_end")),
    };
    let want = match (part, of_version.is_empty(), range) {
        (Some(part), _, _) => Want::Part(upload::part_number(part)?),
        (None, false, range) => {
            let (first, end) = range.unwrap_or((0, u64::MAX));
            Want::Of(field::version("of_version", &of_version)?, first, end)
        }
        (None, true, Some((first, end))) => Want::Range(first, end),
        (None, true, None) => Want::All,
    };
    let version = field::version_ref("version_id", &version_id)?;
    Ok(Locate { bucket: BucketId(bucket), key: field::key(key)?, version, want })
}

pub(super) fn carried_intent(wire: Option<v1::Intent>) -> Result<CarriedIntent, Bad> {
    let within = |bad: Bad| bad.within("intent");
    let v1::Intent { bucket, key, version, size, conditions, targets, upload: id } =
        field::present("intent", wire)?;
    let upload = if id.is_empty() { None } else { Some(upload::upload_id(&id).map_err(within)?) };
    let targets: Result<_, Bad> = targets.into_iter().map(target).collect();
    Ok(CarriedIntent {
        bucket: BucketId(bucket),
        key: field::key(key).map_err(within)?,
        version: field::version("version", &version).map_err(within)?,
        size: fits_table(size).map_err(within)?,
        conditions: conditions::from_wire(conditions),
        upload,
        // Workers speak to the ledger without a wire between.
        replica: false,
        targets: targets.map_err(|bad| within(bad.within("targets")))?,
    })
}

fn target(wire: v1::Target) -> Result<Target, Bad> {
    let v1::Target { backend, extent, r#gen, storage_key, place } = wire;
    Ok(Target {
        backend: BackendId(backend),
        place: Place::from_number(place),
        extent: field::extent(extent)?,
        r#gen: field::generation(r#gen)?,
        storage_key: field::no_nul("storage_key", storage_key)?,
    })
}

pub(super) fn finished_target(wire: v1::FinishedTarget) -> Result<FinishedTarget, Bad> {
    let v1::FinishedTarget { backend, extent, r#gen, end, backend_version } = wire;
    let end = match v1::TargetEnd::try_from(end) {
        Ok(v1::TargetEnd::NotSent) => TargetEnd::NotSent,
        Ok(v1::TargetEnd::Cut) => TargetEnd::Cut,
        Ok(v1::TargetEnd::Stored) => TargetEnd::Stored,
        // An end that a newer data plane knows must not keep the write from being given up: for us
        // the blob may appear, which is the careful reading of anything.
        Ok(v1::TargetEnd::Unknown | v1::TargetEnd::Unspecified) | Err(_) => TargetEnd::Unknown,
    };
    let backend_version = field::non_empty(backend_version);
    Ok(FinishedTarget { target: target_id(backend, extent, r#gen)?, end, backend_version })
}

pub(super) fn target_id(backend: i32, extent: u32, r#gen: u32) -> Result<TargetId, Bad> {
    Ok(TargetId {
        backend: BackendId(backend),
        extent: field::extent(extent)?,
        r#gen: field::generation(r#gen)?,
    })
}

fn backends(ids: Vec<i32>) -> Vec<BackendId> {
    ids.into_iter().map(BackendId).collect()
}

/// Tables hold sizes as signed 64 bits.
pub(super) fn fits_table(size: u64) -> Result<u64, Bad> {
    if i64::try_from(size).is_ok() {
        Ok(size)
    } else {
        Err(Bad::new("size", format!("{size} is no size of an object")))
    }
}
