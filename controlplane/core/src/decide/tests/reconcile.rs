//! Blobs that reconcile found: copies of live versions, orphans, imports; never an object made of one of our own.

use s3o_types::{
    BackendId, BlobName, Checksums, Encoding, ErrorCode, Etag, Extent, Gen, ObjectAttributes, StorageKey,
    Timestamp, VersionId, Versioning,
};

use super::world::{BUCKET, World, delete_call, refused, request};
use crate::call::{BlobFate, Call, ChangeCopy, CopyChange, ExtentOf, Import, Outcome, SettleBlob};
use crate::cleanup::Reason;
use crate::object::{CopyRow, CopyState};
use crate::outcome_log::Logged;
use crate::usage::Usage;

fn settle(key: &str, version: VersionId, backend: i32, attempt: Gen, size: u64) -> SettleBlob {
    let of = ExtentOf { bucket: BUCKET, key: key.into(), version, extent: Extent::ZERO };
    let blob = BlobName { version, extent: Extent::ZERO, r#gen: attempt };
    SettleBlob {
        of,
        r#gen: attempt,
        backend: BackendId(backend),
        storage_key: StorageKey::format("bucket", key, blob),
        stored_size: size,
        backend_etag: None,
        backend_version: None,
        encoding: Some(Encoding::default()),
    }
}

fn attempt(n: u16) -> Gen {
    Gen::of_worker(n).expect("fits")
}

/// A world with `k` of 10 bytes, and the one copy of it.
fn with_k() -> (World, CopyRow) {
    let mut world = World::default();
    world.put(1, "k", 10);
    let copy = world.copies[0].clone();
    (world, copy)
}

fn elsewhere(copy: &CopyRow) -> i32 {
    if copy.backend == BackendId(1) { 2 } else { 1 }
}

fn run(world: &mut World, n: u128, blob: SettleBlob) -> Outcome {
    world.run(request(n, Call::SettleBlob(Box::new(blob))))
}

fn fate(outcome: &Outcome) -> Option<BlobFate> {
    match outcome {
        Outcome::BlobSettled(fate) => Some(*fate),
        _ => None,
    }
}

#[test]
fn a_blob_of_a_live_version_becomes_an_uncertain_copy() {
    let (mut world, copy) = with_k();
    let other = elsewhere(&copy);
    let checksums = Checksums { values: [("crc32c".to_owned(), "AAAAAA==".to_owned())].into() };
    world.copies[0].checksums = checksums.clone();
    let blob = settle("k", copy.blob.version, other, attempt(0), 10);
    assert_eq!(fate(&run(&mut world, 2, blob.clone())), Some(BlobFate::Attached));
    let attached = world.copies.iter().find(|copy| copy.backend == BackendId(other)).expect("a copy");
    assert_eq!((attached.state, attached.stored_size), (CopyState::Uncertain, 10));
    assert_eq!(attached.checksums, checksums, "as those of the others");
    assert_eq!(world.usage[&BackendId(other)], Usage { used: 10, objects: 1, ..Usage::default() });
    // A repeat changes nothing, and neither does another run.
    assert_eq!(fate(&run(&mut world, 2, blob.clone())), Some(BlobFate::Attached));
    assert_eq!(fate(&run(&mut world, 3, blob)), Some(BlobFate::Kept));
    assert_eq!(world.copies.len(), 2);
    assert_eq!(world.objects["k"].version, copy.blob.version, "the object is what it was");
}

#[test]
fn what_cannot_be_a_copy_is_queued() {
    let (mut world, copy) = with_k();
    let other = elsewhere(&copy);
    let wrong_size = settle("k", copy.blob.version, other, attempt(0), 9);
    let second = settle("k", copy.blob.version, copy.backend.0, attempt(1), 10);
    let gone = settle("k", VersionId::mint(77, 77), other, attempt(0), 8);
    let unreadable = SettleBlob { encoding: None, ..settle("k", copy.blob.version, other, attempt(2), 10) };
    for (n, blob) in (2..).zip([wrong_size, second, gone, unreadable]) {
        let size = blob.stored_size;
        assert_eq!(fate(&run(&mut world, n, blob)), Some(BlobFate::Queued), "{n}");
        let entry = world.cleanup.last().expect("queued");
        assert_eq!((entry.reason, entry.size, entry.uncertain), (Reason::Orphaned, size, false));
    }
    assert_eq!(world.usage[&BackendId(other)].orphaned, 9 + 8 + 10);
    assert_eq!(world.copies, [copy]);
    assert_eq!(world.objects.len(), 1, "no object is made of a blob of ours");
}

#[test]
fn what_something_names_is_kept() {
    // An intent.
    let mut world = World::default();
    let begun = world.begin(1, "k", 10, s3o_types::Conditions::default());
    let Outcome::Begun { version, targets, .. } = begun else { panic!("not begun") };
    let blob = settle("k", version, targets[0].backend.0, targets[0].r#gen, 10);
    assert_eq!(fate(&run(&mut world, 2, blob)), Some(BlobFate::Kept));
    // A queued deletion.
    let (mut world, copy) = with_k();
    world.run(request(3, delete_call("k")));
    let blob = settle("k", copy.blob.version, copy.backend.0, copy.blob.r#gen, 10);
    assert_eq!(fate(&run(&mut world, 4, blob)), Some(BlobFate::Kept));
    assert_eq!(world.cleanup.len(), 1);
    // The copy itself.
    let (mut world, copy) = with_k();
    let blob = settle("k", copy.blob.version, copy.backend.0, copy.blob.r#gen, 10);
    assert_eq!(fate(&run(&mut world, 5, blob)), Some(BlobFate::Kept));
    assert!(world.changes.iter().all(|change| change.logged == Logged::Committed));
}

/// Whichever of the others knows what it is.
#[test]
fn an_attached_copy_has_what_any_other_knows_of_its_part() {
    let (mut world, first) = with_k();
    let other = elsewhere(&first);
    run(&mut world, 2, settle("k", first.blob.version, other, attempt(0), 10));
    let piece = Some(crate::object::Piece { offset: 0, size: 10 });
    let checksums = Checksums { values: [("crc32c".to_owned(), "AAAAAA==".to_owned())].into() };
    let digest = Some(s3o_types::Digest::Crc64Nvme([7; 8]));
    let [one, two] = [0, 1].map(|row: usize| world.copies[row].clone());
    world.copies[0] = CopyRow { piece, md5: Some([3; 16]), digest: None, ..one };
    world.copies[1] = CopyRow { piece, checksums: checksums.clone(), digest, ..two };
    let third = 1 + 2 + 3 - first.backend.0 - other;
    let blob = settle("k", first.blob.version, third, attempt(0), 10);
    assert_eq!(fate(&run(&mut world, 3, blob)), Some(BlobFate::Attached));
    let attached = world.copies.iter().find(|copy| copy.backend == BackendId(third)).expect("a copy");
    assert_eq!((attached.piece, attached.md5, attached.digest), (piece, Some([3; 16]), digest));
    assert_eq!(attached.checksums, checksums);
}

/// Marked as missing, with another copy there; then it is found again.
#[test]
fn a_missing_copy_that_is_there_again_is_read_before_it_counts() {
    let (mut world, copy) = with_k();
    let other = elsewhere(&copy);
    let second = settle("k", copy.blob.version, other, attempt(0), 10);
    run(&mut world, 2, second);
    for row in &mut world.copies {
        row.state = CopyState::Verified;
    }
    let of = ExtentOf { bucket: BUCKET, key: "k".into(), version: copy.blob.version, extent: Extent::ZERO };
    let change = CopyChange::Mark(CopyState::Missing);
    let mark = ChangeCopy { of, backend: copy.backend, r#gen: copy.blob.r#gen, change };
    assert_eq!(world.run(request(3, Call::ChangeCopy(mark))), Outcome::CopyChanged);
    let used = world.usage.clone();
    let short = settle("k", copy.blob.version, copy.backend.0, copy.blob.r#gen, 9);
    assert_eq!(fate(&run(&mut world, 4, short)), Some(BlobFate::Kept));
    let back = settle("k", copy.blob.version, copy.backend.0, copy.blob.r#gen, 10);
    assert_eq!(fate(&run(&mut world, 5, back)), Some(BlobFate::Attached));
    let row = world.copies.iter().find(|row| row.backend == copy.backend).expect("a row");
    assert_eq!(row.state, CopyState::Uncertain);
    assert_eq!(world.usage, used, "its bytes were counted all the while");
}

/// A missing copy's row gives way to another attempt that is found there.
#[test]
fn a_useless_row_is_replaced() {
    let (mut world, copy) = with_k();
    run(&mut world, 2, settle("k", copy.blob.version, elsewhere(&copy), attempt(0), 10));
    world.copies[0].state = CopyState::Missing;
    world.copies[1].state = CopyState::Verified;
    let blob = settle("k", copy.blob.version, copy.backend.0, attempt(4), 10);
    assert_eq!(fate(&run(&mut world, 3, blob)), Some(BlobFate::Attached));
    assert_eq!(world.copies.len(), 2);
    assert_eq!((world.copies[1].state, world.copies[1].blob.r#gen), (CopyState::Uncertain, attempt(4)));
    assert_eq!(world.cleanup[0].reason, Reason::Repaired);
    let usage = world.usage[&copy.backend];
    assert_eq!((usage.used, usage.orphaned, usage.objects), (10, 10, 1));
}

#[test]
fn the_grammar_decides_the_key() {
    let (mut world, copy) = with_k();
    let blob = settle("k", copy.blob.version, elsewhere(&copy), attempt(0), 10);
    let foreign = SettleBlob { storage_key: "holiday.jpg".into(), ..blob };
    assert_eq!(refused(&run(&mut world, 2, foreign)), Some(ErrorCode::InvalidArgument));
}

fn import(key: &str, foreign_key: &str) -> Import {
    Import {
        bucket: BUCKET,
        key: key.into(),
        backend: BackendId(2),
        foreign_key: foreign_key.into(),
        size: 7,
        etag: Etag::new("e"),
        backend_etag: Etag::new("b"),
        backend_version: None,
        modified: Timestamp(5),
        attributes: ObjectAttributes::default(),
    }
}

fn run_import(world: &mut World, n: u128, import: Import) -> Outcome {
    world.run(request(n, Call::Import(Box::new(import))))
}

#[test]
fn a_foreign_key_becomes_an_object_once() {
    let mut world = World::default();
    let first = run_import(&mut world, 1, import("cat.jpg", "cat.jpg"));
    assert!(matches!(first, Outcome::Committed { .. }), "{first:?}");
    assert_eq!(run_import(&mut world, 1, import("cat.jpg", "cat.jpg")), first, "a repeat");
    let row = &world.objects["cat.jpg"];
    assert_eq!((row.size, row.modified, row.etag.as_str()), (7, Timestamp(5), "e"));
    assert_eq!(world.copies[0].backend_etag, Some(Etag::new("b")));
    let copy = &world.copies[0];
    assert_eq!((copy.state, copy.storage_key("bucket").as_str()), (CopyState::Uncertain, "cat.jpg"));
    assert_eq!(world.usage[&BackendId(2)], Usage { used: 7, objects: 1, ..Usage::default() });
    // Neither under its own key again nor under another.
    for (n, key) in [(2, "cat.jpg"), (3, "dog.jpg")] {
        let again = run_import(&mut world, n, import(key, "cat.jpg"));
        assert_eq!(refused(&again), Some(ErrorCode::PreconditionFailed), "{key}");
    }
}

#[test]
fn deleting_an_imported_object_deletes_the_foreign_blob_and_until_then_it_is_not_imported_again() {
    let mut world = World::default();
    run_import(&mut world, 1, import("cat.jpg", "cat.jpg"));
    world.run(request(2, delete_call("cat.jpg")));
    assert_eq!(world.cleanup[0].storage_key, "cat.jpg");
    let again = run_import(&mut world, 3, import("cat.jpg", "cat.jpg"));
    assert_eq!(refused(&again), Some(ErrorCode::PreconditionFailed));
    world.cleanup.clear();
    world.usage.entry(BackendId(2)).or_default().orphaned = 0;
    assert!(matches!(run_import(&mut world, 4, import("cat.jpg", "cat.jpg")), Outcome::Committed { .. }));
    // An overwrite takes it away too.
    world.put(5, "cat.jpg", 3);
    assert_eq!(
        (world.cleanup[0].storage_key.as_str(), world.cleanup[0].reason),
        ("cat.jpg", Reason::Displaced)
    );
}

#[test]
fn an_import_yields_to_what_the_key_has() {
    let mut world = World::default();
    world.put(1, "cat.jpg", 10);
    let taken = run_import(&mut world, 2, import("cat.jpg", "cat.jpg"));
    assert_eq!(refused(&taken), Some(ErrorCode::PreconditionFailed));
    // A marker says that a client removed what was there.
    let mut world = World { versioning: Versioning::Enabled, ..World::default() };
    world.run(request(3, delete_call("cat.jpg")));
    let hidden = run_import(&mut world, 4, import("cat.jpg", "cat.jpg"));
    assert_eq!(refused(&hidden), Some(ErrorCode::PreconditionFailed));
    assert!(matches!(run_import(&mut world, 5, import("dog.jpg", "dog.jpg")), Outcome::Committed { .. }));
}

#[test]
fn our_own_keys_are_never_imported() {
    let mut world = World::default();
    let own = StorageKey::format("bucket", "k", BlobName::first(VersionId::mint(1, 1)));
    for key in [own.as_str(), ".s3o/backend", ".s3o/journal/1"] {
        let refusal = run_import(&mut world, 1, import("k", key));
        assert_eq!(refused(&refusal), Some(ErrorCode::InvalidArgument), "{key}");
    }
    assert!(world.objects.is_empty());
}
