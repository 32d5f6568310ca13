//! A database that is made again, or brought up to date: what ends it, what is read of the journal, and what the report says.

use std::time::Duration;

use http::HeaderMap;
use s3o_blob::journal::{JournalName, JournalPart, JournalWriter};
use s3o_core::journal::StoredFile;
use s3o_core::ports::Recovering as _;
use s3o_core::restore::{RestoreReport, UnnamedBlob};
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::{BackendId, BlobName, StorageKey, VersionId};
use s3o_workers::RestoreDeps;
use uuid::Uuid;

use crate::fakes::{Fixture, mark, spec};
use crate::worker_journal::{change, two};

/// What a file says of the database: its cluster's two backends, and the lowest version that may still be committed.
fn header(open: u64) -> String {
    let backend = |id: i32| serde_json::json!({"id": id, "name": format!("b{id}"), "state": "active"});
    let open = VersionId::mint(open, 0).to_uuid().to_string();
    serde_json::json!({"cluster": Uuid::nil().to_string(), "open": open, "backends": [backend(1), backend(2)]})
        .to_string()
}

/// The same, and these buckets.
fn header_with(buckets: serde_json::Value) -> String {
    let mut header: serde_json::Value = serde_json::from_str(&header(5)).unwrap();
    header["buckets"] = buckets;
    header.to_string()
}

fn record_in(bucket: i64) -> String {
    serde_json::json!({"k": "gone", "b": bucket}).to_string()
}

fn name(number: u64, part: JournalPart) -> String {
    JournalName { number, part, tag: 1 }.to_string()
}

fn segment(number: u64) -> String {
    name(number, JournalPart::Segment)
}

fn file(header: &str, records: &[String]) -> Vec<u8> {
    let mut file = JournalWriter::new(header).unwrap();
    for record in records {
        file.push(record).unwrap();
    }
    file.finish().unwrap()
}

/// Changes as records.
fn records(numbers: &[i64]) -> Vec<String> {
    numbers.iter().map(|n| change(*n).1).collect()
}

/// A segment of one record, `number * 10`, on each of these.
fn ship(servers: &[&FaultyBackend], number: u64, open: u64) {
    let record = i64::try_from(number).unwrap() * 10;
    for server in servers {
        server.plant(&segment(number), file(&header(open), &records(&[record])));
    }
}

/// Two backends, and a database that would ship segment 1 next.
async fn recovering() -> (FaultyBackend, FaultyBackend, Fixture) {
    let (one, two, fixture) = two().await;
    let mut held = fixture.journal.lock();
    held.recovery = Some("a test".to_owned());
    held.released = 0;
    drop(held);
    (one, two, fixture)
}

async fn recover(fixture: &Fixture) -> Result<RestoreReport, String> {
    fixture.workers.recover(Vec::new()).await
}

async fn rebuild(
    fixture: &Fixture,
    servers: &[&FaultyBackend],
    without: &[&str],
) -> Result<RestoreReport, String> {
    let deps = RestoreDeps {
        restore: fixture.journal.clone(),
        reconciliation: fixture.ports.clone(),
        recovery: fixture.journal.clone(),
    };
    // Their ids are what their markers say.
    let specs = servers.iter().enumerate().map(|(n, server)| {
        let mut spec = spec(server, 0);
        spec.name = format!("b{}", n + 1);
        spec
    });
    let without: Vec<String> = without.iter().map(|name| (*name).to_owned()).collect();
    deps.rebuild(specs.collect(), &["photos".to_owned(), "music".to_owned()], &without).await
}

/// It ended with this error, before anything was applied, and the mode is on still.
fn is_unchanged(fixture: &Fixture, result: Result<RestoreReport, String>, why: &str) {
    let error = result.expect_err(why);
    assert!(error.contains(why), "{error}");
    let held = fixture.journal.lock();
    let applied: Vec<_> =
        held.restored.calls.iter().filter(|call| !["begin", "own"].contains(call)).collect();
    assert!(applied.is_empty(), "{why}: {applied:?}");
    assert!(held.restored.ended.is_none(), "{why}");
    assert!(held.recovery.is_some(), "{why}");
    drop(held);
    assert!(fixture.state().reconcile.asked.is_empty(), "{why}");
}

