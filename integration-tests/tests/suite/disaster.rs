//! The database is lost, or is an older one: it is made again from the backends, or brought up to date.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::types::{BucketVersioningStatus, Tag, Tagging, VersioningConfiguration};
use s3o_integration_tests::config::{BUCKET, OTHER, VERSIONED};
use s3o_integration_tests::multipart::Upload;
use s3o_integration_tests::rebuild::rebuild;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::settle::{CLEANUP, JOURNAL, run_worker, settle};
use s3o_integration_tests::{Cluster, Options, wait};
use s3o_proto::v1::{GetStatusRequest, RecoverReply, RecoverRequest};
use serde_json::json;

pub(crate) const SIZE: usize = 3000;

pub(crate) async fn start() -> Result<Cluster> {
    start_with(Options { backends: 3, copies: 2, ..Options::default() }).await
}

/// With a journal, which is shipped when a test says so.
pub(crate) async fn start_with(mut options: Options) -> Result<Cluster> {
    options.sections.insert(JOURNAL.to_owned(), json!({"enabled": true}));
    Cluster::start(options).await
}

pub(crate) async fn put(cluster: &Cluster, bucket: &str, key: &str, name: &str) {
    s3::put(&cluster.s3(0), bucket, key, body(name, SIZE)).await.expect("put");
}

/// All that clients see of a bucket: versions with their ids, order, ETags, sizes and markers; headers, metadata, tags.
async fn seen(cluster: &Cluster, bucket: &str) -> Result<Vec<String>> {
    let client = cluster.s3(0);
    let versions = client.list_object_versions().bucket(bucket).send().await?;
    let mut seen = Vec::new();
    for version in versions.versions() {
        let (key, id) = (version.key().context("a key")?, version.version_id().context("an id")?);
        let got = client.get_object().bucket(bucket).key(key).version_id(id).send().await?;
        let said = format!(
            "{key} {id} {:?} {:?} {:?} {:?} {:?} {:?}",
            got.e_tag(),
            got.content_type(),
            got.metadata().map(|all| all.iter().collect::<std::collections::BTreeMap<_, _>>()),
            got.last_modified(),
            version.is_latest(),
            got.checksum_crc32(),
        );
        let bytes = got.body.collect().await?.into_bytes();
        let tags = client.get_object_tagging().bucket(bucket).key(key).version_id(id).send().await?;
        let mut tags: Vec<String> =
            tags.tag_set().iter().map(|tag| format!("{}={}", tag.key(), tag.value())).collect();
        tags.sort();
        seen.push(format!("{said} {:x} {} {tags:?}", md5_of(&bytes), bytes.len()));
    }
    for marker in versions.delete_markers() {
        seen.push(format!("{:?} {:?} marker {:?}", marker.key(), marker.version_id(), marker.is_latest()));
    }
    Ok(seen)
}

fn md5_of(bytes: &[u8]) -> u128 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    u128::from(hasher.finish())
}

async fn keys(cluster: &Cluster, bucket: &str) -> Result<Vec<String>> {
    let listed = s3::list(&cluster.s3(0), bucket, "").await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(listed.into_iter().map(|(key, etag)| format!("{key} {etag}")).collect())
}

