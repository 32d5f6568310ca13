//! Copies on backends that are given up: those with a good one elsewhere go, and the last ones only by leave.

use s3o_types::{BackendId, Conditions, ErrorCode, Extent, Seq, VersionId, Versioning};

use super::*;
use crate::call::{CopyChange, ExtentOf, GiveUp};
use crate::cleanup::Reason;
use crate::object::{CopyRow, CopyState};
use crate::outcome_log::Logged;
use crate::removal::{Removal, RemovalMode};

fn given_up(copy: &CopyRow) -> Call {
    let (version, extent) = (copy.blob.version, copy.blob.extent);
    let of = ExtentOf { bucket: BUCKET, key: copy.key.clone(), version, extent };
    Call::GiveUp(GiveUp { of, backend: copy.backend, r#gen: copy.blob.r#gen })
}

impl World {
    /// Losses are accepted of what is there now.
    fn give_up_backend(&mut self, backend: BackendId, accepts_losses: bool) {
        self.draining.insert(backend);
        let losses_upto = accepts_losses.then_some(Seq(self.drawn));
        self.removals.insert(backend, Removal { mode: RemovalMode::Purge, losses_upto });
    }

    fn only_copy(&self, version: VersionId) -> CopyRow {
        let mut copies = self.copies.iter().filter(|copy| copy.blob.version == version);
        let copy = copies.next().expect("a copy").clone();
        assert!(copies.next().is_none(), "more than one");
        copy
    }
}

const GONE: Outcome = Outcome::Deleted { existed: true, version: None, delete_marker: false };

#[test]
fn a_copy_with_a_good_one_elsewhere_goes_and_is_replaced() {
    let mut world = World { more_copies: 1, ..World::default() };
    world.put(1, "k", 10);
    world.copy(2, "k");
    let copies = world.copies_of("k");
    assert_eq!(copies.len(), 2);
    let call = given_up(&copies[0]);
    let refused_ = world.run(request(3, call.clone()));
    assert_eq!(refused(&refused_), Some(ErrorCode::PreconditionFailed), "it is not given up");
    world.give_up_backend(copies[0].backend, false);
    assert_eq!(world.run(request(4, call.clone())), Outcome::CopyChanged);
    assert_eq!(world.copies_of("k"), copies[1..]);
    assert_eq!(world.replicate.last().map(|entry| entry.version), Some(copies[0].blob.version));
    let queued = world.cleanup.last().expect("queued");
    assert_eq!((queued.backend, queued.reason), (copies[0].backend, Reason::GivenUp));
    assert_eq!(world.run(request(4, call.clone())), Outcome::CopyChanged, "a repeat");
    assert_eq!(refused(&world.run(request(5, call))), Some(ErrorCode::NoSuchKey), "it is gone");
    assert_eq!(world.objects["k"].size, 10);
    world.audit();
}

#[test]
fn the_last_one_goes_only_by_leave_and_its_version_with_it() {
    let mut world = World::default();
    world.put(1, "k", 10);
    let copy = world.only_copy(world.objects["k"].version);
    world.give_up_backend(copy.backend, false);
    let outcome = world.run(request(2, given_up(&copy)));
    assert_eq!(refused(&outcome), Some(ErrorCode::PreconditionFailed));
    assert_eq!(world.copies_of("k"), std::slice::from_ref(&copy));
    world.give_up_backend(copy.backend, true);
    assert_eq!(world.run(request(3, given_up(&copy))), GONE);
    assert!(world.objects.is_empty() && world.copies.is_empty());
    assert_eq!(
        world.changes.last().map(|change| change.logged),
        Some(Logged::Deleted),
        "a rebuild hears of it"
    );
    world.audit();
}

/// What was not read yet may be good: the version stays.
#[test]
fn a_doubtful_copy_elsewhere_keeps_the_version() {
    let mut world = World { more_copies: 1, ..World::default() };
    world.put(1, "k", 10);
    world.copy(2, "k");
    let copies = world.copies_of("k");
    let other = copies[1].backend;
    world
        .copies
        .iter_mut()
        .filter(|copy| copy.backend == other)
        .for_each(|copy| copy.state = CopyState::Uncertain);
    world.give_up_backend(copies[0].backend, false);
    let outcome = world.run(request(3, given_up(&copies[0])));
    assert_eq!(refused(&outcome), Some(ErrorCode::PreconditionFailed));
    world.give_up_backend(copies[0].backend, true);
    assert_eq!(world.run(request(4, given_up(&copies[0]))), Outcome::CopyChanged);
    assert_eq!(world.copies_of("k").len(), 1);
    // One that is known to be bad keeps nothing.
    world.give_up_backend(other, true);
    let last = world.copies_of("k").remove(0);
    assert_eq!(world.run(request(5, given_up(&last))), GONE);
    world.audit();
}

/// One of them may be dead: what is said to be there is nothing to rely on.
#[test]
fn a_copy_on_another_backend_that_is_drained_counts_for_nothing() {
    let mut world = World { more_copies: 1, ..World::default() };
    world.put(1, "k", 10);
    world.copy(2, "k");
    let copies = world.copies_of("k");
    copies.iter().for_each(|copy| world.give_up_backend(copy.backend, false));
    for (n, copy) in (3..).zip(&copies) {
        let outcome = world.run(request(n, given_up(copy)));
        assert_eq!(refused(&outcome), Some(ErrorCode::PreconditionFailed));
    }
    assert_eq!(world.copies_of("k").len(), 2);
    // By leave one goes, and then the other with its version.
    copies.iter().for_each(|copy| world.give_up_backend(copy.backend, true));
    assert_eq!(world.run(request(5, given_up(&copies[0]))), Outcome::CopyChanged);
    assert_eq!(world.run(request(6, given_up(&copies[1]))), GONE);
    world.audit();
}

#[test]
fn what_is_newer_than_the_preview_stays() {
    let mut world = World::default();
    world.put(1, "old", 10);
    let old = world.only_copy(world.objects["old"].version);
    let begun = world.begin(2, "late", 10, Conditions::default());
    world.give_up_backend(old.backend, true);
    let Outcome::Begun { version, targets, .. } = begun else { panic!("{begun:?}") };
    for id in [1, 2, 3] {
        let removal = world.removals[&old.backend];
        world.draining.insert(BackendId(id));
        world.removals.insert(BackendId(id), removal);
    }
    let committed = world.run(request(2, commit_call(carried("late", 10, version, targets), 1)));
    assert!(matches!(committed, Outcome::Committed { .. }), "it stands: {committed:?}");
    let late = world.only_copy(version);
    let outcome = world.run(request(3, given_up(&late)));
    assert_eq!(refused(&outcome), Some(ErrorCode::PreconditionFailed));
    assert_eq!(world.run(request(4, given_up(&old))), GONE);
    assert!(world.objects.contains_key("late") && world.objects.len() == 1);
    world.audit();
}

#[test]
fn versions_that_are_not_current_go_by_themselves() {
    let mut world = World { versioning: Versioning::Enabled, ..World::default() };
    for n in 1..=4 {
        world.put(n, "k", 10 + u64::try_from(n).expect("small"));
    }
    let mut versions: Vec<VersionId> = world.noncurrent.values().map(|(row, _)| row.version).collect();
    versions.push(world.objects["k"].version);
    for id in [1, 2, 3] {
        world.give_up_backend(BackendId(id), true);
    }
    // The oldest, then the current one: the newest that is left is current.
    for (n, version) in [(10, versions[0]), (11, versions[3])] {
        let outcome = world.run(request(n, given_up(&world.only_copy(version))));
        assert!(
            matches!(outcome, Outcome::Deleted { existed: true, delete_marker: false, .. }),
            "{outcome:?}"
        );
    }
    assert_eq!(world.objects["k"].version, versions[2]);
    assert_eq!(world.noncurrent.len(), 1);
    world.audit();
    let extent = Extent::ZERO;
    let of = ExtentOf { bucket: BUCKET, key: "k".into(), version: versions[0], extent };
    let stale = Call::ChangeCopy(crate::call::ChangeCopy {
        of,
        backend: BackendId(1),
        r#gen: s3o_types::Gen::of_client(0).expect("the first"),
        change: CopyChange::Drop,
    });
    assert_eq!(refused(&world.run(request(12, stale))), Some(ErrorCode::NoSuchKey), "nothing is left of it");
}
