//! Expiry on a whole system: rules set through one data plane and seen by all, what is due goes, what changed meanwhile
//! stays, and a pass that was cut goes on where it was.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use s3o_integration_tests::config::{BUCKET, KEY, MAKER, OTHER, VERSIONED};
use s3o_integration_tests::raw::{Raw, Request, Response};
use s3o_integration_tests::s3::{self, body, md5};
use s3o_integration_tests::settle::run_worker;
use s3o_integration_tests::{Cluster, Options, wait};
use serde_json::json;

const WORKER: &str = "lifecycle";

fn maker(cluster: &Cluster, data: usize) -> Raw {
    Raw::new(cluster.data[data].s3, MAKER.0, MAKER.1)
}

fn rule(id: &str, filter: &str, action: &str) -> String {
    format!("<Rule><ID>{id}</ID><Status>Enabled</Status><Filter>{filter}</Filter>{action}</Rule>")
}

fn days(id: &str, filter: &str, days: u32) -> String {
    rule(id, filter, &format!("<Expiration><Days>{days}</Days></Expiration>"))
}

fn put_rules(bucket: &str, rules: &[String]) -> Request {
    let document = format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", rules.concat());
    Request::new("PUT", &format!("/{bucket}?lifecycle=")).body(document)
}

async fn set(client: &Raw, bucket: &str, rules: &[String]) -> Result<()> {
    let answer = client.send(&put_rules(bucket, rules)).await?;
    ensure!(answer.status == 200, "{}", answer.text());
    Ok(())
}

fn is(answer: &Response, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
}

/// Everything was written so many days ago.
async fn age(cluster: &Cluster, days: i32) -> Result<()> {
    let sql = cluster.sql().await?;
    for (table, column) in
        [("objects", "modified"), ("object_versions", "modified"), ("uploads", "initiated")]
    {
        let update = format!("UPDATE {table} SET {column} = {column} - make_interval(days => $1)");
        sql.execute(&update, &[&days]).await?;
    }
    Ok(())
}

async fn names(cluster: &Cluster, bucket: &str) -> Vec<String> {
    let listed = s3::list(&cluster.s3(0), bucket, "").await.expect("listed");
    listed.into_iter().map(|(key, _)| key).collect()
}

