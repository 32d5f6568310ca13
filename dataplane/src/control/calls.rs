//! The calls of a request, typed.
//!
//! Invariant: `Failure::Unknown` is said whenever the control plane may have decided otherwise: no
//! outcome in time, an outcome of a kind or code that this release does not know, or one that does
//! not answer the call.

use std::collections::BTreeMap;
use std::time::Duration;

use s3o_proto::v1;
use s3o_proto::v1::operation::Call;
use s3o_proto::v1::outcome::Result as Outcome;
use s3o_types::{
    BackendId, BucketId, Checksums, Conditions, CopiedPiece, ErrorCode, Etag, ObjectAttributes, ObjectLock,
    Timestamp, VersionId, VersionRef,
};
use s3o_wire::{conditions, copied, lock};
use tokio::time::Instant;
use uuid::Uuid;

use super::convert::{
    self, Begun, Committed, Deleted, Finished, Intent, StoredCopy, Target, attributes_to_wire, begun_of,
    committed_of, copy_to_wire, finished_to_wire, intent_to_wire, target_of, told, version_ref,
};
use super::located::{Located, located_of};
use super::{Control, database};

/// How long "briefly unable" is believed for a call before the body.
pub(super) const BUSY_PATIENCE: Duration = Duration::from_secs(3);
/// The first pause after "briefly unable", and the longest.
const BUSY_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Decided: not done.
    Refused { code: ErrorCode, message: String },
    /// There is a delete marker: by the name that was asked for, or in the place of a current version.
    Marker { version_id: String, modified: Timestamp, named: bool },
    /// It may be done, or be done later.
    Unknown,
}

/// On whose behalf calls are made: one client request.
#[derive(Clone)]
pub(crate) struct Caller {
    pub control: Control,
    /// The operation id that all calls of the request share.
    pub op: Uuid,
    pub request_id: String,
    pub traceparent: String,
    pub access_key: String,
    pub source: String,
    /// Patience before and after the body.
    pub call_patience: Duration,
    pub commit_patience: Duration,
}

/// Which extents of an object a reader asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    All,
    /// From the first byte to the end (exclusive).
    Range(u64, u64),
    /// The part at this place in their order, counted from 1.
    Part(u16),
    /// A range of a version that was located before, current or not.
    Of(VersionId, u64, u64),
}

/// A part of a multipart upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartOf {
    pub upload: Uuid,
    pub number: u16,
}

/// What Commit says.
pub(crate) struct CommitRequest<'a> {
    pub intent: &'a Intent,
    pub etag: &'a Etag,
    pub attributes: &'a ObjectAttributes,
    pub checksums: &'a Checksums,
    pub copies: &'a [StoredCopy],
    pub failed: &'a [Finished],
    /// Of a part that is a copy.
    pub copied: Vec<CopiedPiece>,
}

impl Caller {
    /// For another call that must not get the outcome of an earlier one.
    pub(crate) fn anew(&self) -> Self {
        Self { op: Uuid::now_v7(), ..self.clone() }
    }

    /// Asks for a place, before a byte of the body is read.
    pub(crate) async fn begin(
        &self,
        (bucket, key, size): (BucketId, &str, u64),
        conditions: &Conditions,
        (kind, part): (v1::WriteKind, Option<PartOf>),
        (down, prefer): (&[BackendId], &[BackendId]),
        lock: &ObjectLock,
    ) -> Result<Begun, Failure> {
        let welcomed = tokio::time::timeout(self.call_patience, self.control.welcomed()).await;
        welcomed.map_err(|_| Failure::Unknown)?;
        let begin = v1::Begin {
            bucket: bucket.0,
            key: key.to_owned(),
            size,
            conditions: Some(conditions::to_wire(conditions)),
            kind: kind.into(),
            down: down.iter().map(|id| id.0).collect(),
            prefer: prefer.iter().map(|id| id.0).collect(),
            part: part.map(|part| v1::Part {
                upload: convert::uuid_bytes(part.upload),
                number: u32::from(part.number),
            }),
            lock: lock::to_wire(*lock),
        };
        let called = self.call(0, false, Call::Begin(begin), self.call_patience, BUSY_PATIENCE).await;
        let called = match part {
            Some(_) => called.map_err(|failure| Self::newer(failure, "take parts")),
            None => called,
        };
        match called? {
            Outcome::Begun(answer) => begun_of(answer).ok_or(Failure::Unknown),
            _ => Err(Failure::Unknown),
        }
    }

    /// Asks for another target in the place of one that failed.
    pub(crate) async fn retarget(
        &self,
        intent: &Intent,
        failed: BackendId,
        down: &[BackendId],
    ) -> Result<Target, Failure> {
        let retarget = v1::Retarget {
            intent: Some(intent_to_wire(intent)),
            failed: failed.0,
            down: down.iter().map(|id| id.0).collect(),
        };
        match self.call(0, false, Call::Retarget(retarget), self.call_patience, BUSY_PATIENCE).await? {
            Outcome::Retargeted(v1::Retargeted { target: Some(target) }) => Ok(target_of(target)),
            _ => Err(Failure::Unknown),
        }
    }

