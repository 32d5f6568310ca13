//! What expires is what was looked at, and is due still when it is decided.

use proptest::prelude::*;
use s3o_types::{LifecycleRule, Seq, UploadId, VersionId, Versioning};

use super::set_tags::call as tags_call;
use super::*;
use crate::call::{CreateUpload, Expire, Expiring, Request};
use crate::lifecycle::{Aged, Standing, expires, noncurrent_expires};
use crate::object::ObjectRow;

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

impl World {
    /// What the store reads for a call that lets a noncurrent row expire.
    pub(super) fn standing(&self, request: &Request) -> Option<(s3o_types::Op, Standing)> {
        let Call::Expire(Expire { key, what: Expiring::Noncurrent { version, .. }, .. }) = &request.call
        else {
            return None;
        };
        let of_key = || self.noncurrent.iter().filter(|((of, _), _)| of == key);
        let (seq, _) =
            of_key().map(|((_, seq), (row, _))| (*seq, row)).find(|(_, row)| row.version == *version)?;
        Some((request.op, self.standing_of(key, seq)))
    }

    fn standing_of(&self, key: &str, place: Seq) -> Standing {
        let of_key = || self.noncurrent.iter().filter(|((of, _), _)| of == key);
        let newer = || of_key().filter(|((_, seq), _)| *seq > place);
        let current = self.objects.get(key);
        let successor = newer().next().map(|(_, (row, _))| row.modified).or(current.map(|row| row.modified));
        let versions = newer().filter(|(_, (_, is_marker))| !is_marker).count();
        let alone = of_key().count() == 1 && current.is_none();
        Standing { successor, newer: u32::try_from(versions).unwrap_or(u32::MAX), alone }
    }
}

fn expire(key: &str, what: Expiring) -> Call {
    Call::Expire(Expire { bucket: BUCKET, key: key.into(), what })
}

fn current(world: &World, key: &str) -> Call {
    expire(key, Expiring::Current(world.objects[key].version))
}

fn noncurrent(row: &ObjectRow) -> Call {
    expire(&row.key, Expiring::Noncurrent { version: row.version, is_null: row.is_null })
}

fn days(days: u32) -> LifecycleRule {
    LifecycleRule { expire_after_days: Some(days), ..LifecycleRule::default() }
}

fn expiring(rules: &[LifecycleRule], versioning: Versioning) -> World {
    World { lifecycle: rules.to_vec(), versioning, ..World::default() }
}

fn kept(outcome: &Outcome) {
    assert_eq!(refused(outcome), Some(ErrorCode::PreconditionFailed), "{outcome:?}");
}

#[test]
fn what_is_due_goes_once_and_its_bytes_are_queued() {
    let mut world = expiring(&[days(1)], Versioning::Off);
    world.put(1, "k", 10);
    let call = current(&world, "k");
    kept(&world.run(request(2, call.clone())));
    world.later_us = 2 * DAY_US;
    let gone = Outcome::Deleted { existed: true, version: None, delete_marker: false };
    assert_eq!(world.run(request(3, call.clone())), gone);
    assert!(world.objects.is_empty() && world.copies.is_empty());
    assert_eq!(world.cleanup.len(), 1);
    world.put(4, "k", 20);
    assert_eq!(world.run(request(3, call.clone())), gone, "a repeat");
    kept(&world.run(request(5, call)));
    assert_eq!(world.objects["k"].size, 20);
    world.audit();
}

#[test]
fn what_changed_since_the_look_stays() {
    let tagged = LifecycleRule { tags: [("t".to_owned(), "old".to_owned())].into(), ..days(1) };
    let mut world = expiring(&[tagged], Versioning::Off);
    world.put(1, "k", 10);
    world.run(request(2, tags_call("k", &[("t", "old")])));
    world.later_us = 9 * DAY_US;
    let call = current(&world, "k");
    world.run(request(3, tags_call("k", &[("t", "new")])));
    kept(&world.run(request(4, call.clone())));
    world.run(request(5, tags_call("k", &[("t", "old")])));
    world.put(6, "k", 20);
    kept(&world.run(request(7, call)));
    // The rule itself is gone.
    world.later_us = 99 * DAY_US;
    world.run(request(8, tags_call("k", &[("t", "old")])));
    let call = current(&world, "k");
    let rules = std::mem::take(&mut world.lifecycle);
    kept(&world.run(request(9, call.clone())));
    world.lifecycle = rules;
    assert!(matches!(world.run(request(10, call)), Outcome::Deleted { existed: true, .. }));
}