fn of(counts: &HashMap<String, u64>, what: &str) -> u64 {
    counts.get(what).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_set_shown_and_removed() -> Result<()> {
    let cluster = Cluster::start(Options { control_planes: 2, data_planes: 2, ..Options::default() }).await?;
    let (one, two) = (maker(&cluster, 0), maker(&cluster, 1));
    let get = Request::new("GET", &format!("/{BUCKET}?lifecycle="));
    let delete = Request::new("DELETE", &format!("/{BUCKET}?lifecycle="));
    is(&one.send(&get).await?, 404, "NoSuchLifecycleConfiguration");
    set(&one, BUCKET, &[days("logs", "<Prefix>logs/</Prefix>", 30)]).await?;
    cluster.knows(0, "a rule", || async { Ok(one.send(&get).await?.status == 200) }).await?;
    wait::until("the other data plane shows it", || async { Ok(two.send(&get).await?.status == 200) })
        .await?;
    for client in [&one, &cluster.raw(0)] {
        let shown = client.send(&get).await?;
        assert_eq!(shown.element("Days").as_deref(), Some("30"), "{}", shown.text());
        assert_eq!(shown.element("Prefix").as_deref(), Some("logs/"));
        assert_eq!(
            (shown.element("ID").as_deref(), shown.element("Status").as_deref()),
            (Some("logs"), Some("Enabled"))
        );
    }
    // To write objects is not to configure; what is not implemented is not taken in silence.
    is(&cluster.raw(0).send(&put_rules(BUCKET, &[days("x", "", 1)])).await?, 403, "AccessDenied");
    is(&cluster.raw(0).send(&delete).await?, 403, "AccessDenied");
    let moved = rule("m", "", "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>");
    is(&one.send(&put_rules(BUCKET, &[moved])).await?, 501, "NotImplemented");
    is(&one.send(&put_rules(BUCKET, &[days("x", "", 0)])).await?, 400, "InvalidArgument");
    is(&one.send(&put_rules(BUCKET, &[rule("x", "", "")])).await?, 400, "InvalidRequest");
    is(&one.send(&put_rules(BUCKET, &[])).await?, 400, "MalformedXML");
    is(&one.send(&put_rules(BUCKET, &[days("x", "<Unknown>1</Unknown>", 1)])).await?, 400, "MalformedXML");
    assert_eq!(
        one.send(&get).await?.element("Days").as_deref(),
        Some("30"),
        "none of these changed anything"
    );
    assert_eq!(one.send(&delete).await?.status, 204);
    cluster.knows(0, "no rule", || async { Ok(one.send(&get).await?.status == 404) }).await?;
    is(&one.send(&get).await?, 404, "NoSuchLifecycleConfiguration");
    assert_eq!(one.send(&delete).await?.status, 204, "nothing to delete is no error");

    // What the file declares is shown, and changed there only.
    cluster.reload(|config| {
        config["buckets"][0]["lifecycle"] = json!([{"id": "file", "prefix": "tmp/", "expire_after_days": 7}]);
    })?;
    wait::until("the declaration is served", || async {
        Ok(one.send(&get).await?.element("ID").as_deref() == Some("file"))
    })
    .await?;
    is(&one.send(&put_rules(BUCKET, &[days("x", "", 1)])).await?, 403, "AccessDenied");
    is(&one.send(&delete).await?, 403, "AccessDenied");
    set(&one, OTHER, &[days("other", "", 1)]).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_goes_and_nothing_else() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let (client, sdk) = (maker(&cluster, 0), cluster.s3(0));
    let old = "<Tag><Key>class</Key><Value>old</Value></Tag>";
    let and = "<And><Prefix>big/</Prefix><ObjectSizeGreaterThan>1000</ObjectSizeGreaterThan>\
               <Tag><Key>a</Key><Value>1</Value></Tag></And>";
    let rules = [
        days("logs", "<Prefix>logs/</Prefix>", 2),
        days("tagged", old, 1),
        days("and", and, 1),
        rule("off", "<Prefix>off/</Prefix>", "<Expiration><Days>1</Days></Expiration>")
            .replace("Enabled", "Disabled"),
        rule("date", "<Prefix>d/</Prefix>", "<Expiration><Date>2020-01-01T00:00:00Z</Date></Expiration>"),
    ];
    set(&client, BUCKET, &rules).await?;
    let put = async |key: &str, size: usize, tags: &str| {
        let put = sdk.put_object().bucket(BUCKET).key(key).tagging(tags);
        put.body(body(key, size).into()).send().await.expect("put");
    };
    for key in ["logs/1", "logs/2", "off/1", "plain"] {
        put(key, 10, "").await;
    }
    put("tagged", 10, "class=old&x=y").await;
    put("retagged", 10, "class=old").await;
    put("big/yes", 2000, "a=1&b=2").await;
    put("big/small", 1000, "a=1").await;
    put("big/other", 2000, "a=2").await;
    put("d/1", 10, "").await;
    let first = run_worker(&cluster, WORKER).await?;
    assert_eq!(of(&first, "expired"), 1, "a date that is over counts from the first day: {first:?}");
    age(&cluster, 2).await?;
    put("logs/2", 20, "").await;
    let tagging = sdk.put_object_tagging().bucket(BUCKET).key("retagged");
    tagging.tagging(aws_sdk_s3::types::Tagging::builder().set_tag_set(Some(vec![])).build()?).send().await?;
    let counts = run_worker(&cluster, WORKER).await?;
    assert_eq!(of(&counts, "expired"), 2, "{counts:?}");
    let left = ["big/other", "big/small", "logs/1", "logs/2", "off/1", "plain", "retagged"];
    assert_eq!(names(&cluster, BUCKET).await, left);
    age(&cluster, 1).await?;
    assert_eq!(of(&run_worker(&cluster, WORKER).await?, "expired"), 1, "only the one that is old enough");
    assert!(s3::get(&sdk, BUCKET, "logs/2").await.expect("read").is_some());
    assert!(s3::get(&sdk, BUCKET, "logs/1").await.expect("read").is_none());
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_markers_and_uploads() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let (sdk, client) = (cluster.s3(0), Raw::new(cluster.data[0].s3, KEY.0, KEY.1));
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    sdk.put_bucket_versioning().bucket(VERSIONED).versioning_configuration(enabled).send().await?;
    let noncurrent =
        "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
    let markers = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
    let uploads = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>\
                   </AbortIncompleteMultipartUpload>";
    let rules = [
        days("current", "", 3),
        rule("noncurrent", "", noncurrent),
        rule("markers", "", markers),
        rule("uploads", "", uploads),
    ];
    set(&client, VERSIONED, &rules).await?;
    s3::put(&sdk, VERSIONED, "k", body("one", 3000)).await.expect("put");
    s3::put(&sdk, VERSIONED, "k", body("two", 3000)).await.expect("put");
    let upload = sdk.create_multipart_upload().bucket(VERSIONED).key("u").send().await?;
    let part = sdk.upload_part().bucket(VERSIONED).key("u").upload_id(upload.upload_id().expect("an id"));
    part.part_number(1).body(body("part", 5000).into()).send().await?;
    age(&cluster, 2).await?;
    let counts = run_worker(&cluster, WORKER).await?;
    assert_eq!((of(&counts, "expired"), of(&counts, "uploads_aborted")), (1, 1), "{counts:?}");
    let list = async || sdk.list_object_versions().bucket(VERSIONED).send().await;
    assert_eq!(list().await?.versions().len(), 1, "the noncurrent one is gone");
    let two = s3::get(&sdk, VERSIONED, "k").await.expect("read").expect("there");
    assert_eq!(two.0, md5(&body("two", 3000)));
    assert!(sdk.list_multipart_uploads().bucket(VERSIONED).send().await?.uploads().is_empty());

    age(&cluster, 2).await?;
    assert_eq!(of(&run_worker(&cluster, WORKER).await?, "expired"), 1);
    let listed = list().await?;
    assert_eq!(
        (listed.versions().len(), listed.delete_markers().len()),
        (1, 1),
        "a marker, and what it hides"
    );
    assert!(s3::get(&sdk, VERSIONED, "k").await.expect("read").is_none());
    age(&cluster, 2).await?;
    // What the marker hid goes, and then, with the next pass, the marker.
    assert_eq!(of(&run_worker(&cluster, WORKER).await?, "expired"), 1);
    assert_eq!(of(&run_worker(&cluster, WORKER).await?, "expired"), 1);
    let listed = list().await?;
    assert!(listed.versions().is_empty() && listed.delete_markers().is_empty());
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_at_the_same_moment_is_never_lost() -> Result<()> {
    let sections = [("lifecycle".to_owned(), json!({"batch": 3}))].into_iter().collect();
    let options = Options { control_planes: 2, data_planes: 2, sections, ..Options::default() };
    let cluster = Cluster::start(options).await?;
    set(&maker(&cluster, 0), BUCKET, &[days("all", "", 1)]).await?;
    let (one, two) = (cluster.s3(0), cluster.s3(1));
    let keys: Vec<String> = (0..16).map(|n| format!("k{n:02}")).collect();
    for key in &keys {
        s3::put(&one, BUCKET, key, body(key, 3000)).await.expect("put");
    }
    let (mut expired, mut kept) = (0, 0);
    for round in 0..20 {
        age(&cluster, 2).await?;
        let writer = async {
            let mut last = HashMap::new();
            // From the other end, so that the two meet.
            for key in keys.iter().rev() {
                let put = s3::put(&two, BUCKET, key, body(&format!("{key} {round}"), 3000)).await;
                last.insert(key, put.expect("put"));
            }
            last
        };
        let (last, counts) = tokio::join!(writer, run_worker(&cluster, WORKER));
        let counts = counts?;
        (expired, kept) = (expired + of(&counts, "expired"), kept + of(&counts, "kept"));
        for key in &keys {
            let found = s3::head(&one, BUCKET, key).await.expect("answered");
            ensure!(
                found.is_some_and(|(etag, _)| etag == last[key]),
                "round {round}: {key} was written, and is gone"
            );
        }
    }
    println!("{expired} expired, {kept} were overwritten between look and delete");
    ensure!(expired > 0, "something expired meanwhile");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_was_cut_goes_on() -> Result<()> {
    let sections = [("lifecycle".to_owned(), json!({"batch": 1}))].into_iter().collect();
    let mut cluster = Cluster::start(Options { sections, ..Options::default() }).await?;
    set(&maker(&cluster, 0), BUCKET, &[days("all", "", 1)]).await?;
    let sdk = cluster.s3(0);
    let keys: Vec<String> = (0..60).map(|n| format!("k{n:02}")).collect();
    for key in &keys {
        s3::put(&sdk, BUCKET, key, body(key, 100)).await.expect("put");
    }
    age(&cluster, 2).await?;
    // However fast it is, it comes no further than this: its place is not saved.
    let stalls = "
        CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_sleep(3); RAISE EXCEPTION ''cut''; END';
        CREATE TRIGGER stall BEFORE UPDATE ON lifecycle_passes FOR EACH ROW WHEN (NEW.after_key >= 'k30')
            EXECUTE FUNCTION stall()";
    cluster.sql().await?.batch_execute(stalls).await?;
    let under_way = wait::until("a pass under way", || async {
        let place = "SELECT count(*) FROM lifecycle_passes WHERE after_key > 'k05'";
        Ok(cluster.sql().await?.query_one(place, &[]).await?.get::<_, i64>(0) == 1)
    });
    tokio::select! {
        // It has failed before it was seen: the pass was cut all the same.
        _ = run_worker(&cluster, WORKER) => {}
        seen = under_way => seen?,
    }
    cluster.control[0].process.kill()?;
    let left = cluster.sql().await?.query_one("SELECT count(*) FROM objects", &[]).await?.get::<_, i64>(0);
    ensure!((1..60).contains(&left), "it was cut in the middle, and {left} are left");
    cluster.sql().await?.batch_execute("DROP TRIGGER stall ON lifecycle_passes").await?;
    // Nobody has the place of the dead one's before its lease is over.
    cluster.sql().await?.batch_execute("UPDATE sessions SET deadline = now() - interval '1 s'").await?;
    cluster.start_control_plane(0).await?;
    wait::until("the pass is ended", || async {
        run_worker(&cluster, WORKER).await?;
        let left = "SELECT (SELECT count(*) FROM objects) + (SELECT count(*) FROM lifecycle_passes)";
        Ok(cluster.sql().await?.query_one(left, &[]).await?.get::<_, i64>(0) == 0)
    })
    .await?;
    cluster.finish().await
}
