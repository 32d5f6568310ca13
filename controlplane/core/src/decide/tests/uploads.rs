//! Multipart uploads against the model.

use proptest::prelude::*;
use s3o_types::{Checksums, Conditions, ErrorCode, Etag, Extent, Gen, ObjectAttributes, UploadId};
use uuid::Uuid;

use super::world::{BUCKET, World, begin_call, carried, commit_call, op, refused, request};
use super::{claimed, resolve_call};
use crate::call::{
    Abort, AbortUpload, Begin, Call, CompleteUpload, CreateUpload, Outcome, PartOf, Resolution, Retarget,
};
use crate::intent::{Target, WriteKind};
use crate::object::Piece;
use crate::upload::UploadState;

fn id(n: u128) -> UploadId {
    UploadId(Uuid::from_u128(n))
}

fn number(n: u16) -> Extent {
    Extent::new(n).expect("a part number")
}

fn create(world: &mut World, n: u128, key: &str) -> Outcome {
    let attributes = ObjectAttributes::default();
    let call = CreateUpload { bucket: BUCKET, key: key.into(), attributes, checksum: None };
    world.run(request(n, Call::CreateUpload(call)))
}

fn begin_part(world: &mut World, n: u128, key: &str, upload: u128, part: u16, size: u64) -> Outcome {
    let Call::Begin(begin) = begin_call(key, size, Conditions::default()) else { unreachable!() };
    let part = PartOf { upload: id(upload), number: number(part) };
    world.run(request(n, Call::Begin(Begin { kind: WriteKind::Part, part: Some(part), ..begin })))
}

fn commit_part(world: &mut World, n: u128, key: &str, upload: u128, size: u64, begun: &Outcome) -> Outcome {
    world.run(request(n, part_call(key, upload, size, begun, Checksums::default())))
}

fn part_call(key: &str, upload: u128, size: u64, begun: &Outcome, checksums: Checksums) -> Call {
    let Outcome::Begun { version, targets, .. } = begun.clone() else { panic!("not begun: {begun:?}") };
    let mut intent = carried(key, size, version, targets);
    intent.upload = Some(id(upload));
    let Call::Commit(mut commit) = commit_call(intent, 1) else { unreachable!() };
    commit.checksums = checksums;
    Call::Commit(commit)
}

fn checksums(pairs: &[(&str, &str)]) -> Checksums {
    Checksums { values: pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect() }
}

fn put_part(world: &mut World, n: u128, key: &str, upload: u128, part: u16, size: u64) -> Outcome {
    let begun = begin_part(world, n, key, upload, part, size);
    commit_part(world, n, key, upload, size, &begun)
}

fn complete_call(key: &str, upload: u128, parts: &[(u16, u16)], etag: &str) -> Call {
    Call::CompleteUpload(Box::new(CompleteUpload {
        bucket: BUCKET,
        key: key.into(),
        upload: id(upload),
        conditions: Conditions::default(),
        etag: Etag::new(etag),
        checksums: Checksums::default(),
        parts: parts.iter().map(|(n, attempt)| (number(*n), Gen::new(*attempt).expect("small"))).collect(),
    }))
}

fn abort_call(key: &str, upload: u128) -> Call {
    Call::AbortUpload(AbortUpload { bucket: BUCKET, key: key.into(), upload: id(upload), stale: false })
}

