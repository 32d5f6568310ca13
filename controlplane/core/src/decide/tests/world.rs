//! The tables as a model, and the calls of the tests.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::effects::MarkedCopy;
use s3o_types::{
    AckLevel, BackendId, BackendState, BlobName, BucketId, BucketLock, Checksums, Conditions, Consumption,
    Encoding, ErrorCode, Etag, Extent, LifecycleRule, ObjectAttributes, ObjectLock, Op, Place, Scope, Seq,
    Timestamp, UploadId, UsageLimits, VersionId, Versioning,
};
use uuid::Uuid;

use crate::call::{Begin, Call, CarriedIntent, Commit, Delete, Outcome, Request, StoredCopy};
use crate::cleanup::{CleanupEntry, VersionCleanup};
use crate::config::{BucketState, Routing};
use crate::decide::{Decision, decide};
use crate::facts::{BackendFacts, BucketFacts, CurrentObject, ExtentFacts, Facts, FoundBlob};
use crate::intent::{Intent, Target, WriteKind};
use crate::object::{CopyRow, CopyState, ObjectRow};
use crate::outcome_log::{Change, LoggedOutcome};
use crate::removal::Removal;
use crate::replication::ReplicationEntry;
use crate::upload::{PartRow, UploadEffects, UploadFacts, UploadState};
use crate::usage::{Usage, signed};
use crate::versions::{Noncurrent, VersionEffects, Wanted};

pub(super) const BUCKET: BucketId = BucketId(1);
pub(super) const REAPER: Uuid = Uuid::from_u128(0xdead);

/// The tables, in memory.
#[derive(Default, Clone)]
pub(super) struct World {
    pub(super) objects: HashMap<String, ObjectRow>,
    /// Noncurrent versions, and, where it is true, markers.
    pub(super) noncurrent: BTreeMap<(String, Seq), (ObjectRow, bool)>,
    pub(super) versioning: Versioning,
    /// The Object Lock of the bucket.
    pub(super) lock: Option<BucketLock>,
    pub(super) copies: Vec<CopyRow>,
    pub(super) intents: HashMap<Op, Intent>,
    pub(super) usage: HashMap<BackendId, Usage>,
    pub(super) cleanup: Vec<CleanupEntry>,
    pub(super) changes: Vec<Change>,
    pub(super) drawn: i64,
    pub(super) quota: Option<u64>,
    /// The largest blob that a backend takes.
    pub(super) largest: HashMap<BackendId, u64>,
    pub(super) uploads: HashMap<UploadId, UploadFacts>,
    /// Versions of many extents that were queued as one.
    pub(super) versions: Vec<VersionCleanup>,
    /// What keys other than the writer may do.
    pub(super) scopes: HashMap<(String, BucketId), Vec<Scope>>,
    /// How often each backend was moved.
    pub(super) moves: HashMap<BackendId, i32>,
    /// Copies wanted, less one.
    pub(super) more_copies: u16,
    pub(super) ack: AckLevel,
    pub(super) draining: HashSet<BackendId>,
    /// How often workers began to write an extent.
    pub(super) copy_attempts: HashMap<(VersionId, Extent), u16>,
    /// Versions that wait for a worker.
    pub(super) replicate: Vec<ReplicationEntry>,
    /// By which rules objects expire.
    pub(super) lifecycle: Vec<LifecycleRule>,
    /// Backends that are given up.
    pub(super) removals: HashMap<BackendId, Removal>,
    /// What each backend may be used for in a month, and what it was used for.
    pub(super) limits: UsageLimits,
    pub(super) months: HashMap<BackendId, Consumption>,
    /// How far the clock is ahead of the numbers drawn.
    pub(super) later_us: i64,
    /// Every (backend, storage key) that was ever to be written.
    pub(super) written: HashSet<(BackendId, String)>,
}

