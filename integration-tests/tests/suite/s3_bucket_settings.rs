//! What tools ask of a bucket before they work: the answers of an ordinary new bucket whose owner owns all.

use anyhow::Result;
use s3o_integration_tests::config::{BUCKET, MAKER, READER};
use s3o_integration_tests::raw::{Raw, Request};
use s3o_integration_tests::{Cluster, Options};

/// Sub-resource, status, and the error's code or what the document says.
const ANSWERS: [(&str, u16, &str); 17] = [
    ("acl", 200, "<Permission>FULL_CONTROL</Permission>"),
    ("ownershipControls", 200, "<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>"),
    ("publicAccessBlock", 200, "<RestrictPublicBuckets>true</RestrictPublicBuckets>"),
    ("requestPayment", 200, "<Payer>BucketOwner</Payer>"),
    ("logging", 200, "<BucketLoggingStatus"),
    ("accelerate", 200, "<AccelerateConfiguration"),
    ("notification", 200, "<NotificationConfiguration"),
    ("versioning", 200, "<VersioningConfiguration"),
    ("encryption", 404, "ServerSideEncryptionConfigurationNotFoundError"),
    ("tagging", 404, "NoSuchTagSet"),
    ("policy", 404, "NoSuchBucketPolicy"),
    ("policyStatus", 404, "NoSuchBucketPolicy"),
    ("lifecycle", 404, "NoSuchLifecycleConfiguration"),
    ("website", 404, "NoSuchWebsiteConfiguration"),
    ("replication", 404, "ReplicationConfigurationNotFoundError"),
    ("object-lock", 404, "ObjectLockConfigurationNotFoundError"),
    ("cors", 404, "NoSuchCORSConfiguration"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_nothing_set() -> Result<()> {
    let cluster = Cluster::start(Options { backends: 1, ..Options::default() }).await?;
    let raw = cluster.raw(0);
    let reader = Raw::new(cluster.data[0].s3, READER.0, READER.1);
    for (resource, status, says) in ANSWERS {
        for client in [&raw, &reader] {
            let answer = client.send(&Request::new("GET", &format!("/{BUCKET}?{resource}"))).await?;
            assert_eq!(answer.status, status, "{resource}: {}", answer.text());
            assert!(answer.text().contains(says), "{resource}: {}", answer.text());
        }
        // Nothing is told of a bucket to whoever has no right to it, nor of one that is none.
        let none = raw.send(&Request::new("GET", &format!("/nowhere?{resource}"))).await?;
        assert_eq!(none.code(), "NoSuchBucket", "{resource}");
        let denied = reader.send(&Request::new("GET", &format!("/other?{resource}"))).await?;
        assert_eq!(denied.code(), "AccessDenied", "{resource}");
    }
    settings(&cluster).await?;
    acls(&raw).await?;
    attributes(&raw).await?;
    cluster.finish().await
}

/// What is so may be set, and what is not there may be deleted; nothing else.
async fn settings(cluster: &Cluster) -> Result<()> {
    let maker = Raw::new(cluster.data[0].s3, MAKER.0, MAKER.1);
    let at = |resource: &str| format!("/{BUCKET}?{resource}");
    for resource in ["ownershipControls", "publicAccessBlock", "requestPayment", "logging", "notification"] {
        let is = maker.send(&Request::new("GET", &at(resource))).await?;
        let same = Request::new("PUT", &at(resource)).body(is.body.clone());
        assert_eq!(maker.send(&same).await?.status, 200, "{resource}: {}", is.text());
        let reader = Raw::new(cluster.data[0].s3, READER.0, READER.1);
        assert_eq!(reader.send(&same).await?.code(), "AccessDenied", "{resource}");
    }
    let accelerate = "<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>";
    assert_eq!(maker.send(&Request::new("PUT", &at("accelerate")).body(accelerate)).await?.status, 200);
    let public = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>";
    let enabled = accelerate.replace("Suspended", "Enabled");
    for (resource, document, code) in [
        ("publicAccessBlock", public, "NotImplemented"),
        ("accelerate", enabled.as_str(), "NotImplemented"),
        ("accelerate", "<AccelerateConfiguration/>", "MalformedXML"),
        ("logging", "<BucketLoggingStatus><LoggingEnable/></BucketLoggingStatus>", "MalformedXML"),
        ("notification", "<NotificationConfiguration><Topic/></NotificationConfiguration>", "MalformedXML"),
        (
            "notification",
            "<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>",
            "NotImplemented",
        ),
    ] {
        let answer = maker.send(&Request::new("PUT", &at(resource)).body(document)).await?;
        assert_eq!(answer.code(), code, "{resource}: {document}");
    }
    for resource in ["policy", "tagging", "website", "replication", "encryption"] {
        assert_eq!(maker.send(&Request::new("DELETE", &at(resource))).await?.status, 204, "{resource}");
    }
    for resource in ["analytics", "intelligent-tiering", "inventory", "metrics"] {
        let none = maker.send(&Request::new("GET", &at(resource))).await?;
        assert_eq!(none.element("IsTruncated").as_deref(), Some("false"), "{resource}: {}", none.text());
    }
    owners(&maker).await
}

async fn owners(maker: &Raw) -> Result<()> {
    let acl = maker.send(&Request::new("GET", &format!("/{BUCKET}?acl"))).await?;
    let owner = acl.element("ID").expect("an owner");
    for (expected, code) in [(owner.as_str(), ""), ("123456789012", "AccessDenied")] {
        let location = Request::new("GET", &format!("/{BUCKET}?location"));
        let answer = maker.send(&location.header("x-amz-expected-bucket-owner", expected)).await?;
        assert_eq!(answer.code(), code, "{expected}: {}", answer.text());
    }
    Ok(())
}

async fn acls(raw: &Raw) -> Result<()> {
    assert_eq!(raw.send(&Request::new("GET", "/data/k?acl")).await?.code(), "NoSuchKey");
    assert_eq!(raw.send(&Request::new("PUT", "/data/k").body("hello")).await?.status, 200);
    for target in ["/data?acl", "/data/k?acl"] {
        let acl = raw.send(&Request::new("GET", target)).await?;
        assert!(acl.text().contains("xsi:type=\"CanonicalUser\""), "{target}: {}", acl.text());
        let back = raw.send(&Request::new("PUT", target).body(acl.body.clone())).await?;
        assert_eq!(back.status, 200, "{target}: {}", back.text());
        let canned = |acl: &str| Request::new("PUT", target).header("x-amz-acl", acl);
        assert_eq!(raw.send(&canned("private")).await?.status, 200, "{target}");
        let granted = Request::new("PUT", target).header("x-amz-grant-read", "id=\"x\"");
        for refused in [canned("public-read"), granted] {
            assert_eq!(raw.send(&refused).await?.code(), "AccessControlListNotSupported", "{target}");
        }
        let other = acl.text().replace("FULL_CONTROL", "READ");
        let other = raw.send(&Request::new("PUT", target).body(other)).await?;
        assert_eq!((other.status, other.code().as_str()), (400, "AccessControlListNotSupported"), "{target}");
    }
    Ok(())
}

async fn attributes(raw: &Raw) -> Result<()> {
    let put = Request::new("PUT", "/data/k").header("x-amz-checksum-crc32", "NhCmhg==").body("hello");
    assert_eq!(raw.send(&put).await?.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    let ask =
        |names: &str| Request::new("GET", "/data/k?attributes").header("x-amz-object-attributes", names);
    let all = raw.send(&ask("ETag,Checksum,ObjectParts,StorageClass,ObjectSize")).await?;
    assert_eq!(all.element("ETag").as_deref(), Some("5d41402abc4b2a76b9719d911017c592"));
    assert_eq!(all.element("ChecksumCRC32").as_deref(), Some("NhCmhg=="));
    assert_eq!(all.element("ChecksumType").as_deref(), Some("FULL_OBJECT"));
    assert_eq!(all.element("StorageClass").as_deref(), Some("STANDARD"));
    assert_eq!(all.element("ObjectSize").as_deref(), Some("5"));
    assert!(all.element("ObjectParts").is_none() && all.header("last-modified").is_some(), "{all:?}");
    let some = raw.send(&ask("ObjectSize")).await?;
    assert!(some.element("ETag").is_none() && some.element("Checksum").is_none(), "{}", some.text());
    assert_eq!(raw.send(&ask("Owner")).await?.code(), "InvalidArgument");
    let missing = Request::new("GET", "/data/none?attributes").header("x-amz-object-attributes", "ETag");
    assert_eq!(raw.send(&missing).await?.code(), "NoSuchKey");

    let copy = |algorithm: &str| {
        let copy = Request::new("PUT", "/data/copy").header("x-amz-copy-source", "data/k");
        copy.header("x-amz-checksum-algorithm", algorithm)
    };
    let copied = raw.send(&copy("CRC32")).await?;
    assert_eq!(copied.element("ChecksumCRC32").as_deref(), Some("NhCmhg=="), "{}", copied.text());
    let copied = raw.send(&copy("SHA256")).await?;
    let sha256 = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
    assert_eq!(copied.element("ChecksumSHA256").as_deref(), Some(sha256), "{}", copied.text());
    assert_eq!(copied.element("ChecksumType").as_deref(), Some("FULL_OBJECT"));
    let get = |range: bool| {
        let get = Request::new("GET", "/data/copy").header("x-amz-checksum-mode", "ENABLED");
        if range { get.header("range", "bytes=0-1") } else { get }
    };
    let whole = raw.send(&get(false)).await?;
    assert_eq!(whole.header("x-amz-checksum-sha256"), Some(sha256));
    assert_eq!(whole.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    assert_eq!(raw.send(&get(true)).await?.header("x-amz-checksum-sha256"), None);
    Ok(())
}