#[test]
fn parts_become_one_object_with_its_pieces_in_order() {
    let mut world = World::default();
    world.put(9, "k", 7);
    assert_eq!(create(&mut world, 1, "k"), Outcome::UploadCreated);
    assert_eq!(create(&mut world, 1, "k"), Outcome::UploadCreated, "a repeat");
    for (n, part, size) in [(2, 5, 30), (3, 1, 10), (4, 2, 20), (5, 2, 25)] {
        assert!(matches!(put_part(&mut world, n, "k", 1, part, size), Outcome::Committed { .. }));
    }
    assert_eq!(world.objects["k"].size, 7, "nothing is seen of parts");
    let done = world.run(request(6, complete_call("k", 1, &[(1, 0), (2, 1)], "e-2")));
    let Outcome::Committed { seq, .. } = done else { panic!("{done:?}") };
    let row = &world.objects["k"];
    assert_eq!((row.size, row.seq, row.parts), (35, seq, Some(2)));
    let pieces: Vec<_> =
        world.copies.iter().map(|c| (c.blob.extent.get(), c.blob.r#gen.get(), c.piece)).collect();
    let first = Some(Piece { offset: 0, size: 10 });
    assert_eq!(pieces, [(1, 0, first), (2, 1, Some(Piece { offset: 10, size: 25 }))]);
    // The object before, the part that was uploaded twice, the one that was not listed.
    let mut queued: Vec<_> = world.cleanup.iter().map(|entry| (entry.reason.as_str(), entry.size)).collect();
    queued.sort_unstable();
    assert_eq!(queued, [("displaced", 7), ("replaced_part", 20), ("unlisted_part", 30)]);
}

/// Whether it is told later does not depend on what the client sent with a part, but on what it asked for.
#[test]
fn a_part_keeps_the_checksum_that_the_object_has() {
    for (of_object, kept) in [
        (checksums(&[("crc32c", "x-2")]), [checksums(&[("crc32c", "a")]), checksums(&[("crc32c", "b")])]),
        (Checksums::default(), [Checksums::default(), Checksums::default()]),
    ] {
        let mut world = World::default();
        create(&mut world, 1, "k");
        for (n, part, value) in [(2, 1, "a"), (3, 4, "b")] {
            let begun = begin_part(&mut world, n, "k", 1, part, 10);
            let sent = checksums(&[("crc32c", value), ("sha1", "c")]);
            world.run(request(n, part_call("k", 1, 10, &begun, sent)));
        }
        let Call::CompleteUpload(mut complete) = complete_call("k", 1, &[(1, 0), (4, 0)], "e-2") else {
            unreachable!()
        };
        complete.checksums = of_object.clone();
        let done = world.run(request(4, Call::CompleteUpload(complete)));
        assert!(matches!(done, Outcome::Committed { .. }), "{done:?}");
        let copies: Vec<Checksums> = world.copies.iter().map(|copy| copy.checksums.clone()).collect();
        assert_eq!(copies, kept, "of an object with {of_object:?}");
    }
}

#[test]
fn a_repeated_complete_gets_the_answer_again_and_changes_nothing() {
    let mut world = World::default();
    create(&mut world, 1, "k");
    put_part(&mut world, 2, "k", 1, 1, 10);
    let call = complete_call("k", 1, &[(1, 0)], "e-1");
    let first = world.run(request(3, call.clone()));
    world.put(4, "k", 99);
    assert_eq!(world.run(request(3, call.clone())), first, "the same operation");
    assert_eq!(world.run(request(5, call)), first, "another client's");
    assert_eq!(world.objects["k"].size, 99);
    let other = world.run(request(6, complete_call("k", 1, &[(1, 0)], "other-1")));
    assert_eq!(refused(&other), Some(ErrorCode::NoSuchUpload));
}

#[test]
fn what_was_not_looked_at_is_not_completed() {
    let mut world = World::default();
    create(&mut world, 1, "k");
    put_part(&mut world, 2, "k", 1, 1, 10);
    put_part(&mut world, 3, "k", 1, 1, 11);
    let mut code = |n, call| refused(&world.run(request(n, call)));
    assert_eq!(code(10, complete_call("k", 1, &[(1, 0)], "e")), Some(ErrorCode::InvalidPart));
    assert_eq!(code(11, complete_call("k", 1, &[(1, 1), (2, 0)], "e")), Some(ErrorCode::InvalidPart));
    assert_eq!(code(12, complete_call("k", 1, &[(1, 1), (1, 1)], "e")), Some(ErrorCode::InvalidArgument));
    assert_eq!(code(13, complete_call("k", 1, &[], "e")), Some(ErrorCode::InvalidArgument));
    assert_eq!(code(14, complete_call("x", 1, &[(1, 1)], "e")), Some(ErrorCode::NoSuchUpload));
    assert_eq!(code(15, complete_call("k", 7, &[(1, 1)], "e")), Some(ErrorCode::NoSuchUpload));
    assert_eq!(code(16, complete_call("k", 1, &[(1, 1)], "e")), None, "it was open all the time");
}

#[test]
fn a_condition_that_fails_leaves_the_upload_open() {
    let mut world = World::default();
    world.put(9, "k", 1);
    create(&mut world, 1, "k");
    put_part(&mut world, 2, "k", 1, 1, 10);
    let Call::CompleteUpload(mut conditional) = complete_call("k", 1, &[(1, 0)], "e-1") else {
        unreachable!()
    };
    conditional.conditions.if_absent = true;
    let outcome = world.run(request(3, Call::CompleteUpload(conditional)));
    assert_eq!(refused(&outcome), Some(ErrorCode::PreconditionFailed));
    assert_eq!(world.uploads[&id(1)].row.state, UploadState::Open);
    assert!(matches!(
        world.run(request(3, complete_call("k", 1, &[(1, 0)], "e-1"))),
        Outcome::Committed { .. }
    ));
}

#[test]
fn a_part_that_comes_after_the_end_is_refused_and_queued() {
    for end in [abort_call("k", 1), complete_call("k", 1, &[(1, 0)], "e-1")] {
        let mut world = World::default();
        create(&mut world, 1, "k");
        put_part(&mut world, 2, "k", 1, 1, 10);
        let begun = begin_part(&mut world, 3, "k", 1, 2, 20);
        world.run(request(4, end));
        let late = commit_part(&mut world, 3, "k", 1, 20, &begun);
        assert_eq!(refused(&late), Some(ErrorCode::NoSuchUpload));
        assert_eq!(commit_part(&mut world, 3, "k", 1, 20, &begun), late, "a repeat");
        assert!(world.cleanup.iter().any(|entry| entry.size == 20));
        assert!(world.intents.is_empty());
        let begun = begin_part(&mut world, 5, "k", 1, 3, 30);
        assert_eq!(refused(&begun), Some(ErrorCode::NoSuchUpload));
    }
}

#[test]
fn an_abort_queues_every_part_once() {
    let mut world = World::default();
    create(&mut world, 1, "k");
    put_part(&mut world, 2, "k", 1, 1, 10);
    put_part(&mut world, 3, "k", 1, 2, 20);
    assert_eq!(world.run(request(4, abort_call("k", 1))), Outcome::UploadAborted);
    assert_eq!(world.run(request(4, abort_call("k", 1))), Outcome::UploadAborted);
    assert_eq!(refused(&world.run(request(5, abort_call("k", 1)))), Some(ErrorCode::NoSuchUpload));
    assert_eq!(world.cleanup.len(), 2);
}

#[test]
fn no_attempt_at_a_part_is_given_out_twice() {
    let mut world = World::default();
    create(&mut world, 1, "k");
    let keys = [2, 3, 4].map(|n| {
        let Outcome::Begun { targets, .. } = begin_part(&mut world, n, "k", 1, 1, 10) else { panic!() };
        // Also when what was begun is given up.
        let Outcome::Begun { version, .. } = begin_part(&mut world, n, "k", 1, 1, 10) else { panic!() };
        let mut intent = carried("k", 10, version, targets.clone());
        intent.upload = Some(id(1));
        world.run(request(n, Call::Abort(Abort { intent, targets: vec![] })));
        targets[0].storage_key.clone()
    });
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2], "{keys:?}");
}