#[tokio::test]
async fn the_journal_is_merged_behind_the_databases_own_changes() {
    let (one, two, fixture) = recovering().await;
    ship(&[&one], 1, 5);
    ship(&[&two], 2, 6);
    let blob = StorageKey::format("photos", "k", BlobName::first(VersionId::mint(1, 1)));
    one.plant(&blob, "12345");
    fixture.journal.lock().changes = vec![change(1), change(2)];
    let report = recover(&fixture).await.expect("merged");
    assert_eq!((report.files, report.records, report.blobs), (2, 2, 1));
    assert_eq!((report.missing.len(), report.unreadable.len(), report.snapshot), (0, 0, None));
    let held = fixture.journal.lock();
    assert_eq!(held.restored.records, records(&[10, 20]), "segment by segment");
    assert_eq!(held.restored.lost, [(0, 2)], "none of them is of the database's own history");
    assert_eq!(held.restored.found, [(BackendId(1), blob)], "what is ours alone is no blob");
    assert_eq!(
        held.restored.calls,
        ["begin", "own", "buckets", "own", "keys", "own", "keys", "buckets end", "end"]
    );
    let (open, files) = held.restored.ended.as_ref().expect("its end");
    assert_eq!((*open, held.restored.from), (VersionId::mint(6, 0), Some(VersionId::mint(6, 0))));
    let stored: Vec<_> = files.iter().map(|file| (file.backend, file.storage_key.clone())).collect();
    assert_eq!(stored, [(BackendId(1), segment(1)), (BackendId(2), segment(2))]);
    assert_eq!((held.recovery.as_deref(), held.released), (None, 1), "the mode is off, the journal free");
    drop(held);
    let state = fixture.state();
    let asked: Vec<_> = state.reconcile.asked.iter().map(|ask| ask.backend).collect();
    assert_eq!(asked, [BackendId(1), BackendId(2)], "each is compared with the tables");
}

#[tokio::test]
async fn a_backend_that_does_not_answer_ends_it() {
    // Before anything is staged, and after it: what is not listed would count as lost.
    for passed in [0, 1] {
        let (one, two, fixture) = recovering().await;
        ship(&[&one, &two], 1, 5);
        two.inject(Rule::new(Fault::Status(500)).on(Operation::List).after(passed));
        is_unchanged(&fixture, recover(&fixture).await, "listing b2");
        assert_eq!(fixture.journal.lock().released, 1, "the journal is free");
    }
    let (one, two, fixture) = recovering().await;
    ship(&[&one, &two], 1, 5);
    two.kill().await;
    is_unchanged(&fixture, recover(&fixture).await, "b2: its marker");
    two.restart().await.unwrap();
    recover(&fixture).await.expect("it answers again");
    assert!(fixture.journal.lock().recovery.is_none());
}

#[tokio::test]
async fn what_shows_another_marker_is_not_believed() {
    let (one, two, fixture) = recovering().await;
    ship(&[&one, &two], 1, 5);
    two.plant(".s3o/backend", format!("{{\"cluster_id\":\"{}\",\"backend_id\":2}}", Uuid::from_u128(1)));
    is_unchanged(&fixture, recover(&fixture).await, "b2 shows a marker that is not its own");
    // Another one of ours: two entries for one bucket.
    mark(&two, 1);
    is_unchanged(&fixture, recover(&fixture).await, "b2 shows a marker that is not its own");
}

#[tokio::test]
async fn a_gap_between_segments_is_told() {
    let (one, two, fixture) = recovering().await;
    ship(&[&one, &two], 1, 5);
    ship(&[&one, &two], 4, 9);
    let report = recover(&fixture).await.expect("what there is");
    assert_eq!(report.missing, [2, 3]);
    assert!(report.lines().iter().any(|line| line == "missing: segment 3 of the journal"));
    let held = fixture.journal.lock();
    assert_eq!(held.restored.records, records(&[10, 40]), "what came after it is taken all the same");
    let open = held.restored.ended.as_ref().map(|(open, _)| *open);
    assert_eq!(open, Some(VersionId::mint(5, 0)), "nobody knows what was written in the gap");
}

