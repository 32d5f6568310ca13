//! Copies that workers make and take away: never one too few, no storage key twice, every byte accounted for.

use proptest::prelude::*;
use s3o_types::{AckLevel, BackendId, Checksums, Conditions, Digest, ErrorCode, Extent, Gen, VersionId};

use super::world::{BUCKET, World, carried, commit_call, delete_call, refused, request};
use crate::call::{
    Abort, BeginCopy, Call, CarriedIntent, ChangeCopy, CopyChange, ExtentOf, FinishedTarget, Outcome,
};
use crate::cleanup::Reason;
use crate::intent::{Target, TargetEnd};
use crate::object::{CopyRow, CopyState};
use crate::outcome_log::Logged;
use crate::replication::{CopyTask, Need, Standing, need};

fn of(key: &str, version: VersionId) -> ExtentOf {
    ExtentOf { bucket: BUCKET, key: key.into(), version, extent: Extent::ZERO }
}

fn begin_copy(key: &str, version: VersionId) -> Call {
    Call::BeginCopy(BeginCopy { of: of(key, version), down: vec![] })
}

fn replica(key: &str, size: u64, version: VersionId, targets: Vec<Target>) -> CarriedIntent {
    CarriedIntent { replica: true, ..carried(key, size, version, targets) }
}

fn change(copy: &CopyRow, change: CopyChange) -> Call {
    let of = of(&copy.key, copy.blob.version);
    Call::ChangeCopy(ChangeCopy { of, backend: copy.backend, r#gen: copy.blob.r#gen, change })
}

impl World {
    /// Begins one more copy of what is current.
    pub(super) fn begin_copy(&mut self, n: u128, key: &str) -> Outcome {
        let version = self.objects[key].version;
        self.run(request(n, begin_copy(key, version)))
    }

    fn commit_copy(&mut self, n: u128, key: &str, begun: Outcome) -> Outcome {
        let Outcome::Begun { version, targets, .. } = begun else { return begun };
        let size = self.intents.values().find(|intent| intent.version == version).map_or(0, |i| i.size);
        self.run(request(n, commit_call(replica(key, size, version, targets), 1)))
    }

    pub(super) fn copy(&mut self, n: u128, key: &str) -> Outcome {
        let begun = self.begin_copy(n, key);
        self.commit_copy(n, key, begun)
    }

    pub(super) fn copies_of(&self, key: &str) -> Vec<CopyRow> {
        self.copies.iter().filter(|copy| copy.key == key).cloned().collect()
    }
}

fn two_copies() -> World {
    World { more_copies: 1, ..World::default() }
}

#[test]
fn a_commit_with_too_few_copies_queues_its_version() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    let entry = world.replicate.pop().expect("queued");
    assert_eq!((entry.version, entry.task), (world.objects["k"].version, CopyTask::Add));
    assert!(world.replicate.is_empty());
    let mut alone = World::default();
    alone.put(1, "k", 10);
    assert!(alone.replicate.is_empty());
}

#[test]
fn levels_say_how_many_targets_and_how_many_copies() {
    for (ack, at_once, needed) in [(AckLevel::One, 1, 1), (AckLevel::Quorum, 3, 2), (AckLevel::All, 3, 3)] {
        let mut world = World { more_copies: 2, ack, ..World::default() };
        let begun = world.begin(1, "k", 10, Conditions::default());
        let Outcome::Begun { version, targets, required_copies } = begun else { panic!("not begun") };
        assert_eq!((targets.len(), usize::from(required_copies)), (at_once, needed), "{ack:?}");
        let few = commit_call(carried("k", 10, version, targets.clone()), needed - 1);
        assert_eq!(refused(&world.run(request(1, few))), Some(ErrorCode::ServiceUnavailable));
        let begun = world.begin(2, "k", 10, Conditions::default());
        let Outcome::Begun { version, targets, .. } = begun else { panic!("not begun") };
        let enough = commit_call(carried("k", 10, version, targets), needed);
        assert!(matches!(world.run(request(2, enough)), Outcome::Committed { .. }));
        assert_eq!(world.copies.len(), needed);
        assert_eq!(world.replicate.len(), usize::from(needed < 3), "{ack:?}");
    }
}

#[test]
fn a_quorum_does_with_the_backends_that_there_are() {
    let mut world = World { more_copies: 2, ack: AckLevel::Quorum, ..World::default() };
    world.draining.insert(BackendId(3));
    let begun = world.begin(1, "k", 10, Conditions::default());
    let Outcome::Begun { targets, required_copies, .. } = begun else { panic!("not begun") };
    assert_eq!((targets.len(), required_copies), (2, 2));
    world.draining.insert(BackendId(2));
    let refusal = refused(&world.begin(2, "k", 10, Conditions::default()));
    assert_eq!(refusal, Some(ErrorCode::ServiceUnavailable), "nothing is full");
}

#[test]
fn a_copy_goes_where_there_is_none() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    let first = world.copies[0].backend;
    assert!(matches!(world.copy(2, "k"), Outcome::Committed { .. }));
    let copies = world.copies_of("k");
    assert_eq!(copies.len(), 2);
    assert_ne!(copies[1].backend, first);
    assert_eq!(copies[1].blob.r#gen, Gen::of_worker(0).expect("the first"));
    assert_eq!(world.usage[&copies[1].backend].objects, 1);
    // The object is what it was.
    assert_eq!(world.changes.last().map(|change| change.logged), Some(Logged::CopyStored));
    assert!(world.changes.last().is_some_and(|change| change.object.is_none()));
}

#[test]
fn a_repeat_of_either_step_gets_the_first_outcome() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    let begun = world.begin_copy(2, "k");
    assert_eq!(world.begin_copy(2, "k"), begun);
    let committed = world.commit_copy(2, "k", begun.clone());
    assert!(matches!(committed, Outcome::Committed { .. }));
    let Outcome::Begun { version, targets, .. } = begun else { panic!("not begun") };
    let again = commit_call(replica("k", 10, version, targets), 1);
    assert_eq!(world.run(request(2, again)), committed);
    assert_eq!(world.begin_copy(2, "k"), committed);
    assert_eq!(world.copies_of("k").len(), 2);
}