#[test]
fn the_reaper_never_promotes_a_part() {
    let mut world = World::default();
    create(&mut world, 1, "k");
    begin_part(&mut world, 2, "k", 1, 1, 10);
    let intent = claimed(&mut world, 2);
    let outcome = world.run(request(2, resolve_call(intent, true)));
    assert_eq!(outcome, Outcome::Resolved(Resolution::Dropped));
    assert!(world.objects.is_empty() && world.cleanup.len() == 1);
}

#[test]
fn a_lost_part_that_is_stored_is_not_queued() {
    let mut world = World::default();
    create(&mut world, 1, "k");
    put_part(&mut world, 2, "k", 1, 1, 10);
    let (version, part) =
        (world.uploads[&id(1)].row.version, world.uploads[&id(1)].parts[&number(1)].clone());
    let target =
        Target::new((part.copies[0].backend, s3o_types::Place::FIRST), "bucket", "k", part.blob(version));
    let mut intent = carried("k", 10, version, vec![target]);
    intent.upload = Some(id(1));
    world.run(request(99, Call::Abort(Abort { intent, targets: vec![] })));
    assert!(world.cleanup.is_empty());
}

#[test]
fn a_version_of_many_extents_is_queued_as_one() {
    let mut world = World::default();
    create(&mut world, 1, "k");
    let parts: Vec<(u16, u16)> = (1..=17).map(|n| (n, 0)).collect();
    for (n, _) in &parts {
        put_part(&mut world, u128::from(*n) + 100, "k", 1, *n, 3);
    }
    world.run(request(2, complete_call("k", 1, &parts, "e-17")));
    world.put(3, "k", 1);
    assert_eq!((world.versions.len(), world.versions[0].size, world.cleanup.len()), (1, 51, 0));
    assert_eq!(world.copies.len(), 18, "readers that hold the version still find its pieces");
}