#[tokio::test]
async fn a_rotten_file_is_read_from_the_other_backend() {
    let (one, two, fixture) = recovering().await;
    for number in 1..=3 {
        ship(&[&one, &two], number, number);
    }
    assert!(one.corrupt(&segment(2)) && two.corrupt(&segment(3)));
    let report = recover(&fixture).await.expect("one of each is whole");
    assert_eq!((report.files, report.unreadable.len()), (3, 0));
    assert_eq!(fixture.journal.lock().restored.records, records(&[10, 20, 30]));
}

#[tokio::test]
async fn a_file_that_is_rotten_everywhere_is_told() {
    let (one, two, fixture) = recovering().await;
    for number in 1..=3 {
        ship(&[&one, &two], number, number);
    }
    assert!(one.corrupt(&segment(2)) && two.corrupt(&segment(2)));
    let report = recover(&fixture).await.expect("the others");
    assert_eq!((report.files, report.unreadable.len()), (2, 1));
    assert!(report.unreadable[0].contains(&segment(2)), "{:?}", report.unreadable);
    let held = fixture.journal.lock();
    assert_eq!(held.restored.records, records(&[10, 30]));
    let open = held.restored.ended.as_ref().map(|(open, _)| *open);
    assert_eq!(open, Some(VersionId::mint(1, 0)), "it is a gap");
}

/// As after a merge of a history that had given a number to another bucket: its files are the database's own from then on.
#[tokio::test]
async fn a_record_is_of_the_bucket_that_its_own_file_means() {
    let (one, two, fixture) = recovering().await;
    let bucket = |id: i64, name: &str| serde_json::json!({"id": id, "name": name, "created": name});
    let merged = header_with(vec![bucket(5, "merged")].into());
    let newest = header_with(vec![bucket(5, "other"), bucket(6, "merged")].into());
    one.plant(&segment(1), file(&merged, &[record_in(5)]));
    two.plant(&segment(2), file(&newest, &[record_in(5)]));
    fixture.journal.lock().restored.buckets =
        header_with(vec![bucket(5, "other"), bucket(7, "merged")].into());
    recover(&fixture).await.expect("both are of the lost history");
    assert_eq!(fixture.journal.lock().restored.records, [record_in(6), record_in(5)]);

    {
        let mut held = fixture.journal.lock();
        held.restored.records.clear();
        held.recovery = Some("a test".to_owned());
        let own = StoredFile { backend: BackendId(1), storage_key: segment(1), number: 1, bytes: 1 };
        held.noted = vec![own];
    }
    recover(&fixture).await.expect("the first one is the database's own");
    assert_eq!(fixture.journal.lock().restored.records, [record_in(7), record_in(5)]);
}

/// A process died between its PUT and its step, and the next one did the same anew, when there was a bucket more.
#[tokio::test]
async fn of_two_files_of_one_number_the_later_one_says_what_there_is() {
    for later in [1, 2] {
        let (one, two, fixture) = two().await;
        for tag in [1, 2] {
            let mut header: serde_json::Value = serde_json::from_str(&header(5)).unwrap();
            header["change_seq"] = serde_json::json!(if tag == later { 9 } else { 7 });
            let name = JournalName { number: 1, part: JournalPart::Segment, tag }.to_string();
            one.plant(&name, file(&header.to_string(), &[]));
        }
        rebuild(&fixture, &[&one, &two], &[]).await.expect("both are read");
        let held = fixture.journal.lock();
        let (said, _) = held.restored.identity.as_ref().expect("its identity");
        let said: serde_json::Value = serde_json::from_str(said).unwrap();
        assert_eq!(said["change_seq"], 9, "{later}");
    }
}