/// What a database has of everything: overwritten and deleted objects, tags, metadata, parts, versions and markers.
pub(crate) async fn fill(cluster: &Cluster) -> Result<()> {
    let client = cluster.s3(0);
    for n in 0..20 {
        put(cluster, BUCKET, &format!("plain/{n}"), &format!("first {n}")).await;
    }
    for n in 0..5 {
        put(cluster, BUCKET, &format!("plain/{n}"), &format!("second {n}")).await;
        s3::delete(&client, BUCKET, &format!("plain/{}", n + 10)).await.expect("delete");
    }
    let tagging = |value: &str| -> Result<Tagging> {
        Ok(Tagging::builder().tag_set(Tag::builder().key("color").value(value).build()?).build()?)
    };
    client
        .put_object()
        .bucket(BUCKET)
        .key("described/ä b")
        .content_type("text/plain")
        .metadata("who", "me")
        .tagging("color=red&shape=round")
        .body(body("described", SIZE).into())
        .send()
        .await?;
    client.put_object_tagging().bucket(BUCKET).key("plain/1").tagging(tagging("blue")?).send().await?;
    client.put_object_tagging().bucket(BUCKET).key("plain/1").tagging(tagging("green")?).send().await?;
    put(cluster, BUCKET, "a//hashed/../key", "hashed").await;
    let upload = Upload::open(&client, "parts").await.expect("an upload");
    let mut parts = Vec::new();
    for (number, size) in [(1, 5000), (2, 4000), (5, 10)] {
        let etag = upload.put(&client, number, body(&format!("part {number}"), size)).await.expect("a part");
        parts.push((number, etag));
    }
    upload.complete(&client, &parts).await.expect("complete");
    put(cluster, OTHER, "there", "other").await;
    put(cluster, VERSIONED, "null first", "null").await;
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    client.put_bucket_versioning().bucket(VERSIONED).versioning_configuration(enabled).send().await?;
    for n in 0..3 {
        put(cluster, VERSIONED, "v", &format!("version {n}")).await;
    }
    s3::delete(&client, VERSIONED, "v").await.expect("a marker");
    put(cluster, VERSIONED, "w", "w 0").await;
    let gone = client.put_object().bucket(VERSIONED).key("w").body(body("w 1", SIZE).into()).send().await?;
    put(cluster, VERSIONED, "w", "w 2").await;
    let gone = gone.version_id().context("an id")?;
    client.delete_object().bucket(VERSIONED).key("w").version_id(gone).send().await?;
    put(cluster, VERSIONED, "null first", "not null").await;
    Ok(())
}

pub(crate) async fn everything(cluster: &Cluster) -> Result<Vec<String>> {
    let mut all = seen(cluster, VERSIONED).await?;
    for bucket in [BUCKET, OTHER] {
        all.push(format!("{:?}", keys(cluster, bucket).await?));
        all.extend(seen(cluster, bucket).await?);
    }
    Ok(all)
}

/// What a recovery leaves to the workers: copies that are lacking, and blobs of versions that nobody has any more.
pub(crate) async fn tidy(cluster: &Cluster) -> Result<()> {
    run_worker(cluster, "copy_scan").await?;
    run_worker(cluster, "reconciler").await?;
    settle(cluster).await
}

pub(crate) async fn recovery(cluster: &Cluster) -> Result<String> {
    let status = cluster.admin(0).await?.get_status(GetStatusRequest {}).await?;
    Ok(status.into_inner().recovery)
}

/// `s3o recover`.
pub(crate) async fn recover(cluster: &Cluster) -> Result<RecoverReply> {
    Ok(cluster.admin(0).await?.recover(RecoverRequest::default()).await?.into_inner())
}