#[derive(Debug, Clone)]
enum Step {
    Create {
        upload: u8,
        key: u8,
    },
    Begin {
        write: u8,
        upload: u8,
        part: u8,
        size: u64,
    },
    Commit {
        write: u8,
        copies: usize,
    },
    Abort {
        write: u8,
    },
    Reap {
        write: u8,
    },
    Complete {
        op: u8,
        upload: u8,
        parts: Vec<u8>,
    },
    AbortUpload {
        op: u8,
        upload: u8,
    },
    Retarget {
        write: u8,
    },
    /// An object of more extents than are queued one by one.
    Many {
        upload: u8,
        key: u8,
    },
    Put {
        write: u8,
        key: u8,
    },
    Delete {
        op: u8,
        key: u8,
    },
}

fn steps() -> impl Strategy<Value = Step> {
    let (upload, key, part) = (0..3_u8, 0..2_u8, 1..4_u8);
    prop_oneof![
        2 => (upload.clone(), key.clone()).prop_map(|(upload, key)| Step::Create { upload, key }),
        6 => (0..20_u8, upload.clone(), part.clone(), 1..50_u64)
            .prop_map(|(write, upload, part, size)| Step::Begin { write, upload, part, size }),
        6 => (0..20_u8, 0..3_usize).prop_map(|(write, copies)| Step::Commit { write, copies }),
        2 => (0..20_u8).prop_map(|write| Step::Abort { write }),
        2 => (0..20_u8).prop_map(|write| Step::Reap { write }),
        3 => (0..6_u8, upload.clone(), prop::collection::btree_set(part, 1..4))
            .prop_map(|(op, upload, parts)| Step::Complete { op, upload, parts: parts.into_iter().collect() }),
        1 => (0..4_u8, upload.clone()).prop_map(|(op, upload)| Step::AbortUpload { op, upload }),
        2 => (0..20_u8).prop_map(|write| Step::Retarget { write }),
        1 => (upload, key.clone()).prop_map(|(upload, key)| Step::Many { upload, key }),
        1 => (0..20_u8, key.clone()).prop_map(|(write, key)| Step::Put { write, key }),
        1 => (0..4_u8, key).prop_map(|(op, key)| Step::Delete { op, key }),
    ]
}

/// What a client remembers of its writes.
type Known = std::collections::HashMap<u128, crate::call::CarriedIntent>;

