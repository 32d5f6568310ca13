//! Object Lock on a whole system: what is locked stays, whoever asks; what may be changed is changed; what makes no sense is
//! refused by the right code.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    Delete, ObjectIdentifier, ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockMode,
    ObjectLockRetention, ObjectLockRetentionMode,
};
use s3o_integration_tests::config::{BUCKET, MAKER, VERSIONED};
use s3o_integration_tests::raw::{Raw, Request, Response};
use s3o_integration_tests::s3::{self, Failure, body};
use s3o_integration_tests::settle::run_worker;
use s3o_integration_tests::{Cluster, Options, wait};
use serde_json::{Value, json};

const VAULT: &str = "vault";
const DAY_S: u64 = 24 * 60 * 60;
/// Of `x`, as a PUT with a lock must say it.
const MD5_OF_X: &str = "ndTkYSaMgDT1yFZOFVxnpg==";

fn maker(cluster: &Cluster, data: usize) -> Raw {
    Raw::new(cluster.data[data].s3, MAKER.0, MAKER.1)
}

fn client(cluster: &Cluster, data: usize) -> Client {
    s3::client(cluster.data[data].s3, MAKER.0, MAKER.1, Duration::from_secs(60))
}

fn is(answer: &Response, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
}

/// Whole seconds, some days from now.
fn in_days(days: u64) -> DateTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    DateTime::from_secs(i64::try_from(now + days * DAY_S).expect("a time"))
}

async fn cluster() -> Result<Cluster> {
    let cluster = Cluster::start(Options { control_planes: 2, data_planes: 2, ..Options::default() }).await?;
    let create = Request::new("PUT", &format!("/{VAULT}")).header("x-amz-bucket-object-lock-enabled", "true");
    let made = maker(&cluster, 0).send(&create).await?;
    ensure!(made.status == 200, "{}", made.text());
    Ok(cluster)
}

/// A PUT with a lock has to say a digest.
fn put_to(
    client: &Client,
    bucket: &str,
    key: &str,
) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
    let body = body(key, 2000);
    let put = client.put_object().bucket(bucket).key(key).content_md5(s3::content_md5(&body));
    put.body(ByteStream::from(body))
}

fn put(client: &Client, key: &str) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
    put_to(client, VAULT, key)
}

async fn remove(client: &Client, key: &str, version: &str, bypass: bool) -> Result<(), (u16, String)> {
    let delete = client.delete_object().bucket(VAULT).key(key).version_id(version);
    let done = delete.bypass_governance_retention(bypass).send().await;
    done.map(|_| ()).map_err(|error| answer(Failure::of(&error)))
}

fn answer(failure: Failure) -> (u16, String) {
    match failure {
        Failure::Answer { status, code } => (status, code),
        silence @ Failure::Silence(_) => panic!("{silence:?}"),
    }
}

async fn retain(
    client: &Client,
    (key, version): (&str, &str),
    mode: ObjectLockRetentionMode,
    until: DateTime,
) -> Result<(), (u16, String)> {
    let retention = ObjectLockRetention::builder().mode(mode).retain_until_date(until).build();
    let put = client.put_object_retention().bucket(VAULT).key(key).version_id(version).retention(retention);
    put.send().await.map(|_| ()).map_err(|error| answer(Failure::of(&error)))
}

async fn hold(
    client: &Client,
    (key, version): (&str, &str),
    status: ObjectLockLegalHoldStatus,
) -> Result<()> {
    let hold = ObjectLockLegalHold::builder().status(status).build();
    client.put_object_legal_hold().bucket(VAULT).key(key).version_id(version).legal_hold(hold).send().await?;
    Ok(())
}

fn denied() -> (u16, String) {
    (403, "AccessDenied".to_owned())
}