impl World {
    pub(super) fn facts(&mut self, requests: &[Request]) -> Facts {
        let backends = [1, 2, 3].map(|id| BackendFacts {
            id: BackendId(id),
            place: self.place(BackendId(id)),
            state: self.state(BackendId(id)),
            attached: true,
            priority: 0,
            position: id,
            quota_bytes: self.quota,
            max_object_size: self.largest.get(&BackendId(id)).copied(),
            usage: self.usage.get(&BackendId(id)).copied().unwrap_or_default(),
            limits: self.limits,
            month: self.months.get(&BackendId(id)).copied().unwrap_or_default(),
        });
        let bucket = BucketFacts {
            name: "bucket".into(),
            state: BucketState::Active,
            ack: self.ack,
            replication_factor: self.factor(),
            max_object_size: Some(1000),
            versioning: self.versioning,
            lock: self.lock,
        };
        let log_head = Seq(self.drawn);
        let seqs = requests
            .iter()
            .map(|_| {
                self.drawn += 1;
                Seq(self.drawn)
            })
            .collect();
        let overtaken = requests.iter().filter(|r| self.is_overtaken(r.op)).map(|r| r.op).collect();
        Facts {
            now: Timestamp(self.drawn + self.later_us),
            routing: Routing::Spread,
            buckets: HashMap::from([(BUCKET, bucket)]),
            writers: std::iter::once(("writer".to_owned(), BUCKET)).collect(),
            scopes: self.scopes.clone(),
            backends: backends.to_vec(),
            places: [1, 2, 3].map(|id| (BackendId(id), self.place(BackendId(id)))).into(),
            outcomes: self.outcomes(),
            intents: self.intents.clone(),
            uploads: self.uploads.clone(),
            objects: self
                .objects
                .iter()
                .map(|(key, row)| ((BUCKET, key.clone()), self.current(row)))
                .collect(),
            extents: requests.iter().filter_map(|request| self.extent(&request.call)).collect(),
            versions: self.wanted(requests),
            found_blobs: requests.iter().filter_map(|request| self.found_blob(request)).collect(),
            named_blobs: self.named(),
            lifecycle: HashMap::from([(BUCKET, self.lifecycle.clone())]),
            standings: requests.iter().filter_map(|request| self.standing(request)).collect(),
            overtaken,
            removals: self.removals.clone(),
            log_head,
            seqs,
            version_seeds: requests
                .iter()
                .map(|r| (self.drawn.unsigned_abs(), r.op.id.as_u64_pair().1))
                .collect(),
        }
    }

    pub(super) fn place(&self, backend: BackendId) -> Place {
        Place::from_number(1 + self.moves.get(&backend).copied().unwrap_or_default())
    }

    pub(super) fn factor(&self) -> u16 {
        1 + self.more_copies
    }

    fn state(&self, backend: BackendId) -> BackendState {
        if self.draining.contains(&backend) { BackendState::Draining } else { BackendState::Active }
    }

    /// What the store reads for a call that changes copies: nothing of a version that is gone.
    fn extent(&self, call: &Call) -> Option<((VersionId, Extent), ExtentFacts)> {
        let (version, extent) = call.extent()?;
        self.rows().find(|row| row.version == version)?;
        let of_extent = |copy: &&CopyRow| copy.blob.version == version && copy.blob.extent == extent;
        let copies = self.copies.iter().filter(of_extent);
        let copies = copies.map(|copy| (copy.clone(), self.state(copy.backend))).collect();
        let attempts = self.copy_attempts.get(&(version, extent)).copied().unwrap_or_default();
        Some(((version, extent), ExtentFacts { copies, attempts }))
    }

    /// What the store reads for a call about a blob that was found.
    fn found_blob(&self, request: &Request) -> Option<(Op, FoundBlob)> {
        let (backend, key, blob) = request.call.found_blob()?;
        let by_blob = blob.is_some_and(|blob| self.named().contains(&(backend, blob)));
        let mut copies = self.copies.iter().filter(|copy| copy.backend == backend);
        let imported = copies.any(|copy| copy.foreign_key.as_deref() == Some(key));
        let mut targets = self.intents.values().flat_map(|intent| &intent.targets);
        let intended = targets.any(|target| target.backend == backend && target.storage_key == key);
        let queued = self.cleanup.iter().any(|entry| entry.backend == backend && entry.storage_key == key);
        let version_is_there = blob.is_some_and(|blob| self.rows().any(|row| row.version == blob.version));
        let is_named = by_blob || imported || intended || queued;
        Some((request.op, FoundBlob { is_named, version_is_there }))
    }

    pub(super) fn move_backend(&mut self, backend: BackendId) {
        *self.moves.entry(backend).or_default() += 1;
    }

