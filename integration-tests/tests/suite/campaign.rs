//! The fault campaign's checks, tried: each of them can fail.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::types::{Tag, Tagging};
use s3o_integration_tests::audit;
use s3o_integration_tests::campaign::Campaign;
use s3o_integration_tests::campaign::board::KeptVersion;
use s3o_integration_tests::campaign::checks::{self, Violation};
use s3o_integration_tests::campaign::content::{Content, Piece};
use s3o_integration_tests::campaign::field::Field;
use s3o_integration_tests::campaign::own::{MARKER, OWN, Tags, own_key};
use s3o_integration_tests::campaign::plan::Plan;
use s3o_integration_tests::s3::md5;
use s3o_testkit::history::{Call, Outcome};

/// A few seconds of clients, without faults.
async fn calm() -> Result<Campaign> {
    let plan = Plan {
        length: Duration::from_secs(4),
        seed: 1,
        kinds: vec![],
        at_once: 0,
        out: std::env::temp_dir(),
    };
    let mut campaign = Campaign::start(plan).await?;
    // Before it settles: they are to have all their copies.
    own_keys(campaign.field()).await?;
    let found = campaign.run().await?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(campaign)
}

/// What the checks are tried on, whatever the clients came to: an object with tags, and a key with two versions.
async fn own_keys(field: &Field) -> Result<()> {
    let (client, board) = (field.cluster.s3(0), &field.board);
    let key = own_key("test", "tags", 0);
    let (name, tags) = (format!("every/{key}"), Tags::from([("tag".to_owned(), "test".to_owned())]));
    put_own(field, "every", &key, 0).await?;
    board.will_tag(&name, &tags);
    let tag = Tag::builder().key("tag").value("test").build()?;
    let tagging = Tagging::builder().tag_set(tag).build()?;
    client.put_object_tagging().bucket("every").key(&key).tagging(tagging).send().await?;
    board.tagged(&name, &tags, &Ok(()));
    let key = own_key("test", "versions", 0);
    for n in 1..3 {
        let (etag, id) = put_own(field, "kept", &key, n).await?;
        let id = id.context("a version id")?;
        board.kept(KeptVersion { bucket: "kept".to_owned(), key: key.clone(), id, etag });
    }
    Ok(())
}

async fn put_own(field: &Field, bucket: &str, key: &str, n: usize) -> Result<(String, Option<String>)> {
    let piece = Piece::new(format!("test {n}"), 100);
    let bytes = piece.bytes();
    let etag = md5(&bytes);
    field.board.will_write(&etag, Content::new(vec![piece], &bytes));
    let call = field.cluster.s3(0).put_object().bucket(bucket).key(key).body(bytes.into());
    Ok((etag, call.send().await?.version_id().map(str::to_owned)))
}