#[test]
fn a_copy_of_what_was_replaced_meanwhile_is_queued() {
    for overwrite in [true, false] {
        let mut world = two_copies();
        world.put(1, "k", 10);
        let begun = world.begin_copy(2, "k");
        if overwrite {
            world.put(3, "k", 20);
        } else {
            world.run(request(3, delete_call("k")));
        }
        let queued = world.cleanup.len();
        assert_eq!(refused(&world.commit_copy(2, "k", begun)), Some(ErrorCode::NoSuchKey));
        assert_eq!(world.cleanup.len(), queued + 1);
        assert!(world.intents.is_empty());
    }
}

#[test]
fn two_workers_that_bring_the_same_copy_leave_one() {
    let mut world = two_copies();
    world.draining.insert(BackendId(3));
    world.put(1, "k", 10);
    let (first, second) = (world.begin_copy(2, "k"), world.begin_copy(3, "k"));
    assert_ne!(first, second, "each writes under a key of its own");
    assert!(matches!(world.commit_copy(2, "k", first), Outcome::Committed { .. }));
    assert_eq!(refused(&world.commit_copy(3, "k", second)), Some(ErrorCode::NoSuchKey));
    assert_eq!(world.copies_of("k").len(), 2);
    assert_eq!(world.cleanup.len(), 1);
}

#[test]
fn an_aborted_copy_leaves_the_object_alone() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    let Outcome::Begun { version, targets, .. } = world.begin_copy(2, "k") else { panic!("not begun") };
    let ended = FinishedTarget { target: targets[0].id(), end: TargetEnd::Unknown, backend_version: None };
    let intent = replica("k", 10, version, targets);
    assert_eq!(world.run(request(2, Call::Abort(Abort { intent, targets: vec![ended] }))), Outcome::Aborted);
    assert_eq!(world.copies_of("k").len(), 1);
    assert!(world.cleanup[0].uncertain);
}

#[test]
fn a_client_cannot_commit_what_a_worker_began() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    let Outcome::Begun { version, targets, .. } = world.begin_copy(2, "k") else { panic!("not begun") };
    let commit = commit_call(carried("k", 10, version, targets), 1);
    assert_eq!(refused(&world.run(request(2, commit))), Some(ErrorCode::InvalidArgument));
}

#[test]
fn only_a_copy_too_many_can_be_dropped() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    world.copy(2, "k");
    let copies = world.copies_of("k");
    let drop = |copy: &CopyRow| change(copy, CopyChange::Drop);
    for (n, copy) in (3..).zip(&copies) {
        assert_eq!(refused(&world.run(request(n, drop(copy)))), Some(ErrorCode::PreconditionFailed));
    }
    world.more_copies = 0;
    // Two workers chose different victims; the second is counted again, and stays.
    assert_eq!(world.run(request(5, drop(&copies[0]))), Outcome::CopyChanged);
    assert_eq!(refused(&world.run(request(6, drop(&copies[1])))), Some(ErrorCode::PreconditionFailed));
    assert_eq!(world.run(request(5, drop(&copies[0]))), Outcome::CopyChanged, "a repeat");
    assert_eq!(world.copies_of("k"), [copies[1].clone()]);
    let queued = world.cleanup.last().expect("queued");
    assert_eq!((queued.reason, queued.backend), (Reason::Surplus, copies[0].backend));
}