    /// Makes a write count. "Briefly unable" until the end is a refusal that says nothing of an earlier
    /// sending: an Abort finds out.
    pub(crate) async fn commit(&self, request: &CommitRequest<'_>) -> Result<Committed, Failure> {
        let CommitRequest { intent, etag, attributes, checksums, copies, failed, copied } = request;
        let commit = v1::Commit {
            intent: Some(intent_to_wire(intent)),
            etag: etag.as_str().to_owned(),
            attributes: Some(attributes_to_wire(attributes)),
            checksums: checksums.values.clone().into_iter().collect(),
            copies: copies.iter().map(copy_to_wire).collect(),
            failed: failed.iter().map(finished_to_wire).collect(),
            copied: copied.iter().cloned().map(copied::to_wire).collect(),
        };
        match self.call(0, false, Call::Commit(commit), self.commit_patience, self.commit_patience).await {
            Ok(Outcome::Committed(committed)) => Ok(committed_of(committed)),
            Ok(_) => Err(Failure::Unknown),
            Err(failure) => Err(failure),
        }
    }

    /// Gives a write up and says what became of each target. Gives what became of a write that counts all
    /// the same: an earlier Commit was decided. A refusal is the outcome of an earlier Commit too.
    pub(crate) async fn abort(
        &self,
        intent: &Intent,
        targets: &[Finished],
    ) -> Result<Option<Committed>, Failure> {
        let abort = v1::Abort {
            intent: Some(intent_to_wire(intent)),
            targets: targets.iter().map(finished_to_wire).collect(),
        };
        match self.call(0, false, Call::Abort(abort), self.commit_patience, self.commit_patience).await? {
            Outcome::Aborted(v1::Aborted {}) => Ok(None),
            Outcome::Committed(committed) => Ok(Some(committed_of(committed))),
            _ => Err(Failure::Unknown),
        }
    }

    /// Deletes a key, or the version that is named; `item` numbers it within the request.
    pub(crate) async fn delete(
        &self,
        (item, bulk): (i32, bool),
        bucket: BucketId,
        (key, version): (&str, Option<VersionRef>),
        conditions: &Conditions,
        bypass_governance: bool,
    ) -> Result<Deleted, Failure> {
        let delete = v1::Delete {
            bucket: bucket.0,
            key: key.to_owned(),
            conditions: Some(conditions::to_wire(conditions)),
            version_id: version_ref(version),
            bypass_governance,
        };
        match self.call(item, bulk, Call::Delete(delete), self.call_patience, BUSY_PATIENCE).await? {
            Outcome::Deleted(v1::Deleted { existed: _, version_id, delete_marker }) => {
                Ok(Deleted { version_id: told(version_id), delete_marker })
            }
            _ => Err(Failure::Unknown),
        }
    }

    /// Gives a version of a key other tags, the current one where none is named, and says which one has them.
    pub(crate) async fn set_tags(
        &self,
        bucket: BucketId,
        (key, version): (&str, Option<VersionRef>),
        tags: &BTreeMap<String, String>,
    ) -> Result<Option<String>, Failure> {
        let tags = tags.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let version_id = version_ref(version);
        let set = v1::SetTags { bucket: bucket.0, key: key.to_owned(), tags, version_id };
        let called = self.call(0, false, Call::SetTags(set), self.call_patience, BUSY_PATIENCE).await;
        match called.map_err(|failure| Self::newer(failure, "set tags"))? {
            Outcome::TagsSet(v1::TagsSet { version_id }) => Ok(told(version_id)),
            _ => Err(Failure::Unknown),
        }
    }

    /// Finds a version of an object, the current one where none is named, with the extents that are wanted.
    pub(crate) async fn locate(
        &self,
        bucket: BucketId,
        (key, version): (&str, Option<VersionRef>),
        want: Want,
    ) -> Result<Located, Failure> {
        let locate = locate_to_wire(bucket, (key, version), want);
        let called = self.call(0, false, Call::Locate(locate), self.call_patience, BUSY_PATIENCE).await;
        located_in(called?, version.is_some())
    }

    /// [`Self::locate`] for a reader that has had some of the bytes ([`Want::Of`]): nobody else can go on in its place, so it
    /// waits as a Commit does, and an open breaker does not stop it.
    pub(crate) async fn locate_further(
        &self,
        bucket: BucketId,
        key: &str,
        want: Want,
    ) -> Result<Located, Failure> {
        let locate = Call::Locate(locate_to_wire(bucket, (key, None), want));
        let called = self.insist(0, false, locate, self.commit_patience, self.commit_patience).await;
        located_in(called?, false)
    }