fn has(found: &[Violation], check: &str, part: &str) -> bool {
    found.iter().any(|violation| violation.check == check && violation.what.contains(part))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_behind_the_systems_back_is_found() -> Result<()> {
    let campaign = calm().await?;
    let found = campaign.check().await?;
    ensure!(found.is_empty(), "{found:?}");
    let field = campaign.field();
    let copies = audit::copies_of_objects(&field.cluster).await?;
    let copy = copies.iter().find(|copy| copy.name.starts_with("every/")).context("an object")?;
    let backend = field.cluster.backends.iter().find(|backend| backend.name == copy.backend);
    let server = &backend.context("its backend")?.server;

    let blob = server.blob(&copy.storage_key).context("its blob")?;
    ensure!(server.corrupt(&copy.storage_key));
    let found = campaign.check().await?;
    ensure!(has(&found, "whole copies", &copy.name), "a flipped bit: {found:?}");

    server.remove(&copy.storage_key);
    let found = campaign.check().await?;
    ensure!(has(&found, "accounting", "copy without its blob"), "a missing blob: {found:?}");
    ensure!(has(&found, "whole copies", &copy.name), "a missing blob: {found:?}");
    server.plant(&copy.storage_key, blob.bytes);

    // One of our own names, of another attempt; what others write is unmanaged, and theirs.
    let nobodys = format!("{}1", &copy.storage_key[..copy.storage_key.len() - 1]);
    server.plant(&nobodys, "0");
    let found = campaign.check().await?;
    ensure!(has(&found, "accounting", "blob without a row"), "a blob of nobody: {found:?}");
    server.remove(&nobodys);

    let sql = field.cluster.sql().await?;
    sql.batch_execute("UPDATE backend_usage SET reserved = reserved + 1 WHERE backend = 1 AND slot = 0")
        .await?;
    let found = campaign.check().await?;
    ensure!(has(&found, "quota", "1 bytes reserved"), "a reservation of nobody: {found:?}");
    sql.batch_execute("UPDATE backend_usage SET reserved = reserved - 1 WHERE backend = 1 AND slot = 0")
        .await?;

    let lost = "DELETE FROM object_versions WHERE version = (SELECT version FROM object_versions
                WHERE NOT delete_marker LIMIT 1)";
    ensure!(sql.execute(lost, &[]).await? == 1);
    let found = campaign.check().await?;
    ensure!(has(&found, "versions", "is not listed"), "a version that is gone: {found:?}");
    campaign.end();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_order_explains_and_what_is_not_counted_is_found() -> Result<()> {
    let campaign = calm().await?;
    let (recorder, key) = (&campaign.field().board.recorder, "single/hot/0/a");
    let last = recorder.invoke("liar", key, Call::Read);
    last.end(Outcome::Saw(Some("never written".into())));
    let found = campaign.check().await?;
    ensure!(has(&found, "linearizability", "a value that nobody wrote"), "{found:?}");

    // The burst is recorded twice from now on.
    let twice = "CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.requests := NEW.requests + 1; RETURN NEW; END $$;
        CREATE TRIGGER twice BEFORE UPDATE ON monthly_usage FOR EACH ROW EXECUTE FUNCTION twice();";
    campaign.field().cluster.sql().await?.batch_execute(twice).await?;
    let report = campaign.finish(Vec::new()).await?;
    ensure!(has(&report.violations, "usage", "seen minus recorded"), "{}", report.text);
    ensure!(report.files.is_some_and(|files| files.join("history").is_file()), "no files were kept");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn own_keys_that_are_not_as_they_were_left_are_found() -> Result<()> {
    let campaign = calm().await?;
    let (board, sql) = (&campaign.field().board, campaign.field().cluster.sql().await?);
    let tagged = "UPDATE objects SET tags = '{\"nobody\": \"this\"}' WHERE key =
                      (SELECT key FROM objects WHERE key LIKE 'own/%/tags/%' AND tags IS NOT NULL LIMIT 1)";
    ensure!(sql.execute(tagged, &[]).await? == 1, "no client has set tags");
    let found = campaign.check().await?;
    ensure!(has(&found, "tags", "\"nobody\": \"this\""), "tags that nobody set: {found:?}");

    let mut kept = board.kept_versions().into_iter();
    let is_own = |key: &str, etag: &str| key.starts_with(OWN) && etag != MARKER;
    let one = kept.find(|kept| is_own(&kept.key, &kept.etag) && board.deletion(&kept.id).is_none());
    let one = one.context("an own version")?;
    board.will_delete(&one.id);
    let found = campaign.check().await?;
    ensure!(!has(&found, "versions", &one.id), "a deletion without an answer: {found:?}");
    board.deleted(&one.id);
    let found = campaign.check().await?;
    let listed = "is listed, though its deletion was acknowledged";
    ensure!(has(&found, "versions", listed), "a version that should be gone: {found:?}");
    let read = format!("version {} is read", one.id);
    ensure!(has(&found, "versions", &read), "a version that should be gone: {found:?}");

    // The latest version has another one's ETag from now on: its bytes are not that version's.
    let older = "WITH other AS (
                     SELECT bucket, key, v.etag FROM objects o JOIN object_versions v USING (bucket, key)
                     WHERE key LIKE 'own/%/versions/%' AND NOT v.delete_marker AND v.etag <> o.etag LIMIT 1)
                 UPDATE objects o SET etag = other.etag FROM other
                 WHERE o.bucket = other.bucket AND o.key = other.key";
    ensure!(sql.execute(older, &[]).await? == 1, "no key with two versions");
    let found = campaign.check().await?;
    ensure!(has(&found, "versions", "the current version is read as"), "another version's ETag: {found:?}");
    campaign.end();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_journal_does_not_say_is_found() -> Result<()> {
    let campaign = calm().await?;
    let field = campaign.field();
    campaign.close_journal().await?;
    let rebuilt = checks::rebuild(field).await?;
    ensure!(rebuilt.violations.is_empty(), "{:?}", rebuilt.violations);
    ensure!(rebuilt.versions > 0 && rebuilt.copies > 0, "{rebuilt:?}");

    let sql = field.cluster.sql().await?;
    let changed = "UPDATE objects SET etag = 'another' WHERE version = (SELECT version FROM objects LIMIT 1)
                   RETURNING key";
    let key: String = sql.query_one(changed, &[]).await?.get(0);
    let rebuilt = checks::rebuild(field).await?;
    ensure!(has(&rebuilt.violations, "rebuild", "etag another"), "{key}: {:?}", rebuilt.violations);

    // As if it had been copied by nobody's word.
    let moved = "UPDATE copies SET backend = (SELECT max(id) FROM backends b WHERE b.id NOT IN
                     (SELECT backend FROM copies o WHERE o.version = copies.version))
                 WHERE (version, extent, backend) = (SELECT c.version, c.extent, c.backend FROM copies c
                                                     WHERE c.state = 'verified' ORDER BY 1, 2, 3 LIMIT 1)";
    ensure!(sql.execute(moved, &[]).await? == 1);
    let rebuilt = checks::rebuild(field).await?;
    ensure!(has(&rebuilt.violations, "rebuild", "is not rebuilt"), "{:?}", rebuilt.violations);
    campaign.end();
    Ok(())
}