#[test]
fn a_copy_on_a_draining_backend_goes_only_when_another_is_made() {
    let mut world = World::default();
    world.put(1, "k", 10);
    let old = world.copies[0].clone();
    world.draining.insert(old.backend);
    let drop = change(&old, CopyChange::Drop);
    assert_eq!(refused(&world.run(request(2, drop.clone()))), Some(ErrorCode::PreconditionFailed));
    world.copy(3, "k");
    assert_eq!(world.run(request(4, drop)), Outcome::CopyChanged);
    assert_eq!(world.copies_of("k").len(), 1);
    assert_ne!(world.copies[0].backend, old.backend);
}

/// The store reads the state of a backend that is down as if it were drained.
#[test]
fn a_copy_that_cannot_be_read_now_stands_in_for_none_that_is_dropped() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    world.copy(2, "k");
    world.more_copies = 0;
    let copies = world.copies_of("k");
    let drop = change(&copies[1], CopyChange::Drop);
    world.draining.insert(copies[0].backend);
    assert_eq!(refused(&world.run(request(3, drop.clone()))), Some(ErrorCode::PreconditionFailed));
    world.draining.clear();
    assert_eq!(world.run(request(4, drop)), Outcome::CopyChanged, "it is back");
    assert_eq!(world.copies_of("k"), [copies[0].clone()]);
}

/// As after an import: the only copy is in doubt, on a backend that is drained then.
#[test]
fn a_drained_copy_in_doubt_goes_when_a_good_one_is_made() {
    let mut world = World::default();
    world.put(1, "k", 10);
    let old = world.copies[0].clone();
    world.copies[0].foreign_key = Some("theirs".to_owned());
    world.unread("k", old.backend);
    world.draining.insert(old.backend);
    let drop = change(&old, CopyChange::Drop);
    assert_eq!(refused(&world.run(request(2, drop))), Some(ErrorCode::PreconditionFailed), "the only one");
    assert!(world.tend(3, "k", true), "a good one is made");
    assert!(world.tend(4, "k", true), "the one in doubt goes");
    assert!(!world.tend(5, "k", true), "nothing is left to do");
    let copies = world.copies_of("k");
    assert_eq!((copies.len(), copies[0].state), (1, CopyState::Verified));
    assert_ne!(copies[0].backend, old.backend);
    assert_eq!(world.cleanup.last().map(|entry| entry.reason), Some(Reason::Surplus), "readers may be at it");
}

#[test]
fn a_marked_copy_is_replaced_where_it_is() {
    let mut world = two_copies();
    world.draining.insert(BackendId(3));
    world.put(1, "k", 10);
    world.copy(2, "k");
    let bad = world.copies_of("k")[1].clone();
    let mark = change(&bad, CopyChange::Mark(CopyState::Quarantined));
    world.replicate.clear();
    assert_eq!(world.run(request(3, mark.clone())), Outcome::CopyChanged);
    assert_eq!(world.run(request(3, mark)), Outcome::CopyChanged, "a repeat");
    assert_eq!(world.replicate.len(), 1);
    assert!(matches!(world.copy(4, "k"), Outcome::Committed { .. }));
    let copies = world.copies_of("k");
    assert_eq!(copies.len(), 2);
    assert!(copies.iter().all(|copy| copy.state == CopyState::Verified));
    assert_eq!((copies[1].backend, copies[1].blob.r#gen), (bad.backend, Gen::of_worker(1).expect("second")));
    assert_eq!(world.cleanup.last().map(|entry| entry.reason), Some(Reason::Repaired));
}

#[test]
fn the_last_copy_that_may_be_good_is_not_marked() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    let only = world.copies[0].clone();
    let mark = |copy: &CopyRow, state| change(copy, CopyChange::Mark(state));
    let refusal = refused(&world.run(request(2, mark(&only, CopyState::Missing))));
    assert_eq!(refusal, Some(ErrorCode::PreconditionFailed));
    world.copy(3, "k");
    let copies = world.copies_of("k");
    assert_eq!(world.run(request(4, mark(&copies[0], CopyState::Missing))), Outcome::CopyChanged);
    let refusal = refused(&world.run(request(5, mark(&copies[1], CopyState::Missing))));
    assert_eq!(refusal, Some(ErrorCode::PreconditionFailed));
    let refusal = refused(&world.run(request(6, mark(&copies[1], CopyState::Verified))));
    assert_eq!(refusal, Some(ErrorCode::InvalidArgument));
}

#[test]
fn a_copy_of_an_older_attempt_is_another_copy() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    world.copy(2, "k");
    let mut seen = world.copies_of("k")[0].clone();
    seen.blob.r#gen = Gen::new(7).expect("fits");
    world.more_copies = 0;
    let refusal = refused(&world.run(request(3, change(&seen, CopyChange::Drop))));
    assert_eq!(refusal, Some(ErrorCode::NoSuchKey));
    assert_eq!(world.copies_of("k").len(), 2);
}