    /// The refusal of a control plane of before a call, by whatever code it has for what it cannot read: nothing was
    /// done then, and another one may know it.
    pub(super) fn newer(failure: Failure, what: &str) -> Failure {
        match failure {
            Failure::Refused { code: ErrorCode::InvalidArgument | ErrorCode::FeatureRequired, .. } => {
                let message = format!("The control plane is of an older release and cannot {what} yet.");
                Failure::Refused { code: ErrorCode::FeatureRequired, message }
            }
            failure => failure,
        }
    }

    /// One call until it is decided. "Briefly unable" is asked again for `busy_patience`: the same op
    /// always gets the same outcome, so nothing can happen twice.
    pub(super) async fn call(
        &self,
        item: i32,
        bulk: bool,
        call: Call,
        patience: Duration,
        busy_patience: Duration,
    ) -> Result<Outcome, Failure> {
        let database = self.control.database();
        if !database::waits(&call) {
            return self.insist(item, bulk, call, patience, busy_patience).await;
        }
        if database.is_open() {
            return Err(Self::away());
        }
        tokio::select! {
            biased;
            outcome = self.insist(item, bulk, call, patience, busy_patience) => outcome,
            // It may have been sent.
            () = database.opened() => Err(Failure::Unknown),
        }
    }

    /// Of a call that was not sent.
    fn away() -> Failure {
        let message = "The metadata service is away. Please try again.".to_owned();
        Failure::Refused { code: ErrorCode::ServiceUnavailable, message }
    }

    async fn insist(
        &self,
        item: i32,
        bulk: bool,
        call: Call,
        patience: Duration,
        busy_patience: Duration,
    ) -> Result<Outcome, Failure> {
        let (started, database) = (Instant::now(), self.control.database());
        let mut pause = BUSY_PAUSE.0;
        loop {
            let left = patience.saturating_sub(started.elapsed());
            let operation = self.operation(item, bulk, call.clone());
            let Some(outcome) = self.control.call(operation, left).await else {
                database.suspect();
                return Err(Failure::Unknown);
            };
            let Outcome::Refused(v1::Refused { code, message }) = outcome else {
                database.answered();
                return Ok(outcome);
            };
            let code = ErrorCode::from_wire(code).ok_or(Failure::Unknown)?;
            let busy = code == ErrorCode::ServiceUnavailable;
            if !busy || started.elapsed() + pause >= busy_patience.min(patience) {
                if busy {
                    database.suspect();
                } else if database::decided(code) {
                    database.answered();
                }
                return Err(Failure::Refused { code, message });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BUSY_PAUSE.1);
        }
    }

    /// Whether the database answers a small question: one that finds nothing, since no bucket has this number. A control
    /// plane refuses what makes no sense without asking it, so the question has a key.
    pub(crate) async fn probe(&self, patience: Duration) -> bool {
        let probe = v1::Locate { bucket: 0, key: "probe".to_owned(), ..Default::default() };
        let asked = self.insist(0, false, Call::Locate(probe), patience, patience).await;
        match asked {
            Ok(_) | Err(Failure::Marker { .. }) => true,
            Err(Failure::Refused { code, .. }) => database::decided(code),
            Err(Failure::Unknown) => false,
        }
    }

    fn operation(&self, item: i32, bulk: bool, call: Call) -> v1::Operation {
        v1::Operation {
            // The stream and the client put these in.
            number: 0,
            session: bytes::Bytes::new(),
            op: convert::uuid_bytes(self.op),
            item,
            request_id: self.request_id.clone(),
            traceparent: self.traceparent.clone(),
            access_key: self.access_key.clone(),
            source: self.source.clone(),
            bulk,
            call: Some(call),
        }
    }
}

fn locate_to_wire(bucket: BucketId, (key, version): (&str, Option<VersionRef>), want: Want) -> v1::Locate {
    let (range, part, of_version) = match want {
        Want::All => (None, None, None),
        Want::Range(start, end) => (Some((start, end)), None, None),
        Want::Part(number) => (None, Some(u32::from(number)), None),
        Want::Of(version, start, end) => (Some((start, end)), None, Some(version)),
    };
    v1::Locate {
        bucket: bucket.0,
        key: key.to_owned(),
        range_start: range.map(|(start, _)| start),
        range_end: range.map(|(_, end)| end),
        part,
        of_version: of_version.map(convert::version_bytes).unwrap_or_default(),
        version_id: version_ref(version),
    }
}

/// `named`: whether the version was asked for by its id.
fn located_in(outcome: Outcome, named: bool) -> Result<Located, Failure> {
    match outcome {
        Outcome::Located(located) => located_of(located).ok_or(Failure::Unknown),
        Outcome::MarkerFound(v1::MarkerFound { version_id, modified_us }) => {
            Err(Failure::Marker { version_id, modified: Timestamp(modified_us), named })
        }
        _ => Err(Failure::Unknown),
    }
}