    /// A write counts only where its caller sent it and where its backend is.
    pub(super) fn assert_in_place(&self, call: &Call, copies: &[CopyRow]) {
        let targets = match call {
            Call::Commit(commit) => &commit.intent.targets,
            Call::Resolve(resolve) => &resolve.intent.targets,
            _ => return,
        };
        for copy in copies {
            let target = targets.iter().find(|target| target.backend == copy.backend).expect("a target");
            assert_eq!(target.place, self.place(copy.backend), "a blob counts at a place of the past");
        }
    }

    pub(super) fn current(&self, row: &ObjectRow) -> CurrentObject {
        let copies: Vec<CopyRow> =
            self.copies.iter().filter(|c| c.blob.version == row.version).cloned().collect();
        if !row.has_many_extents() {
            return CurrentObject { row: row.clone(), copies, sums: vec![] };
        }
        let mut sums: HashMap<BackendId, (u64, u64)> = HashMap::new();
        for copy in copies {
            let (bytes, objects) = sums.entry(copy.backend).or_default();
            *bytes += copy.stored_size;
            *objects += u64::from(copy.is_first());
        }
        let sums = sums.into_iter().map(|(backend, (bytes, objects))| (backend, bytes, objects)).collect();
        CurrentObject { row: row.clone(), copies: vec![], sums }
    }

    /// What the store reads for these calls, and nothing more.
    fn wanted(&self, requests: &[Request]) -> HashMap<(BucketId, String), BTreeMap<Seq, Noncurrent>> {
        let mut facts: HashMap<(BucketId, String), BTreeMap<Seq, Noncurrent>> = HashMap::new();
        for request in requests {
            let key = request.call.bucket_and_key().1;
            let Some(wanted) = Wanted::by(&request.call, self.versioning) else { continue };
            let rows = self.noncurrent.iter().filter(|((of, _), _)| of == key).rev();
            for (n, ((_, seq), (row, delete_marker))) in rows.enumerate() {
                let is_named = wanted.named == Some(row.version) && !row.is_null;
                if is_named || (wanted.null && row.is_null) || (wanted.newest && n < 2) {
                    let mut object = self.current(row);
                    if !request.call.displaces() {
                        object.copies.clear();
                    }
                    let noncurrent = Noncurrent { object, delete_marker: *delete_marker };
                    facts.entry((BUCKET, key.to_owned())).or_default().insert(*seq, noncurrent);
                }
            }
        }
        facts
    }

    /// What the store does with the effects on versions, in its order.
    fn take_versions(&mut self, effects: VersionEffects, drop_objects: Vec<(BucketId, String)>) {
        let VersionEffects { dropped, retired, restored, markers, tagged } = effects;
        for (_, key, seq) in dropped {
            assert!(self.noncurrent.remove(&(key, seq)).is_some());
        }
        for (_, key) in retired {
            let row = self.objects[&key].clone();
            assert!(self.noncurrent.insert((key, row.seq), (row, false)).is_none());
        }
        for (_, key) in drop_objects {
            assert!(self.objects.remove(&key).is_some());
        }
        for (_, key, seq) in restored {
            let (row, delete_marker) = self.noncurrent.remove(&(key.clone(), seq)).expect("a version");
            assert!(!delete_marker && self.objects.insert(key, row).is_none());
        }
        for marker in markers {
            let row = ObjectRow {
                bucket: marker.bucket,
                key: marker.key.clone(),
                seq: marker.seq,
                version: marker.version,
                size: 0,
                etag: Etag::new(""),
                modified: marker.modified,
                attributes: ObjectAttributes::default(),
                checksums: Checksums::default(),
                is_null: marker.is_null,
                parts: None,
            };
            assert!(self.noncurrent.insert((marker.key, marker.seq), (row, true)).is_none());
        }
        for row in tagged {
            let known = self.noncurrent.get_mut(&(row.key.clone(), row.seq)).expect("a version");
            assert!(!known.1 && known.0.version == row.version);
            known.0 = row;
        }
    }

    fn named(&self) -> HashSet<(BackendId, BlobName)> {
        let copies = self.copies.iter().map(|copy| (copy.backend, copy.blob));
        let parts = |upload: &UploadFacts| {
            let version = upload.row.version;
            let blobs = |part: &PartRow| {
                let blob = part.blob(version);
                part.copies.iter().map(|copy| (copy.backend, blob)).collect::<Vec<_>>()
            };
            upload.parts.values().flat_map(blobs).collect::<Vec<_>>()
        };
        copies.chain(self.uploads.values().flat_map(parts)).collect()
    }