/// The control plane that was killed is back, and the data plane with it.
async fn back(cluster: &mut Cluster) -> Result<()> {
    cluster.start_control_plane(0).await?;
    cluster.wait_attached().await?;
    cluster.wait_decided().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_made_again_from_the_backends() -> Result<()> {
    let mut cluster = start().await?;
    fill(&cluster).await?;
    // A snapshot in the middle, and segments after it.
    run_worker(&cluster, JOURNAL).await?;
    put(&cluster, BUCKET, "plain/7", "third 7").await;
    s3::delete(&cluster.s3(0), BUCKET, "plain/8").await.expect("delete");
    settle(&cluster).await?;
    run_worker(&cluster, JOURNAL).await?;
    let before = everything(&cluster).await?;
    // After the last segment: known by its blob alone.
    put(&cluster, BUCKET, "late", "late").await;
    put(&cluster, BUCKET, "plain/7", "fourth 7").await;
    cluster.control[0].process.kill()?;
    cluster.replace_database().await?;
    let report = rebuild(&cluster.control[0].config).await?;
    ensure!(report.contains("by their blobs alone: 2 objects"), "{report}");
    ensure!(report.contains("of which bytes are on no backend: 0"), "{report}");
    back(&mut cluster).await?;
    ensure!(recovery(&cluster).await?.contains("rebuilt"), "nothing is deleted yet");
    let client = cluster.s3(0);
    wait::until("the data plane writes again", || async {
        Ok(s3::put(&client, OTHER, "again", body("again", SIZE)).await.is_ok())
    })
    .await?;
    s3::delete(&client, OTHER, "again").await.expect("delete");
    for (key, name) in [("late", "late"), ("plain/7", "fourth 7")] {
        let got = s3::get(&cluster.s3(0), BUCKET, key).await.expect("get").context("it is there")?.1;
        ensure!(got == body(name, SIZE), "{key}");
    }
    // Back to what the journal knows.
    s3::delete(&cluster.s3(0), BUCKET, "late").await.expect("delete");
    let after = everything(&cluster).await?;
    let differ = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line) && !line.contains("plain/7")).cloned().collect()
    };
    ensure!(differ(&before, &after).is_empty(), "lost: {:#?}", differ(&before, &after));
    ensure!(differ(&after, &before).is_empty(), "new: {:#?}", differ(&after, &before));
    let recovered = recover(&cluster).await?;
    ensure!(recovered.lost.is_empty() && recovered.unreadable.is_empty(), "{recovered:?}");
    ensure!(recovery(&cluster).await?.is_empty());
    tidy(&cluster).await?;
    run_worker(&cluster, JOURNAL).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_earlier_point_is_brought_up_to_date() -> Result<()> {
    let mut cluster = start().await?;
    fill(&cluster).await?;
    settle(&cluster).await?;
    run_worker(&cluster, JOURNAL).await?;
    let copy = cluster.copy_database().await?;
    // What the copy does not know: writes, overwrites, deletions, tags, a version that is gone.
    put(&cluster, BUCKET, "new", "new").await;
    put(&cluster, BUCKET, "plain/2", "third 2").await;
    s3::delete(&cluster.s3(0), BUCKET, "plain/3").await.expect("delete");
    put(&cluster, VERSIONED, "v", "version 3").await;
    let shipped = run_worker(&cluster, JOURNAL).await?;
    ensure!(shipped.get("segments") == Some(&1), "{shipped:?}");
    let before = everything(&cluster).await?;
    put(&cluster, BUCKET, "late", "late").await;
    cluster.control[0].process.kill()?;
    cluster.use_copy(copy).await?;
    back(&mut cluster).await?;
    let noticed = run_worker(&cluster, JOURNAL).await;
    ensure!(recovery(&cluster).await?.contains("journal"), "{noticed:?}");
    // Deletions wait.
    s3::delete(&cluster.s3(0), BUCKET, "plain/4").await.expect("delete");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let counts = run_worker(&cluster, "cleanup_queue").await?;
    ensure!(counts.is_empty(), "{counts:?}");
    put(&cluster, BUCKET, "plain/4", "second 4").await;
    // Meanwhile somebody writes over what was lost: the newer one stays.
    put(&cluster, BUCKET, "plain/2", "fourth 2").await;
    let recovered = recover(&cluster).await?;
    ensure!(recovered.revived == 1 && recovered.lost.is_empty(), "{recovered:?}");
    let got = s3::get(&cluster.s3(0), BUCKET, "plain/2").await.expect("get").context("it is there")?.1;
    ensure!(got == body("fourth 2", SIZE));
    let got = s3::get(&cluster.s3(0), BUCKET, "late").await.expect("get").context("it is there")?.1;
    ensure!(got == body("late", SIZE));
    s3::delete(&cluster.s3(0), BUCKET, "late").await.expect("delete");
    let after = everything(&cluster).await?;
    let is_other = |line: &&String| !line.contains("plain/2") && !line.contains("plain/4");
    let lost: Vec<_> = before.iter().filter(is_other).filter(|line| !after.contains(line)).collect();
    let new: Vec<_> = after.iter().filter(is_other).filter(|line| !before.contains(line)).collect();
    ensure!(lost.is_empty() && new.is_empty(), "lost: {lost:#?}\nnew: {new:#?}");
    ensure!(recovery(&cluster).await?.is_empty());
    tidy(&cluster).await?;
    run_worker(&cluster, JOURNAL).await?;
    cluster.finish().await
}

