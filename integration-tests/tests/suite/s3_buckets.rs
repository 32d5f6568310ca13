//! `CreateBucket` and `DeleteBucket` by keys that may, seen from every data plane at once; `PutBucketCors`.

use std::time::Duration;

use anyhow::{Result, ensure};
use s3o_integration_tests::config::{BUCKET, CORS_ORIGIN, KEY, MAKER, OTHER};
use s3o_integration_tests::raw::{Raw, Request, Response};
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::settle::{run_worker, settle};
use s3o_integration_tests::{Cluster, Options, wait};
use serde_json::json;

fn is(answer: &Response, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
}

fn maker(cluster: &Cluster, data: usize) -> Raw {
    Raw::new(cluster.data[data].s3, MAKER.0, MAKER.1)
}

async fn two_of_each() -> Result<Cluster> {
    Cluster::start(Options { control_planes: 2, data_planes: 2, ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn made_through_one_and_known_to_all() -> Result<()> {
    let cluster = two_of_each().await?;
    let (one, two) = (maker(&cluster, 0), maker(&cluster, 1));
    let create = |name: &str| Request::new("PUT", &format!("/{name}"));
    for n in 0..10 {
        let name = format!("made-{n}");
        let made = one.send(&create(&name)).await?;
        assert_eq!((made.status, made.header("location")), (200, Some(format!("/{name}").as_str())));
        // No waiting in between: the other data plane may not have heard of it.
        let head = two.send(&Request::new("HEAD", &format!("/{name}"))).await?;
        assert_eq!(head.status, 200, "{name}");
        let put = Request::new("PUT", &format!("/{name}/k")).body(b"x".to_vec());
        assert_eq!(two.send(&put).await?.status, 200);
        assert_eq!(one.send(&Request::new("GET", &format!("/{name}/k"))).await?.body, b"x");
    }
    assert_eq!(two.send(&create("made-0")).await?.status, 200, "it is its own, and in us-east-1");
    let with_lock = create("made-0").header("x-amz-bucket-object-lock-enabled", "true");
    is(&two.send(&with_lock).await?, 409, "BucketAlreadyOwnedByYou");
    assert_eq!(one.send(&Request::new("GET", "/made-0/k")).await?.body, b"x", "nothing of it was changed");
    let locked = create("made-locked").header("x-amz-bucket-object-lock-enabled", "true");
    for through in [&one, &two, &one] {
        assert_eq!(
            through.send(&locked).await?.status,
            200,
            "it has what is asked for, wherever it was made"
        );
    }
    is(&two.send(&create(BUCKET)).await?, 409, "BucketAlreadyExists");
    is(&two.send(&create("Upper.Case")).await?, 400, "InvalidBucketName");
    is(&two.send(&create("amzn-s3-demo-bucket")).await?, 400, "InvalidBucketName");
    let tagged = "<CreateBucketConfiguration><Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags></CreateBucketConfiguration>";
    is(&two.send(&create("made-tagged").body(tagged)).await?, 501, "NotImplemented");
    let elsewhere =
        "<CreateBucketConfiguration><LocationConstraint>x</LocationConstraint></CreateBucketConfiguration>";
    assert_eq!(
        one.send(&create("made-elsewhere").body(elsewhere)).await?.status,
        200,
        "no region is configured"
    );

    // Nobody else gets at them, nor may make any.
    let other = cluster.raw(0);
    is(&other.send(&Request::new("GET", "/made-0/k")).await?, 403, "AccessDenied");
    is(&other.send(&create("made-by-nobody")).await?, 403, "AccessDenied");
    assert_eq!(other.send(&create(BUCKET)).await?.status, 200, "the operator's is its own, too");
    is(&other.send(&Request::new("DELETE", "/made-0")).await?, 403, "AccessDenied");
    is(&one.send(&Request::new("GET", "/nowhere/k")).await?, 404, "NoSuchBucket");
    let client = s3::client(one.address, MAKER.0, MAKER.1, Duration::from_secs(60));
    let copy = client.copy_object().bucket("made-1").key("copied").copy_source("made-0/k");
    copy.send().await.expect("a copy between them");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_only_when_nothing_is_in_it() -> Result<()> {
    let cluster = two_of_each().await?;
    let (one, two) = (maker(&cluster, 0), maker(&cluster, 1));
    let (create, delete) = (Request::new("PUT", "/mine"), Request::new("DELETE", "/mine"));
    assert_eq!(one.send(&create).await?.status, 200);
    let key = "/mine/k";
    assert_eq!(one.send(&Request::new("PUT", key).body(body("k", 5000).to_vec())).await?.status, 200);
    is(&two.send(&delete).await?, 409, "BucketNotEmpty");
    assert_eq!(two.send(&Request::new("DELETE", key)).await?.status, 204);
    let upload =
        one.send(&Request::new("POST", "/mine/u?uploads=")).await?.element("UploadId").expect("an id");
    let part = Request::new("PUT", &format!("/mine/u?partNumber=1&uploadId={upload}"));
    assert_eq!(two.send(&part.body(body("u", 5000).to_vec())).await?.status, 200, "it goes with the bucket");

    // A body that is under way, held up after its Begin.
    let wire = one.wire(&Request::new("PUT", "/mine/slow").body(body("slow", 200_000).to_vec()));
    let mut slow = one.connect().await?;
    slow.write(&wire.head).await?;
    slow.write(&wire.body[..100_000]).await?;
    wait::until("an intent", || async { Ok(cluster.intents().await? == 1) }).await?;
    is(&two.send(&delete).await?, 409, "BucketNotEmpty");
    slow.write(&wire.body[100_000..]).await?;
    assert_eq!(slow.read().await?.status, 200);
    assert_eq!(one.send(&Request::new("DELETE", "/mine/slow")).await?.status, 204);

    assert_eq!(two.send(&delete).await?.status, 204);
    is(&two.send(&Request::new("GET", key)).await?, 404, "NoSuchBucket");
    is(&two.send(&delete).await?, 404, "NoSuchBucket");
    wait::until("the other data plane has heard", || async {
        Ok(one.send(&Request::new("HEAD", "/mine")).await?.status == 404)
    })
    .await?;
    // Its blobs are still to be deleted, and the name is free after that.
    is(&one.send(&create).await?, 409, "OperationAborted");
    ensure!(run_worker(&cluster, "stale_multipart").await?["aborted"] == 1);
    settle(&cluster).await?;
    // Its worker, which goes by itself, too, may have done so already.
    run_worker(&cluster, "bucket_retirer").await?;
    let retired = "SELECT count(*) FROM buckets WHERE name = 'mine' AND state = 'gone'";
    ensure!(cluster.sql().await?.query_one(retired, &[]).await?.get::<_, i64>(0) == 1);
    assert_eq!(one.send(&create).await?.status, 200);
    assert_eq!(one.send(&delete).await?.status, 204, "one that was never used is gone at once");
    assert_eq!(one.send(&create).await?.status, 200);
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_leaves_them_and_cannot_take_their_names() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let maker = maker(&cluster, 0);
    assert_eq!(maker.send(&Request::new("PUT", "/mine")).await?.status, 200);
    let put = Request::new("PUT", "/mine/k").body(b"x".to_vec());
    assert_eq!(maker.send(&put).await?.status, 200);
    cluster.reload(|config| {
        config["buckets"].as_array_mut().expect("a list").push(json!({"name": "declared"}));
    })?;
    let declared = Request::new("HEAD", "/declared");
    wait::until("the declaration is applied", || async { Ok(maker.send(&declared).await?.status == 403) })
        .await?;
    assert_eq!(maker.send(&put).await?.status, 200);
    cluster.reload(|config| {
        config["buckets"].as_array_mut().expect("a list").push(json!({"name": "mine"}));
    })?;
    wait::until("the log says who has the name", || async {
        let log = cluster.control[0].process.output();
        Ok(log.contains("`mine` was made through the S3 API by the access key") && log.contains(MAKER.0))
    })
    .await?;
    assert_eq!(maker.send(&Request::new("GET", "/mine/k")).await?.body, b"x");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_let_in_without_a_restart() -> Result<()> {
    let cluster = two_of_each().await?;
    let (one, two) = (maker(&cluster, 0), maker(&cluster, 1));
    let asks = async |raw: &Raw, bucket: &str| {
        let host = &raw.host;
        let text = format!(
            "OPTIONS /{bucket}/k HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\norigin: {CORS_ORIGIN}\r\n\
             access-control-request-method: DELETE\r\n\r\n"
        );
        anyhow::Ok(raw.send_bytes(text.as_bytes()).await?.status)
    };
    let rules = |origin: &str| {
        let rule = format!(
            "<CORSRule><AllowedOrigin>{origin}</AllowedOrigin><AllowedMethod>DELETE</AllowedMethod></CORSRule>"
        );
        Request::new("PUT", "/data?cors").body(format!("<CORSConfiguration>{rule}</CORSConfiguration>"))
    };
    assert_eq!(asks(&one, BUCKET).await?, 403);
    assert_eq!(one.send(&rules(CORS_ORIGIN)).await?.status, 200);
    cluster.knows(0, "a rule", || async { Ok(asks(&one, BUCKET).await? == 200) }).await?;
    wait::until("the other data plane knows", || async { Ok(asks(&two, BUCKET).await? == 200) }).await?;
    let got = two.send(&Request::new("GET", "/data?cors")).await?;
    assert_eq!(got.element("AllowedOrigin").as_deref(), Some(CORS_ORIGIN), "{}", got.text());

    is(&one.send(&rules("a b")).await?, 400, "InvalidRequest");
    let wrong = rules(CORS_ORIGIN).header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
    is(&one.send(&wrong).await?, 400, "BadDigest");
    is(&cluster.raw(0).send(&rules(CORS_ORIGIN)).await?, 403, "AccessDenied");
    let declared = Request { path: format!("/{OTHER}"), ..rules(CORS_ORIGIN) };
    let refused = one.send(&declared).await?;
    is(&refused, 403, "AccessDenied");
    assert!(refused.text().contains("configuration file"), "{}", refused.text());
    assert_eq!(cluster.raw(0).keys.access_key, KEY.0);

    for _ in 0..2 {
        assert_eq!(two.send(&Request::new("DELETE", "/data?cors")).await?.status, 204);
    }
    cluster.knows(1, "no rule", || async { Ok(asks(&two, BUCKET).await? == 403) }).await?;
    cluster.finish().await
}