    /// What the store does with an upload's effects.
    fn take_uploads(&mut self, effects: UploadEffects) {
        let UploadEffects { opened, closed, attempts, parts } = effects;
        for row in opened {
            let facts = UploadFacts { row, attempts: [].into(), parts: [].into() };
            assert!(self.uploads.insert(facts.row.id, facts).is_none());
        }
        for ((id, number), attempts) in attempts {
            let upload = self.uploads.get_mut(&id).expect("an upload");
            let before = upload.attempts.insert(number, attempts).unwrap_or_default();
            assert_eq!(attempts, before + 1, "an attempt was not counted, or twice");
        }
        for part in parts {
            let upload = self.uploads.get_mut(&part.upload).expect("an upload");
            assert_eq!(upload.row.state, UploadState::Open);
            upload.parts.insert(part.number, part);
        }
        for row in closed {
            let upload = self.uploads.get_mut(&row.id).expect("an upload");
            assert_eq!(upload.row.state, UploadState::Open, "an upload is closed twice");
            upload.row = row;
            upload.parts.clear();
        }
    }

    pub(super) fn outcomes(&self) -> HashMap<Op, LoggedOutcome> {
        let logged = |c: &Change| LoggedOutcome {
            logged: c.logged,
            seq: c.seq,
            at: Timestamp(c.seq.0),
            version: c.told,
        };
        self.changes.iter().map(|c| (c.op, logged(c))).collect()
    }

    pub(super) fn is_overtaken(&self, op: Op) -> bool {
        self.intents.get(&op).is_some_and(|intent| {
            self.changes
                .iter()
                .any(|c| c.seq > intent.log_floor && c.key == intent.key && c.logged.changed_key())
        })
    }

    pub(super) fn run(&mut self, request: Request) -> Outcome {
        let requests = [request];
        let Decision { mut outcomes, effects } = decide(self.facts(&requests), &requests);
        self.assert_in_place(&requests[0].call, &effects.add_copies);
        self.take_versions(effects.versions, effects.drop_objects);
        for row in effects.put_objects {
            self.objects.insert(row.key.clone(), row);
        }
        for row in effects.set_tags {
            assert!(self.objects.insert(row.key.clone(), row).is_some());
        }
        for row in effects.set_locks {
            let noncurrent = self.noncurrent.get_mut(&(row.key.clone(), row.seq));
            let known = match noncurrent {
                Some((known, delete_marker)) => {
                    assert!(!*delete_marker);
                    known
                }
                None => self.objects.get_mut(&row.key).expect("a version"),
            };
            assert_eq!(known.version, row.version);
            *known = row;
        }
        self.copies.retain(|copy| !effects.drop_copies.contains(&copy.blob.version));
        for (version, extent, backend) in effects.take_copies {
            let before = self.copies.len();
            self.copies.retain(|copy| !is_at(copy, version, extent, backend));
            assert_eq!(self.copies.len(), before - 1, "the copy to be taken is not there");
        }
        for copy in effects.add_copies {
            let (version, extent, backend) = (copy.blob.version, copy.blob.extent, copy.backend);
            let there = self.copies.iter().any(|other| is_at(other, version, extent, backend));
            assert!(!there, "an extent has two copies on one backend");
            self.copies.push(copy);
        }
        for MarkedCopy { version, extent, backend, state, digest } in effects.mark_copies {
            let copy = self.copies.iter_mut().find(|copy| is_at(copy, version, extent, backend));
            let copy = copy.expect("a copy to be marked");
            copy.state = state;
            copy.digest = copy.digest.or(digest);
        }
        for ((version, extent), attempts) in effects.copy_attempts {
            let before = self.copy_attempts.insert((version, extent), attempts).unwrap_or_default();
            assert_eq!(attempts, before + 1, "an attempt was not counted, or twice");
        }
        self.replicate.extend(effects.replicate);
        let targets = effects.add_intents.iter().flat_map(|intent| &intent.targets);
        for target in targets.chain(effects.add_targets.iter().map(|(_, target)| target)) {
            let key = (target.backend, target.storage_key.clone());
            assert!(self.written.insert(key), "a storage key is written twice: {target:?}");
        }
        for intent in effects.add_intents {
            assert!(self.intents.insert(intent.op, intent).is_none());
        }
        for (op, target) in effects.add_targets {
            self.intents.get_mut(&op).expect("intent").targets.push(target);
        }
        for op in effects.drop_intents {
            assert!(self.intents.remove(&op).is_some());
        }
        for (backend, delta) in effects.usage {
            *self.usage.entry(backend).or_default() += delta;
        }
        self.take_uploads(effects.uploads);
        self.cleanup.extend(effects.cleanup);
        self.versions.extend(effects.cleanup_versions);
        self.changes.extend(effects.changes);
        self.audit();
        outcomes.remove(0)
    }

