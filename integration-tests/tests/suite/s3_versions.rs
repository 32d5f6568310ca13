//! Versioned buckets, end to end: what S3 says of versions, markers and the null version, through several data
//! planes; writers that race; a data plane that dies at a step of a write.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier, Tag, Tagging,
    VersioningConfiguration,
};
use s3o_integration_tests::config::{BUCKET, OTHER, VERSIONED};
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::{self, Failure, body, md5};
use s3o_integration_tests::{Cluster, Options, wait};

async fn turn(client: &Client, bucket: &str, status: BucketVersioningStatus) -> Result<(), Failure> {
    let configuration = VersioningConfiguration::builder().status(status).build();
    let put = client.put_bucket_versioning().bucket(bucket).versioning_configuration(configuration);
    put.send().await.map(|_| ()).map_err(|error| Failure::of(&error))
}

async fn put(client: &Client, key: &str, name: &str) -> Result<Option<String>> {
    let body = ByteStream::from(body(name, 2000));
    let put = client.put_object().bucket(VERSIONED).key(key).body(body).send().await?;
    Ok(put.version_id().map(str::to_owned))
}

/// The ETag of a version; `None`: the current one.
async fn etag(client: &Client, key: &str, version: Option<&str>) -> Result<String, Failure> {
    let get = client.get_object().bucket(VERSIONED).key(key).set_version_id(version.map(str::to_owned));
    let got = get.send().await.map_err(|error| Failure::of(&error))?;
    let (told, etag) = (got.version_id().map(str::to_owned), s3::unquoted(got.e_tag()));
    let bytes = got.body.collect().await.map_err(|error| Failure::Silence(error.to_string()))?.into_bytes();
    assert_eq!(md5(&bytes), etag, "whole, and of this version");
    assert!(version.is_none() || told.is_none() || told.as_deref() == version, "{told:?} is not {version:?}");
    Ok(etag)
}

fn answer(failure: Result<impl std::fmt::Debug, Failure>) -> (u16, String) {
    match failure.expect_err("refused") {
        Failure::Answer { status, code } => (status, code),
        silence @ Failure::Silence(_) => panic!("{silence:?}"),
    }
}

