//! Multipart uploads on a real database: what a crash forgets, pages, extents by range, versions of many extents.

use crate::journal::rebuilt_of;
use crate::restore_buckets::shipped;
use crate::support::{World, begun, op};
use s3o_core::call::{AbortUpload, Begin, Call, CompleteUpload, CreateUpload, Outcome, PartOf, Refusal};
use s3o_core::cleanup::Claim;
use s3o_core::intent::WriteKind;
use s3o_core::object::{EXTENT_ROWS, Locate, Located, Want};
use s3o_core::ports::{Ledger, Queues, Reconciliation, Uploads};
use s3o_core::restore::FoundKey;
use s3o_core::upload::{PartsQuery, UploadChecksum, UploadState, UploadsQuery};
use s3o_types::{
    BlobName, Checksums, Conditions, CopiedPiece, ErrorCode, Etag, Extent, Gen, ObjectAttributes, Op,
    StorageKey, UploadId, VersionId,
};
use uuid::Uuid;

fn number(n: u16) -> Extent {
    Extent::new(n).unwrap()
}

pub(crate) struct Uploading<'a> {
    world: &'a World,
    pub(crate) id: UploadId,
    key: &'static str,
}

impl<'a> Uploading<'a> {
    pub(crate) async fn open(world: &'a World, key: &'static str) -> Self {
        let op = op();
        let mut attributes = ObjectAttributes::default();
        attributes.headers.content_type = Some("text/plain".to_owned());
        attributes.tags.insert("a".to_owned(), "b".to_owned());
        let checksum = Some(UploadChecksum { algorithm: "crc32".to_owned(), kind: "COMPOSITE".to_owned() });
        let create = CreateUpload { bucket: world.bucket, key: key.to_owned(), attributes, checksum };
        for _ in 0..2 {
            let outcome = world.store.submit(world.request(op, Call::CreateUpload(create.clone()))).await;
            assert_eq!(outcome, Outcome::UploadCreated);
        }
        Self { world, id: UploadId(op.id), key }
    }

    async fn begin(&self, op: Op, part: u16, size: u64) -> Outcome {
        let begin = Begin {
            bucket: self.world.bucket,
            key: self.key.to_owned(),
            size,
            conditions: Conditions::default(),
            kind: WriteKind::Part,
            part: Some(PartOf { upload: self.id, number: number(part) }),
            down: vec![],
            prefer: vec![],
            lock: s3o_types::ObjectLock::default(),
        };
        self.world.store.submit(self.world.request(op, Call::Begin(begin))).await
    }

    pub(crate) async fn put(&self, part: u16, size: u64) -> Outcome {
        self.copy(part, size, vec![]).await
    }

    /// As put, of other objects.
    async fn copy(&self, part: u16, size: u64, copied: Vec<CopiedPiece>) -> Outcome {
        let op = op();
        let begun = begun(self.begin(op, part, size).await);
        let mut request = self.world.commit(op, self.key, size, &begun);
        let Call::Commit(commit) = &mut request.call else { unreachable!() };
        commit.intent.upload = Some(self.id);
        commit.copied = copied;
        self.world.store.submit(request).await
    }

    fn complete_call(&self, parts: &[(u16, u16)]) -> Call {
        Call::CompleteUpload(Box::new(CompleteUpload {
            bucket: self.world.bucket,
            key: self.key.to_owned(),
            upload: self.id,
            conditions: Conditions::default(),
            etag: Etag::new("e-2"),
            checksums: Checksums { values: [("crc32".to_owned(), "x-2".to_owned())].into() },
            parts: parts.iter().map(|(n, attempt)| (number(*n), Gen::new(*attempt).unwrap())).collect(),
        }))
    }

    pub(crate) async fn complete(&self, parts: &[(u16, u16)]) -> Outcome {
        self.world.store.submit(self.world.request(op(), self.complete_call(parts))).await
    }