    /// Promise 1, on the model: each extent of each version has a verified copy, but for those that were imported; or a
    /// doubtful one, where an operator has accepted losses.
    fn audit_copies(&self) {
        let accepted = self.removals.values().any(|removal| removal.losses_upto.is_some());
        for row in self.rows() {
            let good = |copy: &CopyRow| {
                copy.state == CopyState::Verified
                    || copy.foreign_key.is_some()
                    || (accepted && copy.state.readable())
            };
            let verified = |copy: &&CopyRow| copy.blob.version == row.version && good(copy);
            let extents: HashSet<Extent> =
                self.copies.iter().filter(verified).map(|copy| copy.blob.extent).collect();
            assert_eq!(extents.len(), usize::from(row.parts.unwrap_or(1)), "{} lost bytes", row.key);
        }
    }

    /// Versions, current or not.
    pub(super) fn rows(&self) -> impl Iterator<Item = &ObjectRow> {
        let noncurrent = self.noncurrent.values().filter(|(_, marker)| !marker).map(|(row, _)| row);
        self.objects.values().chain(noncurrent)
    }

    /// What `versions.rs` promises of the rows of a key.
    fn audit_versions(&self) {
        let mut newest: HashMap<&str, (Seq, bool)> = HashMap::new();
        let mut nulls: HashMap<&str, usize> = HashMap::new();
        for ((key, seq), (row, delete_marker)) in &self.noncurrent {
            newest.insert(key, (*seq, *delete_marker));
            *nulls.entry(key).or_default() += usize::from(row.is_null);
        }
        for (key, row) in &self.objects {
            *nulls.entry(key).or_default() += usize::from(row.is_null);
            assert!(
                newest.remove(key.as_str()).is_none_or(|(seq, _)| seq < row.seq),
                "{key}: not the newest"
            );
        }
        assert!(newest.values().all(|(_, delete_marker)| *delete_marker), "a version is hidden by nothing");
        assert!(nulls.values().all(|count| *count <= 1), "a key has two null versions");
        let versions: HashSet<_> = self.rows().map(|row| row.version).collect();
        assert_eq!(versions.len(), self.rows().count(), "a version is there twice");
        for row in self.rows() {
            assert!(row.size == 0 || self.copies.iter().any(|copy| copy.blob.version == row.version));
        }
    }