/// Key, version, marker, latest: of all pages.
async fn versions(client: &Client, bucket: &str, page: i32) -> Result<Vec<(String, String, bool, bool)>> {
    let (mut all, mut key, mut version) = (Vec::new(), None, None);
    loop {
        let list = client.list_object_versions().bucket(bucket).max_keys(page);
        let list = list.set_key_marker(key).set_version_id_marker(version).send().await?;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        all.extend(
            list.versions()
                .iter()
                .map(|v| (text(v.key()), text(v.version_id()), false, v.is_latest().unwrap_or_default())),
        );
        all.extend(
            list.delete_markers()
                .iter()
                .map(|m| (text(m.key()), text(m.version_id()), true, m.is_latest().unwrap_or_default())),
        );
        ensure!(list.versions().len() + list.delete_markers().len() <= usize::try_from(page)?);
        if !list.is_truncated().unwrap_or_default() {
            return Ok(all);
        }
        (key, version) = (list.next_key_marker.clone(), list.next_version_id_marker.clone());
        ensure!(key.is_some(), "a page that is not the last says where the next begins");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_markers_and_the_null_version() -> Result<()> {
    let cluster = Cluster::start(Options { control_planes: 2, data_planes: 2, ..Options::default() }).await?;
    let (one, two) = (cluster.s3(0), cluster.s3(1));
    ensure!(put(&one, "k", "null").await?.is_none(), "never versioned: nothing is told");
    ensure!(versions(&one, VERSIONED, 10).await? == [("k".into(), "null".into(), false, true)]);

    turn(&one, VERSIONED, BucketVersioningStatus::Enabled).await.expect("set");
    let state = two.get_bucket_versioning().bucket(VERSIONED).send().await?;
    ensure!(state.status() == Some(&BucketVersioningStatus::Enabled), "every data plane says so at once");
    let first = put(&two, "k", "first").await?.expect("a version id");
    let second = put(&one, "k", "second").await?.expect("a version id");
    for (version, name) in [("null", "null"), (&first, "first"), (&second, "second")] {
        ensure!(etag(&two, "k", Some(version)).await.expect("there") == md5(&body(name, 2000)));
    }
    ensure!(etag(&one, "k", None).await.expect("there") == md5(&body("second", 2000)));

    let deleted = one.delete_object().bucket(VERSIONED).key("k").send().await?;
    ensure!(deleted.delete_marker() == Some(true));
    let marker = deleted.version_id().expect("the marker's id").to_owned();
    ensure!(answer(etag(&two, "k", None).await) == (404, "NoSuchKey".into()));
    ensure!(answer(etag(&two, "k", Some(&marker)).await) == (405, "MethodNotAllowed".into()));
    let raw = cluster.raw(1);
    let head = raw.send(&Request::new("HEAD", &format!("/{VERSIONED}/k"))).await?;
    ensure!(head.status == 404 && head.header("x-amz-delete-marker") == Some("true"), "{head:?}");
    ensure!(head.header("x-amz-version-id") == Some(marker.as_str()), "{head:?}");
    ensure!(s3::list(&two, VERSIONED, "").await.expect("listed").is_empty(), "nothing is current");

    // Page by page, whatever the size of a page: all versions, the newest first.
    let listed = versions(&two, VERSIONED, 1).await?;
    let mut by_threes = versions(&one, VERSIONED, 3).await?;
    by_threes.sort_by_key(|row| listed.iter().position(|other| other == row));
    ensure!(listed == by_threes, "{listed:?} {by_threes:?}");
    ensure!(
        listed.iter().map(|row| row.1.as_str()).collect::<Vec<_>>() == [&marker, &second, &first, "null"]
    );
    ensure!(
        listed.iter().map(|row| (row.2, row.3)).collect::<Vec<_>>()
            == [(true, true), (false, false), (false, false), (false, false)]
    );

    let removed = two.delete_object().bucket(VERSIONED).key("k").version_id(&marker).send().await?;
    ensure!((removed.delete_marker(), removed.version_id()) == (Some(true), Some(marker.as_str())));
    ensure!(etag(&one, "k", None).await.expect("back") == md5(&body("second", 2000)));

    // An old version becomes the current one by a copy; tags are those of one version.
    let copied =
        one.copy_object().bucket(VERSIONED).key("k").copy_source(format!("{VERSIONED}/k?versionId={first}"));
    let copied = copied.send().await?;
    ensure!(copied.copy_source_version_id() == Some(first.as_str()) && copied.version_id().is_some());
    ensure!(etag(&two, "k", None).await.expect("there") == md5(&body("first", 2000)));
    let tags = Tagging::builder().tag_set(Tag::builder().key("a").value("1").build()?).build()?;
    one.put_object_tagging().bucket(VERSIONED).key("k").version_id("null").tagging(tags).send().await?;
    let tagged = two.get_object_tagging().bucket(VERSIONED).key("k").version_id("null").send().await?;
    ensure!(tagged.tag_set().len() == 1 && tagged.version_id() == Some("null"));
    ensure!(two.get_object_tagging().bucket(VERSIONED).key("k").send().await?.tag_set().is_empty());

    turn(&two, VERSIONED, BucketVersioningStatus::Suspended).await.expect("set");
    ensure!(put(&one, "k", "suspended").await?.as_deref() == Some("null"));
    ensure!(etag(&two, "k", Some("null")).await.expect("there") == md5(&body("suspended", 2000)));
    ensure!(etag(&two, "k", Some(&first)).await.expect("still there") == md5(&body("first", 2000)));
    let deleted = two.delete_object().bucket(VERSIONED).key("k").send().await?;
    ensure!((deleted.delete_marker(), deleted.version_id()) == (Some(true), Some("null")));

    // Everything goes, many at a time; a version that is not there is no error.
    let rows = versions(&one, VERSIONED, 1000).await?;
    let absent = ("k".to_owned(), first.clone(), false, false);
    let objects = rows
        .iter()
        .chain([&absent])
        .map(|(key, version, ..)| ObjectIdentifier::builder().key(key).version_id(version).build());
    let delete = Delete::builder().set_objects(Some(objects.collect::<Result<_, _>>()?)).build()?;
    let done = one.delete_objects().bucket(VERSIONED).delete(delete).send().await?;
    ensure!(done.errors().is_empty() && done.deleted().len() == rows.len() + 1, "{done:?}");
    ensure!(done.deleted().iter().filter(|deleted| deleted.delete_marker() == Some(true)).count() == 1);
    ensure!(versions(&two, VERSIONED, 10).await?.is_empty());
    s3o_integration_tests::settle::settle(&cluster).await?;
    s3o_integration_tests::audit::audit(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_allowed() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    // The right to configure is not part of read_write.
    ensure!(
        answer(turn(&client, BUCKET, BucketVersioningStatus::Enabled).await) == (403, "AccessDenied".into())
    );
    ensure!(
        answer(turn(&client, OTHER, BucketVersioningStatus::Enabled).await) == (403, "AccessDenied".into())
    );
    put(&client, "k", "one").await?;
    ensure!(etag(&client, "k", Some("null")).await.expect("the current one") == md5(&body("one", 2000)));
    let unknown = "00000000000000000000000001";
    ensure!(answer(etag(&client, "k", Some(unknown)).await) == (404, "NoSuchVersion".into()));
    ensure!(answer(etag(&client, "k", Some("malformed")).await) == (400, "InvalidArgument".into()));
    turn(&client, VERSIONED, BucketVersioningStatus::Enabled).await.expect("set");
    ensure!(answer(etag(&client, "k", Some(unknown)).await) == (404, "NoSuchVersion".into()));
    let mfa = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .mfa_delete(aws_sdk_s3::types::MfaDelete::Enabled)
        .build();
    let refused = client.put_bucket_versioning().bucket(VERSIONED).versioning_configuration(mfa).send().await;
    ensure!(answer(refused.map_err(|error| Failure::of(&error))) == (501, "NotImplemented".into()));
    // A marker without its key, a source that is a marker.
    let list = client.list_object_versions().bucket(VERSIONED).version_id_marker("null").send().await;
    ensure!(answer(list.map_err(|error| Failure::of(&error))) == (400, "InvalidArgument".into()));
    let marker = client.delete_object().bucket(VERSIONED).key("k").send().await?;
    let source = format!("{VERSIONED}/k?versionId={}", marker.version_id().expect("one"));
    let copy = client.copy_object().bucket(VERSIONED).key("c").copy_source(source).send().await;
    ensure!(answer(copy.map_err(|error| Failure::of(&error))) == (400, "InvalidRequest".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multipart_upload_is_a_version() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    turn(&client, VERSIONED, BucketVersioningStatus::Enabled).await.expect("set");
    let first = put(&client, "k", "first").await?.expect("a version id");
    let created = client.create_multipart_upload().bucket(VERSIONED).key("k").send().await?;
    let upload = created.upload_id().expect("an id").to_owned();
    let mut parts = Vec::new();
    for number in 1..=20 {
        let bytes = ByteStream::from(body(&format!("part {number}"), 2000));
        let part = client.upload_part().bucket(VERSIONED).key("k").upload_id(&upload).part_number(number);
        let etag = part.body(bytes).send().await?.e_tag().map(str::to_owned);
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(etag).build());
    }
    let whole: Vec<u8> = (1..=20).flat_map(|number| body(&format!("part {number}"), 2000)).collect();
    let complete = || {
        let done = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
        client
            .complete_multipart_upload()
            .bucket(VERSIONED)
            .key("k")
            .upload_id(&upload)
            .multipart_upload(done)
            .send()
    };
    let done = complete().await?;
    let version = done.version_id().expect("a version id").to_owned();
    ensure!(complete().await?.version_id() == Some(version.as_str()), "a repeat is told the same");
    put(&client, "k", "last").await?;
    // Noncurrent, and read extent by extent.
    let got = client.get_object().bucket(VERSIONED).key("k").version_id(&version).send().await?;
    ensure!(got.body.collect().await?.into_bytes() == whole);
    ensure!(etag(&client, "k", Some(&first)).await.expect("there") == md5(&body("first", 2000)));
    client.delete_object().bucket(VERSIONED).key("k").version_id(&version).send().await?;
    ensure!(answer(etag(&client, "k", Some(&version)).await).0 == 404);
    s3o_integration_tests::settle::settle(&cluster).await?;
    s3o_integration_tests::audit::audit(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_writers_lose_no_version() -> Result<()> {
    const ROUNDS: usize = 60;
    let options = Options { control_planes: 2, data_planes: 2, ..Options::default() };
    let cluster = Cluster::start(options).await?;
    let clients = [cluster.s3(0), cluster.s3(1)];
    turn(&clients[0], VERSIONED, BucketVersioningStatus::Enabled).await.expect("set");
    let writes = (0..ROUNDS).map(|n| {
        let client = &clients[n % 2];
        async move {
            if n % 5 == 4 {
                let deleted = client.delete_object().bucket(VERSIONED).key("hot").send().await?;
                return anyhow::Ok((deleted.version_id().expect("a marker").to_owned(), None));
            }
            let name = format!("writer {n}");
            let version = put(client, "hot", &name).await?.expect("a version id");
            Ok((version, Some(md5(&body(&name, 2000)))))
        }
    });
    let answers = futures::future::join_all(writes).await.into_iter().collect::<Result<BTreeMap<_, _>>>()?;
    ensure!(answers.len() == ROUNDS, "each has a version of its own");
    let listed = versions(&clients[1], VERSIONED, 7).await?;
    ensure!(listed.len() == ROUNDS && listed.iter().filter(|row| row.3).count() == 1, "{listed:?}");
    for (_, version, marker, _) in &listed {
        let wrote = answers.get(version).expect("somebody's");
        ensure!(wrote.is_none() == *marker);
        if let Some(wrote) = wrote {
            ensure!(etag(&clients[0], "hot", Some(version)).await.expect("there") == *wrote);
        }
    }
    // All at once, from both sides: each goes once, and the key is empty in the end.
    let removals = listed.iter().enumerate().map(|(n, (key, version, ..))| {
        clients[n % 2].delete_object().bucket(VERSIONED).key(key).version_id(version).send()
    });
    for removed in futures::future::join_all(removals).await {
        removed?;
    }
    ensure!(versions(&clients[0], VERSIONED, 1000).await?.is_empty());
    s3o_integration_tests::settle::settle(&cluster).await?;
    s3o_integration_tests::audit::audit(&cluster).await
}

/// What was not acknowledged happened once or not at all, and what was there before stays a version.
async fn kill_at(point: &'static str) -> Result<()> {
    let options = Options { data_planes: 2, failpoint: Some(point), ..Options::default() };
    let mut cluster = Cluster::start(options).await?;
    let steady = cluster.s3(0);
    turn(&steady, VERSIONED, BucketVersioningStatus::Enabled).await.expect("set");
    for kind in ["put", "delete"] {
        let old = put(&steady, kind, "old").await?.expect("a version id");
        cluster.data[1].process.clear_log()?;
        let client = cluster.impatient(1, Duration::from_secs(60));
        let running = tokio::spawn(async move {
            match kind {
                "delete" => client.delete_object().bucket(VERSIONED).key(kind).send().await.is_ok(),
                _ => put(&client, kind, "new").await.is_ok(),
            }
        });
        wait::until("the failpoint or an answer", || async {
            Ok(running.is_finished() || cluster.data[1].process.output().contains("S3O_FAILPOINT reached"))
        })
        .await?;
        cluster.data[1].process.kill()?;
        let acknowledged = running.await?;
        cluster.data[1].process.start()?;
        wait::ready(cluster.data[1].http).await?;
        s3o_integration_tests::settle::settle(&cluster).await?;
        let rows: Vec<_> =
            versions(&steady, VERSIONED, 10).await?.into_iter().filter(|row| row.0 == kind).collect();
        let done = acknowledged || point == "after_commit";
        ensure!(rows.iter().any(|row| row.1 == old), "{kind} killed {point}: {rows:?}");
        ensure!(rows.len() == 2 || (!done && rows.len() == 1), "{kind} killed {point}: {rows:?}");
        ensure!(etag(&steady, kind, Some(&old)).await.expect("there") == md5(&body("old", 2000)));
    }
    s3o_integration_tests::audit::audit(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_dies_before_its_commit() -> Result<()> {
    kill_at("after_backend_put").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_dies_after_its_commit() -> Result<()> {
    kill_at("after_commit").await
}
