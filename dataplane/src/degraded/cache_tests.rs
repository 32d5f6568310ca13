//! What is remembered, and in which order it may be replaced.

use s3o_types::{BackendId, Checksums, Encoding, ObjectAttributes, Timestamp, VersionId};

use super::*;
use crate::control::{LocatedCopy, LocatedExtent};

const BUCKET: BucketId = BucketId(1);

fn located(seq: i64) -> Located {
    let copy = LocatedCopy {
        backend: BackendId(1),
        storage_key: "data/k~".to_owned(),
        backend_etag: String::new(),
        encoding: Encoding::default(),
        uncertain: false,
        foreign_key: false,
    };
    Located {
        version: VersionId::mint(seq.unsigned_abs(), 0),
        seq,
        size: 10,
        etag: "e".to_owned(),
        modified: Timestamp(seq),
        attributes: ObjectAttributes::default(),
        checksums: Checksums::default(),
        extents: vec![LocatedExtent {
            offset: 0,
            size: 10,
            copies: vec![copy],
            digest: None,
            md5: None,
            checksums: Checksums::default(),
        }],
        parts: None,
        version_id: None,
    }
}

fn locations() -> Locations {
    Locations::new(1 << 20, Duration::from_secs(60))
}

/// The number of the version that is remembered, 0 for "changed", -1 for nothing.
fn seq(locations: &Locations, key: &str) -> i64 {
    match locations.find(BUCKET, key, Instant::now()) {
        Remembered::Fresh(located) => located.seq,
        Remembered::Changed => 0,
        _ => -1,
    }
}

#[test]
fn an_answer_from_before_a_write_does_not_replace_it() {
    let locations = locations();
    let (slow, sent) = (locations.ticket(), locations.ticket());
    locations.committed(BUCKET, "k", sent, located(5));
    locations.located(BUCKET, "k", slow, &Arc::new(located(4)));
    assert_eq!(seq(&locations, "k"), 5);
    // Nor the word that there is nothing.
    locations.absent(BUCKET, "k", slow);
    assert_eq!(seq(&locations, "k"), 5);
    locations.absent(BUCKET, "k", locations.ticket());
    assert_eq!(seq(&locations, "k"), 0);
    locations.located(BUCKET, "k", locations.ticket(), &Arc::new(located(6)));
    assert_eq!(seq(&locations, "k"), 6);
}

#[test]
fn a_delete_stays_until_something_later_is_known() {
    let locations = locations();
    let slow = locations.ticket();
    locations.changed(BUCKET, "k");
    locations.located(BUCKET, "k", slow, &Arc::new(located(4)));
    assert_eq!(seq(&locations, "k"), 0);
    // A write that was under way beside it: which was last is not known.
    locations.committed(BUCKET, "k", slow, located(5));
    assert_eq!(seq(&locations, "k"), 0);
    locations.committed(BUCKET, "k", locations.ticket(), located(7));
    assert_eq!(seq(&locations, "k"), 7);
}

#[test]
fn of_two_writes_the_later_is_remembered_whichever_is_told_last() {
    let locations = locations();
    let (a, b) = (locations.ticket(), locations.ticket());
    locations.committed(BUCKET, "k", a, located(6));
    locations.committed(BUCKET, "k", b, located(5));
    assert_eq!(seq(&locations, "k"), 6);
    locations.located(BUCKET, "k", locations.ticket(), &Arc::new(located(5)));
    assert_eq!(seq(&locations, "k"), 6, "a standby's answer, if there were such");
}

#[test]
fn a_head_does_not_take_the_extents_away() {
    let locations = locations();
    locations.located(BUCKET, "k", locations.ticket(), &Arc::new(located(5)));
    let mut bare = Located { extents: Vec::new(), ..located(5) };
    bare.attributes.tags.insert("t".to_owned(), "v".to_owned());
    locations.located(BUCKET, "k", locations.ticket(), &Arc::new(bare));
    let Remembered::Fresh(known) = locations.find(BUCKET, "k", Instant::now()) else { panic!("forgotten") };
    assert!(known.has(0, 10) && known.attributes.tags.contains_key("t"));
    // Another version's extents are not this one's.
    let bare = Located { extents: Vec::new(), ..located(6) };
    locations.located(BUCKET, "k", locations.ticket(), &Arc::new(bare));
    let Remembered::Fresh(known) = locations.find(BUCKET, "k", Instant::now()) else { panic!("forgotten") };
    assert!(!known.has(0, 10));
}

#[test]
fn what_is_old_is_said_to_be_and_buckets_are_apart() {
    let locations = locations();
    locations.located(BUCKET, "k", locations.ticket(), &Arc::new(located(5)));
    let later = Instant::now() + Duration::from_secs(61);
    assert!(matches!(locations.find(BUCKET, "k", later), Remembered::Stale(_)));
    assert!(matches!(locations.find(BucketId(2), "k", later), Remembered::Nothing));
    locations.changed(BUCKET, "k");
    assert!(matches!(locations.find(BUCKET, "k", later), Remembered::Changed));
}

#[test]
fn it_is_bounded_and_what_was_forgotten_does_not_come_back_older() {
    let locations = Locations::new(64 << 10, Duration::from_secs(60));
    let slow = locations.ticket();
    let keys: Vec<String> = (0..1000).map(|n| format!("k{n}")).collect();
    for key in &keys {
        locations.committed(BUCKET, key, locations.ticket(), located(5));
    }
    let bytes: usize = locations.shards.iter().map(|shard| shard.lock().unwrap().bytes).sum();
    assert!(bytes <= 64 << 10, "{bytes}");
    assert!(seq(&locations, "k999") == 5 && seq(&locations, "k0") == -1);
    locations.located(BUCKET, "k0", slow, &Arc::new(located(4)));
    assert_eq!(seq(&locations, "k0"), -1);
    locations.located(BUCKET, "k0", locations.ticket(), &Arc::new(located(6)));
    assert_eq!(seq(&locations, "k0"), 6);
    let none = Locations::new(0, Duration::from_secs(60));
    none.committed(BUCKET, "k", none.ticket(), located(5));
    assert_eq!(seq(&none, "k"), -1);
}
