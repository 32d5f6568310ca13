//! `reconciler`, importing: what others wrote becomes objects, with what the backend tells of it.

use http::HeaderMap;
use s3o_core::reconcile::{CandidateKind, Run, RunKind, RunState};
use s3o_testkit::s3server::Operation;
use s3o_types::BucketId;

use crate::reconcile::run;
use crate::worker_reconciler::{marked, run_it, stored, system};

fn import(prefix: &str) -> Run {
    run(RunKind::Import { bucket: BucketId(1), prefix: prefix.to_owned() })
}

#[tokio::test]
async fn foreign_keys_are_imported_with_what_they_say() {
    let server = marked().await;
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "image/jpeg".parse().unwrap());
    headers.insert("x-amz-meta-who", "me".parse().unwrap());
    server.plant_with("album/cat.jpg", "12345", &headers);
    for key in ["photos/dog.jpg", "docs/theirs.txt", "known", "taken"] {
        server.plant(key, "123");
    }
    stored(&server, 1, "ours");
    let fixture = system(&server, vec![]).await;
    let kinds = [("known", CandidateKind::Known), ("taken", CandidateKind::KeyTaken)];
    fixture.state().reconcile.candidates.extend(kinds.map(|(key, kind)| (key.to_owned(), kind)));
    let mut dry = import("");
    dry.ask.dry_run = true;
    let before = server.count(Operation::Head);
    let ended = run_it(&fixture, dry).await;
    assert_eq!((ended.tally.imported, ended.tally.skipped), (2, 3));
    assert!(fixture.state().reconcile.imported.is_empty() && server.count(Operation::Head) == before);
    let ended = run_it(&fixture, import("")).await;
    assert_eq!((ended.state, ended.tally.imported, ended.tally.skipped), (RunState::Done, 2, 3));
    let imported = fixture.state().reconcile.imported.clone();
    let keys: Vec<_> = imported.iter().map(|one| (one.foreign_key.as_str(), one.key.as_str())).collect();
    assert_eq!(keys, [("album/cat.jpg", "album/cat.jpg"), ("photos/dog.jpg", "dog.jpg")]);
    let cat = &imported[0];
    assert_eq!((cat.size, cat.bucket.0), (5, 1));
    assert_eq!(cat.etag.as_str(), "827ccb0eea8a706c4c34a16891f84e7b");
    assert_eq!(cat.attributes.headers.content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(cat.attributes.metadata["who"], "me");
    assert!(cat.modified.0 > 0);
    let by_prefix = run_it(&fixture, import("album/")).await;
    assert_eq!((by_prefix.tally.listed, by_prefix.tally.imported), (1, 1));
    fixture.end().await;
}

#[tokio::test]
async fn nothing_is_imported_without_our_marker() {
    let server = marked().await;
    server.plant("cat.jpg", "12345");
    let fixture = system(&server, vec![]).await;
    server.remove(".s3o/backend");
    let ended = run_it(&fixture, import("")).await;
    assert_eq!((ended.state, ended.tally.imported), (RunState::Failed, 0));
    assert!(fixture.state().reconcile.imported.is_empty());
    fixture.end().await;
}