/// A bucket of the lost time was made again before it was recovered: under another number, and nobody has its first one. Then the
/// database is lost once more, or restored to the same point.
#[tokio::test]
async fn a_number_that_nobody_has_any_more_is_found_by_its_bucket() {
    let (one, two, fixture) = recovering().await;
    let bucket = |id: i64, name: &str| serde_json::json!({"id": id, "name": name, "created": id.to_string(), "owner": "A"});
    let lost = header_with(vec![bucket(1, "photos"), bucket(5, "logs")].into());
    let newest = header_with(vec![bucket(1, "photos"), bucket(10_005, "logs")].into());
    one.plant(&segment(1), file(&lost, &[record_in(1), record_in(5)]));
    two.plant(&segment(2), file(&newest, &[record_in(10_005)]));
    let all = [record_in(1), record_in(10_005), record_in(10_005)];
    fixture.journal.lock().restored.buckets = header_with(vec![bucket(1, "photos"), bucket(5, "x")].into());
    recover(&fixture).await.expect("restored once more");
    assert_eq!(fixture.journal.lock().restored.records, all, "whoever has the number in the database");
    fixture.journal.lock().restored.records.clear();
    rebuild(&fixture, &[&one, &two], &[]).await.expect("lost once more");
    assert_eq!(fixture.journal.lock().restored.records, all);
}

#[tokio::test]
async fn blobs_that_no_record_names_are_asked_what_they_are() {
    let (one, two, fixture) = recovering().await;
    ship(&[&one, &two], 1, 5);
    let blob = |sequence: u64, key: &str, is_piece: bool| {
        let version = VersionId::mint(sequence, 1);
        let storage_key = StorageKey::format("photos", key, BlobName::first(version));
        UnnamedBlob { backend: BackendId(1), storage_key, version, size: 5, etag: None, is_piece }
    };
    let all = [blob(6, "said", false), blob(7, "mute", false), blob(8, "part", true), blob(9, "gone", false)];
    let description = s3o_blob::SelfDescription::plain(5);
    let attributes = s3o_types::ObjectAttributes::default();
    let mut headers = HeaderMap::new();
    for (name, value) in s3o_blob::to_blob_headers("photos", "said", &attributes, &description).unwrap() {
        headers.append(name, value);
    }
    one.plant_with(&all[0].storage_key, "12345", &headers);
    one.plant(&all[1].storage_key, "12345");
    one.plant_with(&all[2].storage_key, "12345", &headers);
    fixture.journal.lock().restored.unnamed = all.to_vec();
    let report = recover(&fixture).await.expect("merged");
    assert_eq!((report.revived, report.unknown_versions), (1, 3));
    for (blob, told) in all[1..].iter().zip(&report.unknown) {
        assert!(told.starts_with(&format!("{}: ", blob.storage_key)), "{told}");
        assert!(report.lines().contains(&format!("unknown: {told}")), "{told}");
    }
    assert!(report.unknown[1].contains("a part of an upload"), "{:?}", report.unknown);
    let held = fixture.journal.lock();
    let [revived] = held.restored.revived.as_slice() else { panic!("{:?}", held.restored.revived) };
    assert_eq!((revived.bucket_name.as_str(), revived.key.as_str()), ("photos", "said"));
    assert_eq!((revived.version, revived.size), (all[0].version, 5));
    assert_eq!(revived.etag.as_str(), "827ccb0eea8a706c4c34a16891f84e7b", "the MD5 of its bytes");
    drop(held);
    for blob in &all[..3] {
        assert!(one.keys().contains(&blob.storage_key), "nothing is deleted");
    }
}

#[tokio::test]
async fn a_lost_backend_is_given_up_by_name() {
    let (one, two, fixture) = two().await;
    ship(&[&one, &two], 1, 5);
    let error = rebuild(&fixture, &[&one], &[]).await.expect_err("b2 is lost");
    assert!(error.contains("say `--without b2`"), "{error}");
    assert_eq!(fixture.journal.lock().restored.calls, Vec::<&str>::new());
    let error = rebuild(&fixture, &[&one], &["b3"]).await.expect_err("another one is given up");
    assert!(error.contains("say `--without b2`"), "{error}");
    let report = rebuild(&fixture, &[&one], &["b2"]).await.expect("it is given up");
    assert_eq!((report.files, report.records), (1, 1));
    let held = fixture.journal.lock();
    let (said, known) = held.restored.identity.as_ref().expect("its identity");
    assert_eq!(*said, header(5));
    assert_eq!(known.iter().map(|known| known.id).collect::<Vec<_>>(), [BackendId(1)]);
    assert!(held.recovery.as_ref().is_some_and(|why| why.contains("rebuilt")), "nothing is deleted yet");
}