/// As if so many days had passed.
async fn pass(cluster: &Cluster, days: i32) -> Result<()> {
    let sql = cluster.sql().await?;
    for table in ["objects", "object_versions"] {
        let update = format!(
            "UPDATE {table} SET modified = modified - make_interval(days => $1),
                                retain_until = retain_until - make_interval(days => $1)"
        );
        sql.execute(&update, &[&days]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_stays_until_its_time() -> Result<()> {
    let cluster = cluster().await?;
    let (one, two) = (client(&cluster, 0), client(&cluster, 1));
    let until = in_days(30);
    let written = put(&one, "k").object_lock_mode(ObjectLockMode::Compliance);
    let written = written.object_lock_retain_until_date(until).send().await?;
    let version = written.version_id().expect("a version id").to_owned();
    let head = two.head_object().bucket(VAULT).key("k").send().await?;
    ensure!(head.object_lock_mode() == Some(&ObjectLockMode::Compliance));
    ensure!(
        head.object_lock_retain_until_date() == Some(&until),
        "{:?}",
        head.object_lock_retain_until_date()
    );
    ensure!(head.object_lock_legal_hold_status().is_none(), "nothing was said of it");
    let got = two.get_object_retention().bucket(VAULT).key("k").version_id(&version).send().await?;
    let got = got.retention().expect("a retention");
    ensure!(got.retain_until_date() == Some(&until));

    ensure!(remove(&two, "k", &version, false).await == Err(denied()));
    ensure!(remove(&two, "k", &version, true).await == Err(denied()), "nobody shortens compliance");
    let shorter = retain(&one, ("k", &version), ObjectLockRetentionMode::Compliance, in_days(29)).await;
    ensure!(shorter == Err(denied()));
    let weaker = retain(&one, ("k", &version), ObjectLockRetentionMode::Governance, in_days(60)).await;
    ensure!(weaker == Err(denied()));
    retain(&one, ("k", &version), ObjectLockRetentionMode::Compliance, in_days(40)).await.expect("longer");

    // Who made the bucket may end what is governed, and has to say so.
    let governed = put(&one, "governed").object_lock_mode(ObjectLockMode::Governance);
    let governed = governed.object_lock_retain_until_date(until).send().await?;
    let governed = governed.version_id().expect("a version id");
    ensure!(remove(&two, "governed", governed, false).await == Err(denied()));
    remove(&two, "governed", governed, true).await.expect("its owner");

    // It can be hidden; of several, those that may go do.
    let hidden = two.delete_object().bucket(VAULT).key("k").send().await?;
    ensure!(hidden.delete_marker() == Some(true));
    let free = put(&one, "free").send().await?.version_id().expect("a version id").to_owned();
    let named = |key: &str, version: &str| ObjectIdentifier::builder().key(key).version_id(version).build();
    let both = Delete::builder().objects(named("k", &version)?).objects(named("free", &free)?).build()?;
    let done = one.delete_objects().bucket(VAULT).delete(both).send().await?;
    ensure!(done.deleted().len() == 1 && done.deleted()[0].key() == Some("free"), "{done:?}");
    let errors: Vec<_> = done.errors().iter().map(|error| (error.key(), error.code())).collect();
    ensure!(errors == [(Some("k"), Some("AccessDenied"))], "{errors:?}");
    let marker = hidden.version_id().expect("its id").to_owned();
    remove(&one, "k", &marker, false).await.expect("a marker is never locked");

    // A hold outlasts the retention.
    hold(&two, ("k", &version), ObjectLockLegalHoldStatus::On).await?;
    pass(&cluster, 41).await?;
    ensure!(remove(&one, "k", &version, false).await == Err(denied()));
    hold(&one, ("k", &version), ObjectLockLegalHoldStatus::Off).await?;
    let off = two.get_object_legal_hold().bucket(VAULT).key("k").version_id(&version).send().await?;
    let status = off.legal_hold().and_then(|hold| hold.status());
    ensure!(status == Some(&ObjectLockLegalHoldStatus::Off));
    remove(&two, "k", &version, false).await.expect("its time has come");
    ensure!(s3::get(&one, VAULT, "k").await.expect("answered").is_none());
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_retain_by_themselves_and_rules_wait() -> Result<()> {
    let cluster = cluster().await?;
    let (raw, one) = (maker(&cluster, 0), client(&cluster, 1));
    let configuration = |rule: &str| {
        let document = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
        );
        Request::new("PUT", &format!("/{VAULT}?object-lock=")).body(document)
    };
    let rule = |mode: &str, period: &str| {
        format!("<Rule><DefaultRetention><Mode>{mode}</Mode>{period}</DefaultRetention></Rule>")
    };
    for (period, code) in [
        ("<Days>0</Days>", "InvalidRetentionPeriod"),
        ("<Years>101</Years>", "InvalidRetentionPeriod"),
        ("<Days>1</Days><Years>1</Years>", "MalformedXML"),
        ("", "MalformedXML"),
    ] {
        is(&raw.send(&configuration(&rule("GOVERNANCE", period))).await?, 400, code);
    }
    is(&raw.send(&configuration(&rule("SOFT", "<Days>1</Days>"))).await?, 400, "MalformedXML");
    let set = raw.send(&configuration(&rule("GOVERNANCE", "<Days>5</Days>"))).await?;
    ensure!(set.status == 200, "{}", set.text());
    let get = Request::new("GET", &format!("/{VAULT}?object-lock="));
    let shown = || async {
        let shown = raw.send(&get).await?;
        Ok(shown.element("Days").as_deref() == Some("5") && shown.element("Years").is_none())
    };
    cluster.knows(0, "a default retention", shown).await?;
    // Versioning is not to be suspended any more.
    let suspend = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let suspend = Request::new("PUT", &format!("/{VAULT}?versioning=")).body(suspend);
    is(&raw.send(&suspend).await?, 409, "InvalidBucketState");

    let first = put(&one, "k").send().await?.version_id().expect("a version id").to_owned();
    let head = one.head_object().bucket(VAULT).key("k").send().await?;
    ensure!(head.object_lock_mode() == Some(&ObjectLockMode::Governance));
    let until = head.object_lock_retain_until_date().expect("a date").secs();
    let wanted = in_days(5).secs();
    ensure!((wanted - 60..=wanted + 2).contains(&until), "{until} is not {wanted}");
    // A copy has its own.
    let copied = one.copy_object().bucket(VAULT).key("copy").copy_source(format!("{VAULT}/k"));
    let copied = copied.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On).send().await?;
    ensure!(copied.version_id().is_some());
    let head = one.head_object().bucket(VAULT).key("copy").send().await?;
    ensure!(head.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On));
    ensure!(head.object_lock_mode() == Some(&ObjectLockMode::Governance));

    // A rule takes what is due and not locked.
    put(&one, "k").send().await?;
    let rules = "<LifecycleConfiguration><Rule><ID>old</ID><Status>Enabled</Status><Filter/>\
                 <NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>\
                 </Rule></LifecycleConfiguration>";
    let rules = Request::new("PUT", &format!("/{VAULT}?lifecycle=")).body(rules);
    ensure!(raw.send(&rules).await?.status == 200);
    pass(&cluster, 3).await?;
    let counts = run_worker(&cluster, "lifecycle").await?;
    ensure!(!counts.contains_key("expired") && !counts.contains_key("failed"), "{counts:?}");
    pass(&cluster, 4).await?;
    let counts = run_worker(&cluster, "lifecycle").await?;
    ensure!(counts.get("expired") == Some(&1), "{counts:?}");
    ensure!(remove(&one, "k", &first, false).await.is_ok(), "it is gone");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn governance_is_bypassed_by_the_right_to_it() -> Result<()> {
    let cluster = cluster().await?;
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let enable = Request::new("PUT", &format!("/{VERSIONED}?versioning=")).body(enable);
    ensure!(cluster.raw(0).send(&enable).await?.status == 200);
    let configuration =
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    let lock = Request::new("PUT", &format!("/{VERSIONED}?object-lock="));
    let set = cluster.raw(0).send(&lock.body(configuration)).await?;
    ensure!(set.status == 200, "{}", set.text());
    let writer = cluster.s3(0);
    let written = put_to(&writer, VERSIONED, "k").object_lock_mode(ObjectLockMode::Governance);
    let written = written.object_lock_retain_until_date(in_days(9)).send().await?;
    let version = written.version_id().expect("a version id").to_owned();
    let delete = Request::new("DELETE", &format!("/{VERSIONED}/k?versionId={version}"));
    let bypass = delete.clone().header("x-amz-bypass-governance-retention", "true");
    is(&cluster.raw(0).send(&bypass).await?, 403, "AccessDenied");
    cluster.reload(|config| {
        let access = json!(["read", "write", "list", "delete", "bypass_governance"]);
        let grants = config["credentials"][3]["grants"].as_array_mut().expect("grants");
        grants.push(json!({"bucket": VERSIONED, "access": access}));
    })?;
    let raw = maker(&cluster, 1);
    wait::until("the grant is served", || async {
        Ok(raw.send(&Request::new("HEAD", &format!("/{VERSIONED}/k"))).await?.status == 200)
    })
    .await?;
    is(&raw.send(&delete).await?, 403, "AccessDenied");
    ensure!(raw.send(&bypass.header("x-request-id", "bypassed")).await?.status == 204);
    wait::until("the audit entry of the bypass", || async {
        let output = cluster.data[1].process.output();
        let mut lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.any(|line| {
            let is_delete = line["msg"] == "storage.DeleteObject" && line["request_id"] == "bypassed";
            is_delete && line["version"] == version.as_str() && line["bypass"] == true
        }))
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused() -> Result<()> {
    let cluster = cluster().await?;
    let raw = maker(&cluster, 0);
    let put = |bucket: &str| {
        Request::new("PUT", &format!("/{bucket}/k")).body(b"x".to_vec()).header("content-md5", MD5_OF_X)
    };
    let hold = |request: Request| request.header("x-amz-object-lock-legal-hold", "ON");
    is(&cluster.raw(0).send(&hold(put(BUCKET))).await?, 400, "InvalidRequest");
    let bare = Request::new("PUT", &format!("/{VAULT}/k")).body(b"x".to_vec());
    is(&raw.send(&hold(bare)).await?, 400, "InvalidRequest");
    ensure!(raw.send(&hold(put(VAULT))).await?.status == 200);
    for (mode, date) in [
        (Some("GOVERNANCE"), None),
        (None, Some("2100-01-01T00:00:00Z")),
        (Some("SOFT"), Some("2100-01-01T00:00:00Z")),
        (Some("COMPLIANCE"), Some("2001-01-01T00:00:00Z")),
    ] {
        let mut request = put(VAULT);
        for (name, value) in [("mode", mode), ("retain-until-date", date)] {
            if let Some(value) = value {
                request = request.header(&format!("x-amz-object-lock-{name}"), value);
            }
        }
        is(&raw.send(&request).await?, 400, "InvalidArgument");
    }
    let get = |bucket: &str, what: &str| Request::new("GET", &format!("/{bucket}{what}"));
    is(
        &cluster.raw(0).send(&get(BUCKET, "?object-lock=")).await?,
        404,
        "ObjectLockConfigurationNotFoundError",
    );
    ensure!(
        cluster.raw(0).send(&Request::new("PUT", &format!("/{BUCKET}/k")).body(b"x".to_vec())).await?.status
            == 200
    );
    is(&cluster.raw(0).send(&get(BUCKET, "/k?retention=")).await?, 400, "InvalidRequest");
    is(&raw.send(&get(VAULT, "/k?retention=")).await?, 404, "NoSuchObjectLockConfiguration");
    ensure!(raw.send(&get(VAULT, "/k?legal-hold=")).await?.element("Status").as_deref() == Some("ON"));
    let plain = raw.send(&Request::new("PUT", &format!("/{VAULT}/plain")).body(b"x".to_vec())).await?;
    ensure!(plain.status == 200);
    is(&raw.send(&get(VAULT, "/plain?legal-hold=")).await?, 404, "NoSuchObjectLockConfiguration");
    let document = |what: &str, xml: &str| Request::new("PUT", &format!("/{VAULT}/plain?{what}=")).body(xml);
    let half = "<Retention><Mode>GOVERNANCE</Mode></Retention>";
    is(&raw.send(&document("retention", half)).await?, 400, "MalformedXML");
    is(&raw.send(&document("legal-hold", "<LegalHold/>")).await?, 400, "MalformedXML");
    // A name that is not known is no retention, even for whoever means that there be none.
    let misspelt = "<Retention><Mod>GOVERNANCE</Mod></Retention>";
    let misspelt = document("retention", misspelt).header("x-amz-bypass-governance-retention", "true");
    let refused = raw.send(&misspelt).await?;
    is(&refused, 400, "MalformedXML");
    ensure!(refused.text().contains("Mod"), "{}", refused.text());
    let marked = raw.send(&Request::new("DELETE", &format!("/{VAULT}/plain"))).await?;
    let marker = marked.header("x-amz-version-id").expect("its id").to_owned();
    let on_marker = format!("/{VAULT}/plain?legal-hold=&versionId={marker}");
    let on_marker = Request::new("PUT", &on_marker).body("<LegalHold><Status>ON</Status></LegalHold>");
    let refused = raw.send(&on_marker).await?;
    is(&refused, 405, "MethodNotAllowed");
    ensure!(refused.header("x-amz-delete-marker") == Some("true"), "{refused:?}");
    for what in ["retention", "legal-hold"] {
        let named = raw.send(&get(VAULT, &format!("/plain?{what}=&versionId={marker}"))).await?;
        is(&named, 405, "MethodNotAllowed");
        let hidden = raw.send(&get(VAULT, &format!("/plain?{what}="))).await?;
        is(&hidden, 404, "NoSuchKey");
        let told = [&named, &hidden].map(|answer| answer.header("x-amz-delete-marker"));
        ensure!(told == [Some("true"); 2], "{named:?} {hidden:?}");
    }
    let lock =
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    let lock = |bucket: &str| Request::new("PUT", &format!("/{bucket}?object-lock=")).body(lock);
    is(&raw.send(&lock(BUCKET)).await?, 409, "InvalidBucketState");
    is(&cluster.raw(0).send(&lock(BUCKET)).await?, 403, "AccessDenied");
    cluster.finish().await
}