/// Everything is overwritten, or deleted, or a version less.
async fn change_all(cluster: &Cluster) -> Result<()> {
    let client = cluster.s3(0);
    for bucket in [BUCKET, OTHER] {
        let listed = s3::list(&client, bucket, "").await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        for (n, (key, _)) in listed.iter().enumerate() {
            if n % 2 == 0 {
                put(cluster, bucket, key, &format!("changed {n}")).await;
            } else {
                s3::delete(&client, bucket, key).await.expect("delete");
            }
        }
    }
    let versions = client.list_object_versions().bucket(VERSIONED).send().await?;
    for version in versions.versions() {
        let (key, id) = (version.key().context("a key")?, version.version_id().context("an id")?);
        client.delete_object().bucket(VERSIONED).key(key).version_id(id).send().await?;
    }
    Ok(())
}

/// What one has and the other has not.
fn only_in<'a>(one: &'a [String], other: &[String]) -> Vec<&'a String> {
    one.iter().filter(|line| !other.contains(line)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_within_the_cleanup_delay_is_whole() -> Result<()> {
    let mut options = Options { backends: 3, copies: 2, ..Options::default() };
    options.sections.insert("cleanup".to_owned(), json!({"cleanup_delay": "1h"}));
    let mut cluster = start_with(options).await?;
    fill(&cluster).await?;
    run_worker(&cluster, JOURNAL).await?;
    wait::until("every write to be done", || async { Ok(cluster.intents().await? == 0) }).await?;
    let point = everything(&cluster).await?;
    let copy = cluster.copy_database().await?;
    change_all(&cluster).await?;
    run_worker(&cluster, JOURNAL).await?;
    let changed = everything(&cluster).await?;
    // Longer than `read_grace`: but for the delay, what the point knows would be deleted now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    run_worker(&cluster, CLEANUP).await?;
    cluster.control[0].process.kill()?;
    cluster.use_copy(copy).await?;
    back(&mut cluster).await?;
    let noticed = run_worker(&cluster, JOURNAL).await;
    ensure!(recovery(&cluster).await?.contains("journal"), "{noticed:?}");
    let now = everything(&cluster).await?;
    let (lost, new) = (only_in(&point, &now), only_in(&now, &point));
    ensure!(lost.is_empty() && new.is_empty(), "lost: {lost:#?}\nnew: {new:#?}");

    // From here on nobody wants to go back: what is removed goes at once.
    cluster.control[0].process.kill()?;
    cluster.write_files(|file| file["cleanup"]["cleanup_delay"] = json!("0s"))?;
    back(&mut cluster).await?;
    let recovered = recover(&cluster).await?;
    ensure!(recovered.lost.is_empty() && recovered.unreadable.is_empty(), "{recovered:?}");
    let now = everything(&cluster).await?;
    let (lost, new) = (only_in(&changed, &now), only_in(&now, &changed));
    ensure!(lost.is_empty() && new.is_empty(), "lost: {lost:#?}\nnew: {new:#?}");
    cluster.sql().await?.execute("UPDATE cleanup_queue SET not_before = now()", &[]).await?;
    tidy(&cluster).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_to_be_recovered_nothing_is_changed() -> Result<()> {
    let cluster = start().await?;
    fill(&cluster).await?;
    settle(&cluster).await?;
    run_worker(&cluster, JOURNAL).await?;
    let state = "SELECT concat_ws(' ', (SELECT last_value FROM change_seq), (SELECT segment FROM journal),
                                  (SELECT count(*) FROM restore_events), (SELECT count(*) FROM restore_blobs))";
    let sql = cluster.sql().await?;
    let (before, seen) = (sql.query_one(state, &[]).await?.get::<_, String>(0), everything(&cluster).await?);
    let refused =
        cluster.admin(0).await?.recover(RecoverRequest::default()).await.err().context("refused")?;
    ensure!(refused.code() == tonic::Code::FailedPrecondition, "{refused:?}");
    ensure!(refused.message().contains("the recovery mode is not on"), "{refused:?}");
    ensure!(sql.query_one(state, &[]).await?.get::<_, String>(0) == before);
    ensure!(everything(&cluster).await? == seen);
    cluster.finish().await
}