    async fn abort(&self) -> Outcome {
        let abort = AbortUpload {
            bucket: self.world.bucket,
            key: self.key.to_owned(),
            upload: self.id,
            stale: false,
        };
        self.world.store.submit(self.world.request(op(), Call::AbortUpload(abort))).await
    }

    async fn locate(&self, want: Want) -> Option<Located> {
        let query = Locate { bucket: self.world.bucket, key: self.key.to_owned(), version: None, want };
        self.world.store.locate(query).await.unwrap().found()
    }

    fn parts_query(&self, after: u16, max_parts: u16) -> PartsQuery {
        PartsQuery { bucket: self.world.bucket, key: self.key.to_owned(), upload: self.id, after, max_parts }
    }
}

fn code(outcome: &Outcome) -> ErrorCode {
    let Outcome::Refused(Refusal { code, .. }) = outcome else { panic!("{outcome:?}") };
    *code
}

fn extents(located: &Located) -> Vec<(u16, u64, u64)> {
    located.extents.iter().map(|e| (e.extent.get(), e.offset, e.size)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_become_an_object_that_is_read_by_range_and_by_part() {
    let world = World::new(&[None, None]).await;
    let upload = Uploading::open(&world, "k").await;
    for (part, size) in [(3, 30), (1, 10), (7, 70), (1, 11)] {
        assert!(matches!(upload.put(part, size).await, Outcome::Committed { .. }));
    }
    world.audit().await;
    let page = world.store.parts(upload.parts_query(0, 2)).await.unwrap().unwrap();
    let seen: Vec<_> =
        page.parts.iter().map(|part| (part.number.get(), part.r#gen.get(), part.size)).collect();
    assert_eq!((seen.as_slice(), page.truncated), ([(1, 1, 11), (3, 0, 30)].as_slice(), true));
    let rest = world.store.parts(upload.parts_query(3, 2)).await.unwrap().unwrap();
    assert_eq!((rest.parts.len(), rest.truncated, rest.upload.state), (1, false, UploadState::Open));
    assert!(upload.locate(Want::All).await.is_none(), "nothing is seen of parts");

    assert_eq!(code(&upload.complete(&[(1, 0), (3, 0)]).await), ErrorCode::InvalidPart);
    let done = upload.complete(&[(1, 1), (3, 0), (7, 0)]).await;
    assert!(matches!(done, Outcome::Committed { .. }), "{done:?}");
    assert_eq!(upload.complete(&[(1, 1), (3, 0), (7, 0)]).await, done, "a repeat by another operation");
    world.audit().await;

    let all = upload.locate(Want::All).await.unwrap();
    assert_eq!(extents(&all), [(1, 0, 11), (3, 11, 30), (7, 41, 70)]);
    assert_eq!((all.object.size, all.object.parts), (111, Some(3)));
    assert_eq!(all.object.attributes.tags["a"], "b");
    assert_eq!(all.object.checksums.values["crc32"], "x-2");
    for (want, found) in [
        (Want::Range(0, 1), vec![(1, 0, 11)]),
        (Want::Range(10, 12), vec![(1, 0, 11), (3, 11, 30)]),
        (Want::Range(11, 41), vec![(3, 11, 30)]),
        (Want::Range(40, 1000), vec![(3, 11, 30), (7, 41, 70)]),
        (Want::Range(0, 0), vec![]),
        (Want::Part(number(1)), vec![(1, 0, 11)]),
        (Want::Part(number(3)), vec![(7, 41, 70)]),
        (Want::Part(number(4)), vec![]),
        (Want::Of(all.object.version, 50, 60), vec![(7, 41, 70)]),
    ] {
        assert_eq!(extents(&upload.locate(want).await.unwrap()), found, "{want:?}");
    }
    let closed = world.store.parts(upload.parts_query(0, 10)).await.unwrap().unwrap();
    assert_eq!((closed.upload.state, closed.parts.len()), (UploadState::Completed, 0));
    assert_eq!(closed.upload.completed.unwrap().etag, Etag::new("e-2"));
    world.put("k", 5).await;
    world.audit().await;
    assert!(upload.locate(Want::Of(all.object.version, 0, 9)).await.is_none(), "few extents go at once");
    world.make_everything_due().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_frees_what_parts_held_and_later_parts_find_it_closed() {
    let world = World::new(&[Some(100)]).await;
    let upload = Uploading::open(&world, "k").await;
    upload.put(1, 60).await;
    assert_eq!(code(&upload.begin(op(), 2, 60).await), ErrorCode::InsufficientStorage, "parts are reserved");
    let late = op();
    let begun_late = begun(upload.begin(late, 2, 20).await);
    assert_eq!(upload.abort().await, Outcome::UploadAborted);
    let mut request = world.commit(late, "k", 20, &begun_late);
    let Call::Commit(commit) = &mut request.call else { unreachable!() };
    commit.intent.upload = Some(upload.id);
    for _ in 0..2 {
        assert_eq!(code(&world.store.submit(request.clone()).await), ErrorCode::NoSuchUpload);
    }
    assert_eq!(code(&upload.abort().await), ErrorCode::NoSuchUpload);
    world.audit().await;
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue").await, 2);
    assert_eq!(world.count("SELECT count(*) FROM intents").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_at_one_part_by_two_replicas_never_share_a_storage_key() {
    let world = World::new(&[None]).await;
    let upload = Uploading::open(&world, "k").await;
    let other = world.another_store().await;
    let beside = World::on(world.url.clone(), &[None]).await;
    drop(other);
    let beside = Uploading { world: &beside, id: upload.id, key: "k" };
    let begins = (0..20).flat_map(|_| [&upload, &beside]).map(|one| async move {
        let (_, targets) = begun(one.begin(op(), 1, 1).await);
        targets[0].storage_key.clone()
    });
    let mut keys = futures::future::join_all(begins).await;
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 40);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_of_many_extents_goes_in_pieces_and_is_read_until_then() {
    let world = World::new(&[None, None]).await;
    let upload = Uploading::open(&world, "big").await;
    let parts: Vec<(u16, u16)> = (1..=700).map(|n| (n, 0)).collect();
    for chunk in parts.chunks(50) {
        futures::future::join_all(chunk.iter().map(|(n, _)| upload.put(*n, 2))).await;
    }
    assert!(matches!(upload.complete(&parts).await, Outcome::Committed { .. }));
    world.audit().await;
    let first = upload.locate(Want::All).await.unwrap();
    assert_eq!(
        first.extents.len(),
        EXTENT_ROWS - 1,
        "as many as one answer holds, the last of which may be cut"
    );
    let version = first.object.version;
    let rest = upload.locate(Want::Of(version, 650 * 2, 1400)).await.unwrap();
    assert_eq!((rest.extents.first().map(|e| e.offset), rest.extents.len()), (Some(650 * 2), 50));

    assert_eq!(
        world.store.submit(world.delete(op(), "big")).await,
        Outcome::Deleted { existed: true, version: None, delete_marker: false }
    );
    world.audit().await;
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue").await, 1);
    assert_eq!(upload.locate(Want::Of(version, 0, 4)).await.unwrap().extents.len(), 2);
    // Readers of the old version and of the new one, in one batch: each gets its own.
    world.put("big", 5000).await;
    let readers =
        (0..40).map(|n| upload.locate(if n % 2 == 0 { Want::Of(version, 2, 4) } else { Want::All }));
    for (n, found) in futures::future::join_all(readers).await.into_iter().enumerate() {
        let expected = if n % 2 == 0 { vec![(2, 2, 2)] } else { vec![(0, 0, 5000)] };
        assert_eq!(extents(&found.unwrap()), expected, "{n}");
    }
    let claim = Claim { owner: Uuid::new_v4(), lasts_us: 60_000_000, limit: 1000, due_for_us: 0 };
    assert!(world.store.claim_cleanup(claim).await.unwrap().is_empty(), "its readers' grace is not over");
    world.make_everything_due().await;
    let mut claimed = Vec::new();
    for _ in 0..3 {
        claimed.extend(world.store.claim_cleanup(claim).await.unwrap());
        world.audit().await;
    }
    assert_eq!(claimed.len(), 700);
    assert_eq!(world.count("SELECT count(*) FROM copies").await, 1, "the new object's");
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE kind = 'version'").await, 0);
    let expected = s3o_types::StorageKey::format("bucket", "big", claimed[0].entry.blob);
    assert!(claimed[0].entry.storage_key.ends_with(&expected["bucket".len()..]), "{:?}", claimed[0]);
}

/// Sixteen parts, and as many copies of each as there are backends.
async fn copied_everywhere(world: &World) -> Located {
    let upload = Uploading::open(world, "k").await;
    let parts: Vec<(u16, u16)> = (1..=16).map(|n| (n, 0)).collect();
    for (n, _) in &parts {
        upload.put(*n, 2).await;
    }
    upload.complete(&parts).await;
    let more = "
        INSERT INTO copies
        SELECT (jsonb_populate_record(c, jsonb_build_object('backend', b.id))).* FROM copies c, backends b
        WHERE b.id <> c.backend";
    world.sql.batch_execute(more).await.unwrap();
    world.store.audit(true).await.unwrap();
    let found = upload.locate(Want::All).await.unwrap();
    world.put("k", 5).await;
    world.audit().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_extents_with_their_copies_are_one_answer() {
    let world = World::new(&[None; 4]).await;
    let found = copied_everywhere(&world).await;
    assert_eq!((found.extents.len(), found.extents[15].copies.len()), (16, 4), "nothing is left to ask for");
    assert_eq!(world.count("SELECT count(*) FROM copies").await, 1, "they go at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_extents_with_more_copies_than_an_answer_holds_are_read_until_they_go() {
    let world = World::new(&[None; 16]).await;
    let Located { object, extents, .. } = copied_everywhere(&world).await;
    assert_eq!(extents.len(), 15, "the last one may be cut");
    let query = Locate {
        bucket: world.bucket,
        key: "k".to_owned(),
        version: None,
        want: Want::Of(object.version, 30, 32),
    };
    let rest = world.store.locate(query).await.unwrap().found().unwrap();
    assert_eq!((rest.extents.len(), rest.extents[0].copies.len()), (1, 16), "its readers find it");
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE kind = 'version'").await, 1);
    world.make_everything_due().await;
    let claim = Claim { owner: Uuid::new_v4(), lasts_us: 60_000_000, limit: 1000, due_for_us: 0 };
    assert_eq!(world.store.claim_cleanup(claim).await.unwrap().len(), 256);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_uploads_are_listed_by_key_and_found_when_they_are_old() {
    let world = World::new(&[None]).await;
    let mut open = Vec::new();
    for key in ["b/2", "a", "b/1", "b/1", "c"] {
        open.push(Uploading::open(&world, key).await);
    }
    open[4].abort().await;
    let query = |prefix: &str, key_after: &str, upload_after| UploadsQuery {
        bucket: world.bucket,
        prefix: prefix.to_owned(),
        key_after: key_after.to_owned(),
        upload_after,
        max_uploads: 2,
    };
    let keys = |page: &s3o_core::upload::UploadsPage| -> Vec<String> {
        page.uploads.iter().map(|upload| upload.key.clone()).collect()
    };
    let first = world.store.uploads(query("", "", None)).await.unwrap();
    assert_eq!((keys(&first), first.truncated), (vec!["a".to_owned(), "b/1".to_owned()], true));
    let next = world.store.uploads(query("", "b/1", Some(first.uploads[1].id))).await.unwrap();
    assert_eq!((keys(&next), next.truncated), (vec!["b/1".to_owned(), "b/2".to_owned()], false));
    let under = world.store.uploads(query("b/", "b/1", None)).await.unwrap();
    assert_eq!(keys(&under), ["b/2"]);

    assert!(world.store.stale_uploads(3_600_000_000, 10).await.unwrap().is_empty());
    assert_eq!(world.store.stale_uploads(0, 10).await.unwrap().len(), 4);
    assert_eq!(world.store.prune_uploads().await.unwrap()["pruned"], 0);
    world.count("WITH old AS (UPDATE uploads SET closed = now() - interval '25 hours' WHERE state = 'aborted' RETURNING 1) SELECT count(*) FROM old").await;
    assert_eq!(world.store.prune_uploads().await.unwrap()["pruned"], 1);
}

/// What an older release does to the row of an object that came in parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_count_of_another_version_does_not_count() {
    let world = World::new(&[None]).await;
    let upload = Uploading::open(&world, "k").await;
    upload.put(1, 10).await;
    upload.complete(&[(1, 0)]).await;
    world.put("k", 7).await;
    let stale = "UPDATE objects SET parts = 20, parts_of = gen_random_uuid() WHERE key = 'k'";
    world.sql.batch_execute(stale).await.unwrap();
    let found = upload.locate(Want::All).await.unwrap();
    assert_eq!((extents(&found), found.object.parts), (vec![(0, 0, 7)], None));
    assert_eq!(
        world.store.submit(world.delete(op(), "k")).await,
        Outcome::Deleted { existed: true, version: None, delete_marker: false }
    );
    world.audit().await;
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE kind = 'version'").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_cannot_be_read_holds_up_nobody() {
    let world = World::new(&[None]).await;
    let upload = Uploading::open(&world, "k").await;
    let parts: Vec<(u16, u16)> = (1..=17).map(|n| (n, 0)).collect();
    for (n, _) in &parts {
        upload.put(*n, 2).await;
    }
    upload.complete(&parts).await;
    world.store.submit(world.delete(op(), "k")).await;
    world.put("other", 3).await;
    world.store.submit(world.delete(op(), "other")).await;
    world.sql.batch_execute("UPDATE copies SET encoding = '[1]' WHERE extent = 3").await.unwrap();
    world.make_everything_due().await;
    let claim = Claim { owner: Uuid::new_v4(), lasts_us: 60_000_000, limit: 1000, due_for_us: 0 };
    assert_eq!(world.store.claim_cleanup(claim).await.unwrap().len(), 1, "the other object's blob");
    assert_eq!(world.count("SELECT count(*) FROM copies").await, 17);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quota_pressure_reaches_versions_of_many_extents() {
    let world = World::new(&[Some(100)]).await;
    let upload = Uploading::open(&world, "k").await;
    let parts: Vec<(u16, u16)> = (1..=17).map(|n| (n, 0)).collect();
    for (n, _) in &parts {
        upload.put(*n, 5).await;
    }
    upload.complete(&parts).await;
    world.store.submit(world.delete(op(), "k")).await;
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE not_before <= now()").await, 0);
    let full = world.store.submit(world.begin(op(), "new", 50)).await;
    assert_eq!(code(&full), ErrorCode::InsufficientStorage);
    crate::support::eventually("pulled forward", || async {
        world.count("SELECT count(*) FROM cleanup_queue WHERE kind = 'version' AND not_before <= now()").await
            == 1
    })
    .await;
    let claim = Claim { owner: Uuid::new_v4(), lasts_us: 60_000_000, limit: 1000, due_for_us: 0 };
    assert_eq!(world.store.claim_cleanup(claim).await.unwrap().len(), 17);
    world.audit().await;
}

const CHECKSUMS: &str = "
    SELECT concat_ws(' ', extent, extent_offset, checksums) AS row FROM copies ORDER BY extent";

/// What a part was copied from is known until the upload ends, or another part takes its number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_say_what_they_were_copied_from() {
    let world = World::new(&[None]).await;
    let upload = Uploading::open(&world, "k").await;
    let piece = |first| CopiedPiece {
        version: VersionId::mint(7, 8),
        extent_offset: 5,
        extent_size: u64::from(u32::MAX) + 10,
        extent_digest: "AAAAAAAAAAA=".to_owned(),
        first,
        size: 10,
        digest: "AAAAAAAAAAE=".to_owned(),
        bucket: world.bucket,
        key: "a\u{1}ö".to_owned(),
    };
    upload.copy(1, 20, vec![piece(5), piece(15)]).await;
    upload.put(2, 10).await;
    upload.copy(3, 10, vec![piece(25)]).await;
    let copied = async || {
        let page = world.store.parts(upload.parts_query(0, 10)).await.unwrap().unwrap();
        page.parts.into_iter().map(|part| part.copied).collect::<Vec<_>>()
    };
    assert_eq!(copied().await, [vec![piece(5), piece(15)], vec![], vec![piece(25)]]);
    upload.put(1, 20).await;
    upload.copy(2, 10, vec![piece(35)]).await;
    assert_eq!(copied().await, [vec![], vec![piece(35)], vec![piece(25)]]);
    // As an older release stores another attempt.
    world.sql.batch_execute("UPDATE upload_parts SET gen = 1 WHERE part = 3").await.unwrap();
    assert_eq!(copied().await, [vec![], vec![piece(35)], vec![]]);
    world.sql.batch_execute("UPDATE upload_parts SET gen = 0 WHERE part = 3").await.unwrap();
    let done = upload.complete(&[(1, 1), (2, 1), (3, 0)]).await;
    assert!(matches!(done, Outcome::Committed { .. }), "{done:?}");
}

/// What the client was told of its parts stands with them, and comes back with a database that is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_keep_their_checksums() {
    let world = World::new(&[None]).await;
    let upload = Uploading::open(&world, "k").await;
    for (part, size) in [(1, 10), (3, 30), (4, 0)] {
        upload.put(part, size).await;
    }
    upload.complete(&[(1, 0), (3, 0), (4, 0)]).await;
    world.put("whole", 5).await;
    let all = upload.locate(Want::All).await.unwrap();
    let version = all.object.version;
    let last = upload.locate(Want::Of(version, 39, 41)).await.unwrap();
    assert_eq!(extents(&last), [(3, 10, 30), (4, 40, 0)], "the last byte, and the part behind it");
    let crc32 = Checksums { values: [("crc32".to_owned(), "AAAAAA==".to_owned())].into() };
    assert_eq!(all.extents.len(), 3);
    assert!(all.extents.iter().all(|extent| extent.checksums == crc32), "{all:?}");
    let mark = async |state: &str| {
        let sql = "UPDATE copies SET state = $1 WHERE extent = 3";
        assert_eq!(world.sql.execute(sql, &[&state]).await.unwrap(), 1, "{state}");
    };
    mark("quarantined").await;
    let all = upload.locate(Want::All).await.unwrap();
    let (bad, good): (Vec<_>, Vec<_>) = all.extents.iter().partition(|extent| extent.copies.is_empty());
    assert_eq!((bad.len(), good.len()), (1, 2));
    assert!(bad[0].checksums == crc32, "whatever has become of its copies");
    mark("verified").await;
    let known = |part| format!("{part} {{\"crc32\": \"AAAAAA==\"}}");
    let before: Vec<String> =
        world.sql.query(CHECKSUMS, &[]).await.unwrap().iter().map(|row| row.get("row")).collect();
    assert_eq!(
        before,
        ["0".to_owned(), known("1 0"), known("3 10"), known("4 40")],
        "what came whole has none"
    );

    let (lines, header) = shipped(&world).await;
    let blobs: Vec<FoundKey> = world
        .sql
        .query("SELECT extent, gen, stored_size, version, key FROM copies", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| {
            let small = |column: &str| u16::try_from(row.get::<_, i16>(column)).unwrap();
            let blob = BlobName {
                version: VersionId::from_uuid(row.get("version")),
                extent: number(small("extent")),
                r#gen: Gen::new(small("gen")).unwrap(),
            };
            FoundKey {
                storage_key: StorageKey::format("photos", row.get("key"), blob),
                size: u64::try_from(row.get::<_, i64>("stored_size")).unwrap(),
                etag: None,
            }
        })
        .collect();
    assert_eq!(rebuilt_of(&header, lines, blobs, CHECKSUMS).await, before, "from the log and the blobs");
}