    /// Promise 4, on the model.
    pub(super) fn audit(&self) {
        self.audit_copies();
        let mut expected: HashMap<BackendId, Usage> = HashMap::new();
        for copy in &self.copies {
            if self.versions.iter().any(|queued| queued.version == copy.blob.version) {
                let bytes = Usage { orphaned: signed(copy.stored_size), ..Usage::default() };
                *expected.entry(copy.backend).or_default() += bytes;
                continue;
            }
            let objects = i64::from(copy.is_first());
            let bytes = Usage { used: signed(copy.stored_size), objects, ..Usage::default() };
            *expected.entry(copy.backend).or_default() += bytes;
            assert!(self.rows().any(|row| row.version == copy.blob.version), "a copy of no version");
        }
        self.audit_versions();
        for part in self.uploads.values().flat_map(|upload| upload.parts.values()) {
            for copy in &part.copies {
                let bytes = Usage { reserved: signed(part.size), ..Usage::default() };
                *expected.entry(copy.backend).or_default() += bytes;
            }
        }
        for row in self.rows().filter(|row| row.parts.is_some()) {
            let pieces = self.copies.iter().filter(|copy| copy.blob.version == row.version);
            let by_offset: BTreeMap<u64, u64> =
                pieces.filter_map(|copy| copy.piece).map(|piece| (piece.offset, piece.size)).collect();
            assert_eq!(
                by_offset.values().sum::<u64>(),
                row.size,
                "an object has other bytes than its copies"
            );
        }
        for intent in self.intents.values() {
            for target in &intent.targets {
                let bytes = Usage { reserved: signed(intent.size), ..Usage::default() };
                *expected.entry(target.backend).or_default() += bytes;
            }
        }
        for entry in &self.cleanup {
            let bytes = Usage { orphaned: signed(entry.size), ..Usage::default() };
            *expected.entry(entry.backend).or_default() += bytes;
        }
        for backend in [1, 2, 3].map(BackendId) {
            let (have, want) = (self.usage.get(&backend), expected.get(&backend));
            assert_eq!(have.copied().unwrap_or_default(), want.copied().unwrap_or_default(), "{backend:?}");
            if let Some(quota) = self.quota {
                assert!(have.copied().unwrap_or_default().total() <= signed(quota), "quota overshot");
            }
        }
        let mut ops: Vec<Op> = self.changes.iter().map(|change| change.op).collect();
        ops.sort_unstable();
        ops.dedup();
        assert_eq!(ops.len(), self.changes.len(), "an operation has two outcomes");
        let versions: HashSet<_> = self.versions.iter().map(|entry| entry.version).collect();
        assert_eq!(versions.len(), self.versions.len(), "a version is queued twice");
        let mut queued: Vec<(BackendId, &str)> =
            self.cleanup.iter().map(|entry| (entry.backend, entry.storage_key.as_str())).collect();
        queued.sort_unstable();
        queued.dedup();
        assert_eq!(queued.len(), self.cleanup.len(), "a blob is queued twice");
    }

    pub(super) fn begin(&mut self, n: u128, key: &str, size: u64, conditions: Conditions) -> Outcome {
        self.run(request(n, begin_call(key, size, conditions)))
    }

    pub(super) fn put(&mut self, n: u128, key: &str, size: u64) -> Outcome {
        let Outcome::Begun { version, targets, .. } = self.begin(n, key, size, Conditions::default()) else {
            panic!("not begun");
        };
        self.run(request(n, commit_call(carried(key, size, version, targets), 1)))
    }
}

fn is_at(copy: &CopyRow, version: VersionId, extent: Extent, backend: BackendId) -> bool {
    copy.blob.version == version && copy.blob.extent == extent && copy.backend == backend
}

pub(super) fn op(n: u128) -> Op {
    Op { id: Uuid::from_u128(n), item: 0 }
}

pub(super) fn request(n: u128, call: Call) -> Request {
    Request {
        op: op(n),
        session: Uuid::nil(),
        access_key: "writer".into(),
        source: String::new(),
        request_id: String::new(),
        bulk: false,
        call,
    }
}

pub(super) fn begin_call(key: &str, size: u64, conditions: Conditions) -> Call {
    Call::Begin(Begin {
        bucket: BUCKET,
        key: key.into(),
        size,
        conditions,
        kind: WriteKind::Put,
        part: None,
        down: vec![],
        prefer: vec![],
        lock: ObjectLock::default(),
    })
}

pub(super) fn carried(
    key: &str,
    size: u64,
    version: s3o_types::VersionId,
    targets: Vec<Target>,
) -> CarriedIntent {
    CarriedIntent {
        bucket: BUCKET,
        key: key.into(),
        version,
        size,
        conditions: Conditions::default(),
        upload: None,
        replica: false,
        targets,
    }
}

/// Commits with a copy at the last `copies` targets; the others stay unnamed.
pub(super) fn commit_call(intent: CarriedIntent, copies: usize) -> Call {
    let stored = |target: &Target| StoredCopy {
        target: target.id(),
        stored_size: intent.size,
        backend_etag: None,
        backend_version: None,
        encoding: Encoding::default(),
        digest: None,
    };
    let copies = intent.targets.iter().rev().take(copies).map(stored).collect();
    Call::Commit(Box::new(Commit {
        intent,
        etag: Etag::new("e"),
        attributes: ObjectAttributes::default(),
        checksums: Checksums::default(),
        copies,
        failed: vec![],
        copied: vec![],
    }))
}

pub(super) fn delete_call(key: &str) -> Call {
    Call::Delete(Delete {
        bucket: BUCKET,
        key: key.into(),
        conditions: Conditions::default(),
        version: None,
        bypass_governance: false,
    })
}

pub(super) fn refused(outcome: &Outcome) -> Option<ErrorCode> {
    match outcome {
        Outcome::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}