#[tokio::test]
async fn another_clusters_backends_or_journal_make_no_database() {
    let (one, two, fixture) = two().await;
    ship(&[&one, &two], 1, 5);
    two.plant(".s3o/backend", format!("{{\"cluster_id\":\"{}\",\"backend_id\":2}}", Uuid::from_u128(1)));
    let error = rebuild(&fixture, &[&one, &two], &[]).await.expect_err("two clusters");
    assert!(error.contains("b2 belongs to cluster"), "{error}");
    mark(&two, 1);
    let error = rebuild(&fixture, &[&one, &two], &[]).await.expect_err("one bucket twice");
    assert!(error.contains("b2 is the same bucket as another backend"), "{error}");
    mark(&two, 2);
    let theirs =
        serde_json::json!({"cluster": Uuid::from_u128(1).to_string(), "open": Uuid::nil().to_string()});
    one.plant(&segment(2), file(&theirs.to_string(), &[]));
    let error = rebuild(&fixture, &[&one, &two], &[]).await.expect_err("their journal");
    assert!(error.contains("the journal is not of cluster"), "{error}");
    let held = fixture.journal.lock();
    assert_eq!(held.restored.calls, Vec::<&str>::new());
    assert_eq!(held.recovery, None);
}

#[tokio::test]
async fn a_snapshot_is_the_base_when_it_has_all_its_pieces() {
    let (one, two, fixture) = two().await;
    ship(&[&one, &two], 2, 2);
    ship(&[&one, &two], 4, 4);
    let snapshot = |number: u64, pieces: &[u32]| {
        let names: Vec<String> =
            pieces.iter().map(|piece| name(number, JournalPart::Snapshot(*piece))).collect();
        one.plant(&name(number, JournalPart::SnapshotEnd), file(&header(number), &names));
        names
    };
    // Of the newer one a piece is on neither backend.
    let older = snapshot(3, &[0, 1]);
    let newer = snapshot(4, &[0, 1]);
    for (piece, record) in older.iter().zip([300, 301]) {
        two.plant(piece, file(&header(3), &records(&[record])));
    }
    two.plant(&newer[0], file(&header(4), &records(&[400])));
    let report = rebuild(&fixture, &[&one, &two], &[]).await.expect("from the older one");
    assert_eq!((report.snapshot, report.missing), (Some(3), vec![3]));
    let held = fixture.journal.lock();
    assert_eq!(held.restored.records, records(&[300, 301, 20, 40]));
}

#[tokio::test]
async fn without_a_journal_it_goes_by_blobs_alone() {
    let (one, two, fixture) = two().await;
    let blob = StorageKey::format("photos", "k", BlobName::first(VersionId::mint(1, 1)));
    two.plant(&blob, "12345");
    let report = rebuild(&fixture, &[&one, &two], &[]).await.expect("what there is");
    assert_eq!((report.files, report.snapshot, report.blobs), (0, None, 1));
    assert!(report.lines().iter().any(|line| line.ends_with("no snapshot")), "{:?}", report.lines());
    let held = fixture.journal.lock();
    let (said, known) = held.restored.identity.as_ref().expect("its identity");
    let said: serde_json::Value = serde_json::from_str(said).unwrap();
    assert_eq!(said["cluster"], Uuid::nil().to_string());
    let buckets = said["buckets"].as_array().expect("those that are declared");
    let names: Vec<_> = buckets.iter().filter_map(|bucket| bucket["name"].as_str()).collect();
    assert_eq!((names, known.len()), (vec!["photos", "music"], 2));
    let nothing = VersionId::from_uuid(Uuid::nil());
    assert_eq!(held.restored.from, Some(nothing), "every blob may be an object");
}

#[tokio::test]
async fn a_journal_that_nobody_can_read_is_not_taken_for_none() {
    let (one, two, fixture) = two().await;
    ship(&[&one, &two], 1, 5);
    assert!(one.corrupt(&segment(1)) && two.corrupt(&segment(1)));
    let error = rebuild(&fixture, &[&one, &two], &[]).await.expect_err("its newest file is rotten");
    assert!(error.contains("newest file cannot be read on any backend"), "{error}");
    assert_eq!(fixture.journal.lock().restored.calls, Vec::<&str>::new());
}