/// What a step of a history does.
#[derive(Debug, Clone)]
enum Step {
    Put(u8),
    Delete(u8),
    /// A worker looks at a key and does what it needs, to the end or not.
    Tend(u8, bool),
    Mark(u8, u8, CopyState),
    /// As reconcile attaches copies, and an import brings them: nobody has read it yet.
    Doubt(u8, u8),
    /// The scrubber reads what is in doubt.
    Scrub(u8),
    Drain(u8),
    Undrain(u8),
    Factor(u16),
}

fn steps() -> impl Strategy<Value = Step> {
    let state = prop_oneof![Just(CopyState::Missing), Just(CopyState::Quarantined)];
    prop_oneof![
        3 => (0..3u8).prop_map(Step::Put),
        1 => (0..3u8).prop_map(Step::Delete),
        8 => (0..3u8, proptest::bool::weighted(0.8)).prop_map(|(key, ends)| Step::Tend(key, ends)),
        2 => (0..3u8, 0..3u8, state).prop_map(|(key, copy, state)| Step::Mark(key, copy, state)),
        2 => (0..3u8, 0..3u8).prop_map(|(key, copy)| Step::Doubt(key, copy)),
        1 => (0..3u8).prop_map(Step::Scrub),
        1 => (1..4u8).prop_map(Step::Drain),
        1 => (1..4u8).prop_map(Step::Undrain),
        1 => (0..3u16).prop_map(Step::Factor),
    ]
}

impl World {
    /// One step of a worker for a key. `false`: there was nothing to do, or it could not be done.
    fn tend(&mut self, n: u128, key: &str, ends: bool) -> bool {
        if !self.objects.contains_key(key) {
            return false;
        }
        let draining = |id| self.draining.contains(&id);
        let state = |copy: &CopyRow| {
            use s3o_types::BackendState::{Active, Draining};
            if draining(copy.backend) { Draining } else { Active }
        };
        let copies: Vec<_> =
            self.copies_of(key).into_iter().map(|copy| (copy.clone(), state(&copy))).collect();
        match need(&copies, self.factor(), &Standing::default()) {
            Need::Copies(_) if ends => matches!(self.copy(n, key), Outcome::Committed { .. }),
            // It died on the way.
            Need::Copies(_) => matches!(self.begin_copy(n, key), Outcome::Begun { .. }),
            Need::Without(copy) => {
                self.run(request(n, change(&copy, CopyChange::Drop))) == Outcome::CopyChanged
            }
            Need::Nothing | Need::Later => false,
        }
    }

    /// A copy is in doubt, where another one is sure: the model takes an object for lost that has none.
    fn doubt(&mut self, key: &str, copy: usize) {
        let copies = self.copies_of(key);
        let Some(doubted) = copies.get(copy).filter(|copy| copy.state.readable()) else { return };
        let sure = |copy: &CopyRow| copy.state == CopyState::Verified && copy.backend != doubted.backend;
        if copies.iter().any(sure) {
            self.unread(key, doubted.backend);
        }
    }

    /// A copy of a key that nobody has read yet.
    fn unread(&mut self, key: &str, backend: BackendId) {
        let same = |copy: &&mut CopyRow| copy.key == key && copy.backend == backend;
        let copy = self.copies.iter_mut().find(same).expect("a copy");
        copy.state = CopyState::Uncertain;
    }

    /// The scrubber finds a copy good that is in doubt. `false`: none is.
    fn scrub(&mut self, n: u128, key: &str) -> bool {
        let doubtful = self.copies_of(key).into_iter().find(|copy| copy.state == CopyState::Uncertain);
        let Some(copy) = doubtful else { return false };
        self.run(request(n, change(&copy, CopyChange::Verify(None)))) == Outcome::CopyChanged
    }