#[test]
fn a_versioned_bucket_gets_a_marker_and_old_versions_go_for_good() {
    let old = LifecycleRule { noncurrent_days: Some(1), ..days(1) };
    let mut world = expiring(&[old], Versioning::Enabled);
    world.put(1, "k", 1);
    world.put(2, "k", 2);
    world.later_us = 2 * DAY_US;
    let rows: Vec<ObjectRow> = world.noncurrent.values().map(|(row, _)| row.clone()).collect();
    let marked = world.run(request(3, current(&world, "k")));
    assert!(matches!(marked, Outcome::Deleted { delete_marker: true, version: Some(_), .. }), "{marked:?}");
    assert!(world.objects.is_empty() && world.cleanup.is_empty(), "nothing is lost by a marker");
    assert!(matches!(world.run(request(4, noncurrent(&rows[0]))), Outcome::Deleted { existed: true, .. }));
    assert_eq!((world.noncurrent.len(), world.cleanup.len()), (2, 1));
    // The marker came now: what it replaced is noncurrent since.
    let second = world.noncurrent.values().find(|(_, marker)| !marker).expect("a version").0.clone();
    kept(&world.run(request(5, noncurrent(&second))));
    world.later_us = 4 * DAY_US;
    world.run(request(6, noncurrent(&second)));
    let marker = world.noncurrent.values().next().expect("the marker").0.clone();
    assert!(matches!(
        world.run(request(7, noncurrent(&marker))),
        Outcome::Deleted { delete_marker: true, .. }
    ));
    assert!(world.noncurrent.is_empty());
    world.audit();
}

#[test]
fn a_null_version_that_was_replaced_is_another() {
    let rules = [LifecycleRule { noncurrent_days: Some(1), ..LifecycleRule::default() }];
    let mut world = expiring(&rules, Versioning::Suspended);
    world.put(1, "k", 1);
    world.versioning = Versioning::Enabled;
    world.put(2, "k", 2);
    let null = world.noncurrent.values().next().expect("the null version").0.clone();
    world.versioning = Versioning::Suspended;
    world.put(3, "k", 3);
    world.versioning = Versioning::Enabled;
    world.put(4, "k", 4);
    world.later_us = 9 * DAY_US;
    let before = world.noncurrent.len();
    kept(&world.run(request(5, noncurrent(&null))));
    assert_eq!(world.noncurrent.len(), before);
}

#[test]
fn an_upload_is_given_up_by_its_rule_only() {
    let rules = [LifecycleRule { abort_uploads_after_days: Some(2), ..LifecycleRule::default() }];
    let mut world = expiring(&rules, Versioning::Off);
    let create = CreateUpload {
        bucket: BUCKET,
        key: "k".into(),
        attributes: ObjectAttributes::default(),
        checksum: None,
    };
    world.run(request(1, Call::CreateUpload(create)));
    let call = expire("k", Expiring::Upload(UploadId(op(1).id)));
    world.later_us = DAY_US;
    kept(&world.run(request(2, call.clone())));
    world.later_us = 3 * DAY_US;
    assert_eq!(world.run(request(3, call.clone())), Outcome::UploadAborted);
    assert_eq!(refused(&world.run(request(4, call))), Some(ErrorCode::NoSuchUpload));
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize),
    Delete(usize),
    Tag(usize, bool),
    Version(Versioning),
    Wait(i64),
    /// Looks at a version of the key now, and acts on it later.
    Look(usize),
    Expire(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize).prop_map(Step::Put),
        2 => (0..2_usize).prop_map(Step::Delete),
        2 => (0..2_usize, any::<bool>()).prop_map(|(key, tagged)| Step::Tag(key, tagged)),
        1 => prop_oneof![Just(Versioning::Enabled), Just(Versioning::Suspended)].prop_map(Step::Version),
        3 => (0..3_i64).prop_map(Step::Wait),
        4 => (0..2_usize).prop_map(Step::Look),
        4 => (0..8_usize).prop_map(Step::Expire),
    ]
}