#[tokio::test]
async fn while_another_process_has_the_journal_nothing_is_merged() {
    let (one, two, fixture) = recovering().await;
    ship(&[&one, &two], 1, 5);
    fixture.journal.lock().is_elsewhere = true;
    is_unchanged(&fixture, recover(&fixture).await, "another process has the journal");
    assert_eq!(fixture.journal.lock().restored.calls, Vec::<&str>::new());
    fixture.journal.lock().is_elsewhere = false;
    recover(&fixture).await.expect("it is free");
}

#[tokio::test]
async fn where_the_mode_is_off_nothing_is_recovered() {
    let (one, two, fixture) = two().await;
    ship(&[&one, &two], 1, 5);
    let error = recover(&fixture).await.expect_err("there is nothing to end");
    assert!(error.contains("the recovery mode is not on"), "{error}");
    assert_eq!(fixture.journal.lock().restored.calls, Vec::<&str>::new());
    assert!(fixture.state().reconcile.asked.is_empty());
}

#[tokio::test]
async fn it_is_recovered_once_at_a_time() {
    let (one, two, fixture) = recovering().await;
    ship(&[&one, &two], 1, 5);
    let lists = one.count(Operation::List);
    one.inject(Rule::new(Fault::Latency(Duration::from_secs(1))).on(Operation::List));
    let (first, second) = tokio::join!(recover(&fixture), async {
        while one.count(Operation::List) == lists {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        recover(&fixture).await
    });
    first.expect("the first one");
    let error = second.expect_err("the other one");
    assert!(error.contains("recovered already"), "{error}");
    let held = fixture.journal.lock();
    assert_eq!(held.restored.calls.iter().filter(|call| **call == "end").count(), 1);
}

/// Finding: the pieces of a snapshot are looked for, not read, before it is taken as the base.
#[tokio::test]
async fn a_snapshot_with_a_rotten_piece_is_no_base_where_an_older_one_is_whole() {
    let (one, two, fixture) = two().await;
    ship(&[&one, &two], 4, 4);
    for number in [3, 4] {
        let piece = name(number, JournalPart::Snapshot(0));
        let record = i64::try_from(number).unwrap() * 100;
        one.plant(&piece, file(&header(number), &records(&[record])));
        one.plant(&name(number, JournalPart::SnapshotEnd), file(&header(number), &[piece]));
    }
    assert!(one.corrupt(&name(4, JournalPart::Snapshot(0))));
    let report = rebuild(&fixture, &[&one, &two], &[]).await.expect("from the older one");
    assert_eq!(report.snapshot, Some(3));
    assert_eq!(fixture.journal.lock().restored.records, records(&[300, 40]));
}

/// Finding: the mark is held back only behind a file that was read.
#[tokio::test]
async fn where_the_first_file_is_rotten_nobody_knows_what_was_open() {
    let (one, two, fixture) = recovering().await;
    ship(&[&one, &two], 1, 5);
    ship(&[&one, &two], 2, 9);
    assert!(one.corrupt(&segment(1)) && two.corrupt(&segment(1)));
    recover(&fixture).await.expect("the other one");
    let held = fixture.journal.lock();
    assert!(held.restored.from.is_some_and(|from| from <= VersionId::mint(5, 0)), "{:?}", held.restored.from);
}

/// What it has is neither asked for nor listed, and the mode ends.
#[tokio::test]
async fn what_is_given_up_by_name_is_not_asked() {
    let (one, two, fixture) = recovering().await;
    ship(&[&one, &two], 1, 5);
    two.kill().await;
    let without = |name: &str| fixture.workers.recover(vec![name.to_owned()]);
    is_unchanged(&fixture, without("b3").await, "there is no backend `b3` to do without");
    is_unchanged(&fixture, without("b1").await, "b2: its marker");
    let report = without("b2").await.expect("the other one is there");
    assert_eq!(report.files, 1);
    assert!(fixture.journal.lock().recovery.is_none());
    let asked: Vec<_> = fixture.state().reconcile.asked.iter().map(|ask| ask.backend).collect();
    assert_eq!(asked, [BackendId(1)], "nor compared");
}