    fn take(&mut self, n: u128, step: &Step) {
        let name = |key: u8| format!("k{key}");
        match *step {
            Step::Put(key) => {
                if let Outcome::Begun { version, targets, .. } =
                    self.begin(n, &name(key), 10, Conditions::default())
                {
                    self.run(request(n, commit_call(carried(&name(key), 10, version, targets), 1)));
                }
            }
            Step::Delete(key) => drop(self.run(request(n, delete_call(&name(key))))),
            Step::Tend(key, ends) => drop(self.tend(n, &name(key), ends)),
            Step::Mark(key, copy, state) => {
                if let Some(copy) = self.copies_of(&name(key)).get(usize::from(copy)) {
                    let mark = change(copy, CopyChange::Mark(state));
                    self.run(request(n, mark));
                }
            }
            Step::Doubt(key, copy) => self.doubt(&name(key), usize::from(copy)),
            Step::Scrub(key) => drop(self.scrub(n, &name(key))),
            Step::Drain(id) => drop(self.draining.insert(BackendId(i32::from(id)))),
            Step::Undrain(id) => drop(self.draining.remove(&BackendId(i32::from(id)))),
            Step::Factor(more) => self.more_copies = more,
        }
    }
}

proptest! {
    /// Every step is audited by the model, copies in doubt and all; afterwards, with all backends back, workers bring every
    /// key to its factor.
    #[test]
    fn any_history_ends_with_as_many_copies_as_are_wanted(steps in proptest::collection::vec(steps(), 1..60)) {
        let mut world = two_copies();
        let mut n = 0;
        for step in steps {
            n += 1;
            world.take(n, &step);
        }
        world.draining.clear();
        let mut keys: Vec<String> = world.objects.keys().cloned().collect();
        keys.sort();
        for key in keys {
            loop {
                n += 2;
                // What workers cannot do beside a copy in doubt, they can when the scrubber has read it.
                if !world.tend(n, &key, true) && !world.scrub(n + 1, &key) {
                    break;
                }
            }
            let copies = world.copies_of(&key);
            prop_assert_eq!(copies.len(), usize::from(world.factor()), "{}", key);
            prop_assert!(copies.iter().all(|copy| copy.state == CopyState::Verified));
        }
    }
}

#[test]
fn a_copy_that_was_read_whole_counts_whatever_it_was_marked_as() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    world.copy(2, "k");
    world.replicate.clear();
    let digest = Digest::Crc64Nvme([7; 8]);
    let bad = world.copies_of("k")[1].clone();
    for (n, state) in [(10, CopyState::Quarantined), (20, CopyState::Missing)] {
        assert_eq!(world.run(request(n, change(&bad, CopyChange::Mark(state)))), Outcome::CopyChanged);
        assert_eq!(world.replicate.len(), 1, "it does not count, so another one is wanted");
        let verified = change(&bad, CopyChange::Verify(Some(digest)));
        assert_eq!(world.run(request(n + 1, verified)), Outcome::CopyChanged);
        assert_eq!(world.replicate.len(), 2, "now there may be one too many");
        let copy = world.copies_of("k")[1].clone();
        assert_eq!((copy.state, copy.digest), (CopyState::Verified, Some(digest)));
        world.replicate.clear();
    }
    // What is known stays known, and where nothing changes nobody has to look.
    let other = change(&bad, CopyChange::Verify(Some(Digest::Sha256([9; 32]))));
    assert_eq!(world.run(request(30, other)), Outcome::CopyChanged);
    assert_eq!(world.copies_of("k")[1].digest, Some(digest));
    assert!(world.replicate.is_empty());
    // Another attempt at its place is another copy.
    let gone = CopyRow { blob: s3o_types::BlobName { r#gen: Gen::ZERO, ..bad.blob }, ..bad };
    assert_eq!(
        refused(&world.run(request(40, change(&gone, CopyChange::Verify(None))))),
        Some(ErrorCode::NoSuchKey)
    );
}

#[test]
fn a_new_copy_has_the_digest_of_the_others() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    let digest = Digest::Sha256([9; 32]);
    let first = world.copies_of("k")[0].clone();
    world.run(request(2, change(&first, CopyChange::Verify(Some(digest)))));
    world.copy(3, "k");
    assert!(world.copies_of("k").iter().all(|copy| copy.digest == Some(digest)));
}

#[test]
fn a_new_copy_has_the_checksums_of_the_others() {
    let mut world = two_copies();
    world.put(1, "k", 10);
    let checksums = Checksums { values: [("crc32c".to_owned(), "AAAAAA==".to_owned())].into() };
    world.copies[0].checksums = checksums.clone();
    world.copy(3, "k");
    let copies = world.copies_of("k");
    assert_eq!(copies.len(), 2);
    assert!(copies.iter().all(|copy| copy.checksums == checksums), "they are of the part, not of a blob");
}