fn take(world: &mut World, known: &mut Known, step: Step) {
    // Operations of different kinds never share an id, but repeats do.
    let key_of = |world: &World, upload: u128| world.uploads.get(&id(upload)).map(|u| u.row.key.clone());
    match step {
        Step::Create { upload, key } => {
            create(world, 1000 + u128::from(upload), &format!("k{key}"));
        }
        Step::Begin { write, upload, part, size } => {
            let (n, upload) = (2000 + u128::from(write), 1000 + u128::from(upload));
            let key = key_of(world, upload).unwrap_or_else(|| "k0".to_owned());
            let outcome = begin_part(world, n, &key, upload, part.into(), size);
            // A repeat, whatever it says now, gets what the first one got, or what became of it since.
            if let (Some(first), Outcome::Begun { version, targets, .. }) = (known.get(&n), &outcome) {
                assert_eq!(first.version, *version);
                assert!(first.targets.iter().all(|target| targets.contains(target)));
                return;
            }
            if let Outcome::Begun { version, targets, .. } = outcome {
                let mut intent = carried(&key, size, version, targets);
                intent.upload = Some(id(upload));
                known.insert(n, intent);
            }
        }
        Step::Commit { write, copies } => {
            let n = 2000 + u128::from(write);
            if let Some(intent) = known.get(&n) {
                world.run(request(n, commit_call(intent.clone(), copies)));
            }
        }
        Step::Abort { write } => {
            let n = 2000 + u128::from(write);
            if let Some(intent) = known.get(&n) {
                world.run(request(n, Call::Abort(Abort { intent: intent.clone(), targets: vec![] })));
            }
        }
        Step::Reap { write } => {
            let n = 2000 + u128::from(write);
            if world.intents.contains_key(&op(n)) {
                let intent = claimed(world, n);
                world.run(request(n, resolve_call(intent, write % 2 == 0)));
            }
        }
        Step::Complete { op, upload, parts } => {
            let upload = 1000 + u128::from(upload);
            let key = key_of(world, upload).unwrap_or_else(|| "k0".to_owned());
            let stored = world.uploads.get(&id(upload)).map(|u| u.parts.clone()).unwrap_or_default();
            let attempt = |n: u8| stored.get(&number(n.into())).map_or(0, |part| part.r#gen.get());
            let picked: Vec<(u16, u16)> = parts.iter().map(|n| (u16::from(*n), attempt(*n))).collect();
            world.run(request(3000 + u128::from(op), complete_call(&key, upload, &picked, "e")));
        }
        Step::AbortUpload { op, upload } => {
            let upload = 1000 + u128::from(upload);
            let key = key_of(world, upload).unwrap_or_else(|| "k0".to_owned());
            world.run(request(4000 + u128::from(op), abort_call(&key, upload)));
        }
        Step::Retarget { write } => {
            let n = 2000 + u128::from(write);
            if let Some(intent) = known.get(&n).cloned() {
                let failed = intent.targets[0].backend;
                let retarget = Retarget { intent: intent.clone(), failed, down: vec![] };
                if let Outcome::Retargeted(target) = world.run(request(n, Call::Retarget(retarget))) {
                    let first = &intent.targets[0];
                    assert_eq!((target.extent, target.r#gen), (first.extent, first.r#gen), "the same piece");
                    known.entry(n).and_modify(|intent| intent.targets.push(target));
                }
            }
        }
        Step::Many { upload, key } => {
            let (id, key) = (7000 + u128::from(upload), format!("k{key}"));
            if create(world, id, &key) != Outcome::UploadCreated || key_of(world, id).as_ref() != Some(&key) {
                return;
            }
            let parts: Vec<(u16, u16)> = (1..=17).map(|part| (part, 0)).collect();
            for (part, _) in &parts {
                let begun = begin_part(world, 8000 + 100 * id + u128::from(*part), &key, id, *part, 1);
                if matches!(begun, Outcome::Begun { .. }) {
                    commit_part(world, 8000 + 100 * id + u128::from(*part), &key, id, 1, &begun);
                }
            }
            world.run(request(9000 + u128::from(upload), complete_call(&key, id, &parts, "e-17")));
        }
        Step::Put { write, key } => {
            let n = 5000 + u128::from(write);
            if let Outcome::Begun { version, targets, .. } =
                world.begin(n, &format!("k{key}"), 5, Conditions::default())
            {
                world.run(request(n, commit_call(carried(&format!("k{key}"), 5, version, targets), 1)));
            }
        }
        Step::Delete { op, key } => {
            world.run(request(6000 + u128::from(op), super::world::delete_call(&format!("k{key}"))));
        }
    }
}

proptest! {
    /// Every step audits the model: no byte is unaccounted for, no outcome is given twice.
    #[test]
    fn any_history_of_uploads_keeps_the_books(steps in prop::collection::vec(steps(), 1..80)) {
        let mut world = World { quota: Some(400), ..World::default() };
        let mut known = Known::new();
        for step in steps {
            take(&mut world, &mut known, step);
        }
    }
}