/// Whether a row is due now, by the rules alone.
fn is_due(world: &World, version: VersionId) -> bool {
    let now = Timestamp(world.drawn + 1 + world.later_us);
    if let Some(row) = world.objects.values().find(|row| row.version == version) {
        let contents = Some((row.size, &row.attributes.tags));
        return expires(
            &world.lifecycle,
            &Aged { key: &row.key, contents, modified: row.modified, lock: row.attributes.lock },
            now,
        )
        .is_some();
    }
    let found = world.noncurrent.iter().find(|(_, (row, _))| row.version == version);
    found.is_some_and(|((key, seq), (row, is_marker))| {
        let contents = (!is_marker).then_some((row.size, &row.attributes.tags));
        let aged = Aged { key, contents, modified: row.modified, lock: row.attributes.lock };
        noncurrent_expires(&world.lifecycle, &aged, world.standing_of(key, *seq), now).is_some()
    })
}

proptest! {
    #[test]
    fn only_what_is_due_when_it_is_decided_goes(steps in proptest::collection::vec(step(), 1..60)) {
        let kept_tag = LifecycleRule { tags: [("t".to_owned(), "old".to_owned())].into(), ..days(2) };
        let old = LifecycleRule {
            noncurrent_days: Some(1),
            newer_noncurrent_versions: Some(1),
            ..LifecycleRule::default()
        };
        let markers = LifecycleRule { expired_delete_markers: true, ..LifecycleRule::default() };
        let mut world = expiring(&[kept_tag, old, markers], Versioning::Off);
        let mut looked: Vec<(String, VersionId, bool, bool)> = Vec::new();
        for (n, step) in (1_u128..).zip(steps) {
            let key = |n: usize| ["a", "b"][n].to_owned();
            match step {
                Step::Put(k) => {
                    world.put(n, &key(k), 10);
                }
                Step::Delete(k) => {
                    world.run(request(n, delete_call(&key(k))));
                }
                Step::Tag(k, old) => {
                    world.run(request(n, tags_call(&key(k), &[("t", if old { "old" } else { "new" })])));
                }
                Step::Version(versioning) => world.versioning = versioning,
                Step::Wait(days) => world.later_us += days * DAY_US,
                Step::Look(k) => {
                    let current = world.objects.get(&key(k)).map(|row| (row.key.clone(), row.version, row.is_null, true));
                    let old = world.noncurrent.iter().filter(|((of, _), _)| *of == key(k));
                    looked.extend(current);
                    looked.extend(old.map(|((of, _), (row, _))| (of.clone(), row.version, row.is_null, false)));
                }
                Step::Expire(pick) => {
                    let Some((key, version, is_null, as_current)) = looked.get(pick).cloned() else { continue };
                    let is_current = world.objects.get(&key).is_some_and(|row| row.version == version);
                    let due = is_due(&world, version) && is_current == as_current;
                    let what = if as_current {
                        Expiring::Current(version)
                    } else {
                        Expiring::Noncurrent { version, is_null }
                    };
                    let before = world.objects.len() + world.noncurrent.len();
                    let outcome = world.run(request(n, expire(&key, what)));
                    prop_assert_eq!(matches!(outcome, Outcome::Deleted { existed: true, .. }), due, "{:?}", outcome);
                    if !due {
                        prop_assert_eq!(world.objects.len() + world.noncurrent.len(), before);
                    }
                }
            }
            world.audit();
        }
    }
}
