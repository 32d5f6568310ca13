//! Multipart uploads as S3 has them (API reference: `CreateMultipartUpload`, `UploadPart`, `UploadPartCopy`,
//! `ListParts`, `ListMultipartUploads`, `CompleteMultipartUpload`, `AbortMultipartUpload`; User Guide, "Checking
//! object integrity").

use anyhow::Result;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::upload_part::UploadPartOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
    GetObjectAttributesParts, MultipartUpload, ObjectAttributes, Part,
};
use bytes::Bytes;
use s3o_integration_tests::config::{BUCKET, OTHER, READER};
use s3o_integration_tests::multipart::Upload;
use s3o_integration_tests::s3::{self, Failure, body, md5};
use s3o_integration_tests::{Cluster, Options, wait};
use s3o_testkit::s3server::{Fault, Operation, Rule};

fn is(status: u16, code: &str) -> Failure {
    Failure::Answer { status, code: code.to_owned() }
}

/// The ETag that S3 gives to an object of these parts.
fn etag_of(parts: &[Bytes]) -> String {
    let joined: Vec<u8> = parts.iter().flat_map(|part| hex::decode(md5(part)).expect("hex")).collect();
    format!("{}-{}", md5(&joined), parts.len())
}

/// An object of parts of these sizes; its bytes.
async fn made(client: &Client, key: &str, sizes: &[usize]) -> (Vec<Bytes>, Bytes) {
    let upload = Upload::open(client, key).await.expect("open");
    let bodies: Vec<Bytes> =
        sizes.iter().enumerate().map(|(n, size)| body(&format!("{key} {n}"), *size)).collect();
    let mut parts = Vec::new();
    for (n, bytes) in (1..).zip(&bodies) {
        parts.push((n, upload.put(client, n, bytes.clone()).await.expect("part")));
    }
    assert_eq!(upload.complete(client, &parts).await.expect("complete"), etag_of(&bodies));
    let whole = Bytes::from(bodies.concat());
    (bodies, whole)
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_an_object() -> Result<()> {
    let cluster = Cluster::start(Options { routing: "spread", backends: 3, ..Options::default() }).await?;
    let client = cluster.s3(0);
    in_any_order(&client).await?;
    ranges_and_parts(&client).await?;
    wrong_lists(&client).await;
    repeats(&client).await;
    conditions(&client).await;
    copies(&client).await?;
    cluster.finish().await
}

/// Any order, gaps, uneven sizes, one part twice, one left out.
async fn in_any_order(client: &Client) -> Result<()> {
    let create = client.create_multipart_upload().bucket(BUCKET).key("any").content_type("text/x");
    let created = create.metadata("a", "1").tagging("t=1").send().await?;
    let upload = Upload { key: "any".into(), id: created.upload_id().expect("an id").to_owned() };
    let bodies = [body("seven", 5000), body("two", 2000), body("nine", 3)];
    let unlisted = upload.put(client, 8, body("eight", 9000)).await.expect("part");
    let seven = upload.put(client, 7, bodies[0].clone()).await.expect("part");
    upload.put(client, 2, body("two, but not yet", 4000)).await.expect("part");
    let two = upload.put(client, 2, bodies[1].clone()).await.expect("part");
    let nine = upload.put(client, 9, bodies[2].clone()).await.expect("part");
    assert_eq!((&two, &unlisted), (&md5(&bodies[1]), &md5(&body("eight", 9000))));
    let stored = upload.parts(client).await.expect("list");
    assert_eq!(stored, [(2, two.clone()), (7, seven.clone()), (8, unlisted), (9, nine.clone())]);
    assert_eq!(s3::get(client, BUCKET, "any").await.expect("get"), None, "nothing is seen of parts");

    let parts = [bodies[1].clone(), bodies[0].clone(), bodies[2].clone()];
    let etag = upload.complete(client, &[(2, two), (7, seven), (9, nine)]).await.expect("complete");
    assert_eq!(etag, etag_of(&parts));
    let (found, bytes) = s3::get(client, BUCKET, "any").await.expect("get").expect("it exists");
    assert_eq!((found, bytes), (etag.clone(), Bytes::from(parts.concat())));
    let head = client.head_object().bucket(BUCKET).key("any").send().await?;
    assert_eq!((head.content_type(), head.content_length()), (Some("text/x"), Some(7003)));
    assert_eq!(head.metadata().expect("metadata")["a"], "1");
    let object = client.get_object().bucket(BUCKET).key("any").send().await?;
    assert_eq!((object.tag_count(), object.parts_count()), (Some(1), None), "S3 says it of parts only");
    let third = client.get_object().bucket(BUCKET).key("any").part_number(3).send().await?;
    assert_eq!((third.parts_count(), third.content_range()), (Some(3), Some("bytes 7000-7002/7003")));
    assert_eq!(s3::list(client, BUCKET, "any").await.expect("list"), [("any".to_owned(), etag)]);
    Ok(())
}

async fn ranges_and_parts(client: &Client) -> Result<()> {
    let (bodies, whole) = made(client, "ranges", &[2000, 1024, 5000, 7]).await;
    let cases = ["0-0", "1999-2000", "0-", "-1", "-8", "2000-3023", "1500-7000", "8030-9999", "3024-"];
    for range in cases {
        let got = client.get_object().bucket(BUCKET).key("ranges").range(format!("bytes={range}"));
        let bytes = got.send().await?.body.collect().await?.into_bytes();
        let (from, to) = range.split_once('-').expect("a range");
        let end = whole.len();
        let (start, stop) = match (from.parse::<usize>(), to.parse::<usize>()) {
            (Ok(from), Ok(to)) => (from, (to + 1).min(end)),
            (Ok(from), Err(_)) => (from, end),
            (Err(_), Ok(last)) => (end - last, end),
            (Err(_), Err(_)) => unreachable!("a range has a bound"),
        };
        assert_eq!(bytes, whole.slice(start..stop), "{range}");
    }
    for (number, part) in (1..).zip(&bodies) {
        let got = client.get_object().bucket(BUCKET).key("ranges").part_number(number).send().await?;
        assert_eq!(got.parts_count(), Some(4));
        assert!(got.content_range().expect("a range").ends_with(&format!("/{}", whole.len())));
        assert_eq!(got.body.collect().await?.into_bytes(), part);
        let head = client.head_object().bucket(BUCKET).key("ranges").part_number(number).send().await?;
        assert_eq!(head.content_length(), i64::try_from(part.len()).ok());
    }
    let none = client.get_object().bucket(BUCKET).key("ranges").part_number(5).send().await;
    assert_eq!(Failure::of(&none.expect_err("there are four")), is(416, "InvalidPartNumber"));
    let both =
        client.get_object().bucket(BUCKET).key("ranges").part_number(1).range("bytes=0-1").send().await;
    assert_eq!(Failure::of(&both.expect_err("one or the other")), is(400, "InvalidRequest"));
    // An empty last part is none of the object's bytes.
    made(client, "empty-end", &[2000, 0]).await;
    let empty = client.get_object().bucket(BUCKET).key("empty-end").part_number(2).send().await?;
    assert_eq!((empty.content_length(), empty.parts_count()), (Some(0), Some(2)));
    assert!(empty.body.collect().await?.into_bytes().is_empty());
    s3::put(client, BUCKET, "simple", body("simple", 10)).await.expect("put");
    let first = client.get_object().bucket(BUCKET).key("simple").part_number(1).send().await?;
    assert_eq!((first.parts_count(), first.content_length()), (None, Some(10)));
    assert_eq!(first.content_range(), Some("bytes 0-9/10"));
    let attributes = client.get_object_attributes().bucket(BUCKET).key("ranges");
    let attributes = attributes.object_attributes(ObjectAttributes::ObjectParts).send().await?;
    assert_eq!(attributes.object_parts().and_then(GetObjectAttributesParts::total_parts_count), Some(4));
    Ok(())
}

/// The next part is asked for before this one has come: a stall in the first one keeps nobody waiting for the second.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_part_is_asked_for_ahead() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    made(&client, "ahead", &[200_000, 100_000, 100_000]).await;
    let server = &cluster.backends[0].server;
    let extent = |n: u32| {
        let end = format!("{n:03}000");
        server.keys().into_iter().find(|key| key.contains("ahead~") && key.ends_with(&end)).expect("a part")
    };
    server.inject(Rule::new(Fault::StallSending { after: 1000 }).on(Operation::Get).key_contains(&extent(1)));
    let asked = server.count(Operation::Get);
    let reading = client.get_object().bucket(BUCKET).key("ahead").send().await?;
    wait::until("a request for the second part", || async { Ok(server.count(Operation::Get) == asked + 2) })
        .await?;
    drop(reading);
    server.heal();
    let (_, bytes) = s3::get(&client, BUCKET, "ahead").await.expect("get").expect("it is there");
    assert_eq!(bytes.len(), 400_000);
    cluster.finish().await
}

async fn wrong_lists(client: &Client) {
    let upload = Upload::open(client, "wrong").await.expect("open");
    let one = upload.put(client, 1, body("one", 1500)).await.expect("part");
    let two = upload.put(client, 2, body("two", 10)).await.expect("part");
    let three = upload.put(client, 3, body("three", 10)).await.expect("part");
    let complete = |parts: &[(i32, &String)]| {
        let parts: Vec<(i32, String)> = parts.iter().map(|(n, etag)| (*n, (*etag).clone())).collect();
        let upload = upload.clone();
        async move { upload.complete(client, &parts).await }
    };
    assert_eq!(complete(&[(2, &two), (1, &one)]).await, Err(is(400, "InvalidPartOrder")));
    assert_eq!(complete(&[(1, &one), (1, &one)]).await, Err(is(400, "InvalidPartOrder")));
    assert_eq!(complete(&[(1, &two)]).await, Err(is(400, "InvalidPart")), "a wrong ETag");
    assert_eq!(complete(&[(1, &one), (4, &two)]).await, Err(is(400, "InvalidPart")), "no such part");
    assert_eq!(complete(&[]).await, Err(is(400, "MalformedXML")));
    assert_eq!(complete(&[(1, &one), (2, &two), (3, &three)]).await, Err(is(400, "EntityTooSmall")));
    let sized =
        upload.completing(client, &[(1, one.clone()), (2, two.clone())]).mpu_object_size(7).send().await;
    assert_eq!(Failure::of(&sized.expect_err("another size")), is(400, "InvalidRequest"));
    assert!(complete(&[(1, &one), (2, &two)]).await.is_ok(), "it was open all the time");

    let unknown = Upload { key: "wrong".into(), id: "nonsense".into() };
    assert_eq!(unknown.put(client, 1, body("x", 1)).await, Err(is(404, "NoSuchUpload")));
    assert_eq!(unknown.complete(client, &[(1, one.clone())]).await, Err(is(404, "NoSuchUpload")));
    assert_eq!(unknown.abort(client).await, Err(is(404, "NoSuchUpload")));
    assert_eq!(unknown.parts(client).await, Err(is(404, "NoSuchUpload")));
    let elsewhere =
        Upload { key: "elsewhere".into(), id: Upload::open(client, "wrong").await.expect("open").id };
    assert_eq!(elsewhere.put(client, 1, body("x", 1)).await, Err(is(404, "NoSuchUpload")));
    Upload { key: "wrong".into(), ..elsewhere }.abort(client).await.expect("abort");
    let open = Upload::open(client, "numbers").await.expect("open");
    for number in [0, 10_001, -1] {
        assert_eq!(open.put(client, number, body("x", 1)).await, Err(is(400, "InvalidArgument")), "{number}");
    }
    open.abort(client).await.expect("abort");
    assert_eq!(open.put(client, 1, body("x", 1)).await, Err(is(404, "NoSuchUpload")));
    assert_eq!(open.parts(client).await, Err(is(404, "NoSuchUpload")));
}

async fn repeats(client: &Client) {
    let upload = Upload::open(client, "repeat").await.expect("open");
    let one = upload.put(client, 1, body("one", 1500)).await.expect("part");
    let first = upload.complete(client, &[(1, one.clone())]).await.expect("complete");
    assert!(first.ends_with("-1"));
    s3::put(client, BUCKET, "repeat", body("newer", 9)).await.expect("put");
    assert_eq!(upload.complete(client, &[(1, one.clone())]).await.expect("again"), first);
    let (etag, _) = s3::get(client, BUCKET, "repeat").await.expect("get").expect("it exists");
    assert_eq!(etag, md5(&body("newer", 9)), "a repeat changes nothing");
    let others = upload.complete(client, &[(1, md5(b"another"))]).await;
    assert_eq!(others, Err(is(404, "NoSuchUpload")));
    assert_eq!(upload.abort(client).await, Err(is(404, "NoSuchUpload")));
}

async fn conditions(client: &Client) {
    let open = || async {
        let upload = Upload::open(client, "cond").await.expect("open");
        let part = upload.put(client, 1, body("cond", 10)).await.expect("part");
        (upload, vec![(1, part)])
    };
    let failure = |result: Result<_, _>| result.map(|_| ()).map_err(|error| Failure::of(&error));
    let (upload, parts) = open().await;
    let missing = upload.completing(client, &parts).if_match("\"x\"").send().await;
    assert_eq!(failure(missing), Err(is(404, "NoSuchKey")));
    let absent = upload.completing(client, &parts).if_none_match("*").send().await;
    assert_eq!(failure(absent), Ok(()));
    let (upload, parts) = open().await;
    let absent = upload.completing(client, &parts).if_none_match("*").send().await;
    assert_eq!(failure(absent), Err(is(412, "PreconditionFailed")));
    let (etag, _) = s3::head(client, BUCKET, "cond").await.expect("head").expect("it exists");
    let matches = upload.completing(client, &parts).if_match(format!("\"{etag}\"")).send().await;
    assert_eq!(failure(matches), Ok(()), "it stayed open");
}

async fn copies(client: &Client) -> Result<()> {
    let (_, whole) = made(client, "source", &[4000, 3000, 10]).await;
    // A copy comes whole: its ETag is the MD5.
    assert_eq!(s3::copy(client, BUCKET, "source", "copied").await.expect("copy"), md5(&whole));
    let (etag, bytes) = s3::get(client, BUCKET, "copied").await.expect("get").expect("it exists");
    assert_eq!((etag, bytes), (md5(&whole), whole.clone()));

    let upload = Upload::open(client, "pieced").await.expect("open");
    let copy = |number: i32, from: &str, range: Option<&str>| {
        let source = format!("{BUCKET}/{from}");
        let call = client.upload_part_copy().bucket(BUCKET).key("pieced").upload_id(&upload.id);
        let call = call.part_number(number).copy_source(source);
        call.set_copy_source_range(range.map(ToOwned::to_owned)).send()
    };
    let etag = |done: &aws_sdk_s3::operation::upload_part_copy::UploadPartCopyOutput| {
        s3::unquoted(done.copy_part_result().and_then(|result| result.e_tag()))
    };
    let one = etag(&copy(1, "source", Some("bytes=3999-6999")).await?);
    assert_eq!(one, md5(&whole[3999..7000]));
    let two = etag(&copy(2, "copied", None).await?);
    assert_eq!(two, md5(&whole));
    for bad in ["bytes=0-99999", "bytes=5-", "5-6"] {
        let error = copy(3, "source", Some(bad)).await.expect_err("no such range");
        assert_eq!(Failure::of(&error), is(400, "InvalidArgument"), "{bad}");
    }
    let none = copy(3, "none", None).await.expect_err("no source");
    assert_eq!(Failure::of(&none), is(404, "NoSuchKey"));
    upload.complete(client, &[(1, one), (2, two)]).await.expect("complete");
    let (_, bytes) = s3::get(client, BUCKET, "pieced").await.expect("get").expect("it exists");
    assert_eq!(bytes, [&whole[3999..7000], &whole].concat());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_of_parts_and_object() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let plain = cluster.s3(0);
    let client = s3::with_checksums(&plain);
    let bodies = [body("c1", 3000), body("c2", 50)];
    let whole = bodies.concat();
    for (algorithm, kind, ending) in [
        (ChecksumAlgorithm::Crc32, None, Some("-2")),
        (ChecksumAlgorithm::Crc32, Some(ChecksumType::FullObject), None),
        (ChecksumAlgorithm::Crc32C, Some(ChecksumType::Composite), Some("-2")),
        (ChecksumAlgorithm::Crc64Nvme, None, None),
        (ChecksumAlgorithm::Sha256, None, Some("-2")),
    ] {
        let value = upload_with((&client, &plain), &algorithm, kind.clone(), &bodies).await?;
        assert_eq!(value.ends_with("-2"), ending.is_some(), "{algorithm} {kind:?}: {value}");
        if ending.is_none() {
            // As if the bytes had come whole.
            let put = client.put_object().bucket(BUCKET).key("whole").checksum_algorithm(algorithm.clone());
            put.body(ByteStream::from(whole.clone())).send().await?;
            assert_eq!(stored(&client, "whole", &algorithm).await?.0, value);
        }
    }
    mistakes(&client).await?;
    cluster.finish().await
}

/// The second part by a client that sends no checksum: it gets one all the same.
async fn upload_with(
    (client, plain): (&Client, &Client),
    algorithm: &ChecksumAlgorithm,
    kind: Option<ChecksumType>,
    bodies: &[Bytes],
) -> Result<String> {
    let key = format!("sum-{algorithm}");
    let create = client.create_multipart_upload().bucket(BUCKET).key(&key);
    let created = create.checksum_algorithm(algorithm.clone()).set_checksum_type(kind).send().await?;
    assert_eq!(created.checksum_algorithm(), Some(algorithm));
    let kind = created.checksum_type().cloned().expect("a type");
    let id = created.upload_id().expect("an id");
    let mut parts = Vec::new();
    for (number, bytes) in (1..).zip(bodies) {
        let client = if number == 1 { client } else { plain };
        let put = client.upload_part().bucket(BUCKET).key(&key).upload_id(id).part_number(number);
        let put = if number == 1 { put.checksum_algorithm(algorithm.clone()) } else { put };
        let put = put.body(ByteStream::from(bytes.clone())).send().await?;
        parts.push(named(number, &put, algorithm)?);
    }
    let listed = client.list_parts().bucket(BUCKET).key(&key).upload_id(id).send().await?;
    assert_eq!((listed.checksum_algorithm(), listed.checksum_type()), (Some(algorithm), Some(&kind)));
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key(&key).upload_id(id);
    let done = complete.multipart_upload(parts).send().await?;
    assert_eq!(done.checksum_type(), Some(&kind));
    let (value, stored_kind) = stored(client, &key, algorithm).await?;
    assert_eq!(stored_kind.as_ref(), Some(&kind));
    if kind == ChecksumType::Composite {
        parts_keep_theirs(client, &key, algorithm, listed.parts()).await?;
    } else {
        parts_are_counted(client, &key, algorithm, listed.parts().len()).await?;
    }
    Ok(value)
}

/// The checksum of a part or an object.
macro_rules! checksum_of {
    ($of:expr, $algorithm:expr) => {
        match $algorithm {
            ChecksumAlgorithm::Crc32 => $of.checksum_crc32(),
            ChecksumAlgorithm::Crc32C => $of.checksum_crc32_c(),
            ChecksumAlgorithm::Crc64Nvme => $of.checksum_crc64_nvme(),
            ChecksumAlgorithm::Sha256 => $of.checksum_sha256(),
            other => anyhow::bail!("{other} is not looked for"),
        }
    };
}

/// A part as the list names it: by its ETag, and by its checksum, which a composite one needs.
fn named(number: i32, put: &UploadPartOutput, algorithm: &ChecksumAlgorithm) -> Result<CompletedPart> {
    let part = CompletedPart::builder().part_number(number).set_e_tag(put.e_tag().map(ToOwned::to_owned));
    let value = checksum_of!(put, algorithm).map(ToOwned::to_owned);
    let part = match algorithm {
        ChecksumAlgorithm::Crc32 => part.set_checksum_crc32(value),
        ChecksumAlgorithm::Crc32C => part.set_checksum_crc32_c(value),
        ChecksumAlgorithm::Crc64Nvme => part.set_checksum_crc64_nvme(value),
        _ => part.set_checksum_sha256(value),
    };
    Ok(part.build())
}

/// What is told of the parts of an upload is told of those of the object, too, page by page and part by part.
async fn parts_keep_theirs(
    client: &Client,
    key: &str,
    algorithm: &ChecksumAlgorithm,
    uploaded: &[Part],
) -> Result<()> {
    let mut behind = "0".to_owned();
    for (part, is_last) in uploaded.iter().zip((1..).map(|n| n == uploaded.len())) {
        let value = checksum_of!(part, algorithm);
        assert!(value.is_some(), "{key}: {part:?}");
        let page = client.get_object_attributes().bucket(BUCKET).key(key).max_parts(1);
        let page = page.part_number_marker(behind).object_attributes(ObjectAttributes::ObjectParts);
        let page = page.send().await?;
        let page = page.object_parts().expect("it came in parts");
        assert_eq!((page.parts().len(), page.is_truncated()), (1, Some(!is_last)), "{key}");
        let kept = &page.parts()[0];
        assert_eq!((kept.part_number(), kept.size()), (part.part_number(), part.size()), "{key}");
        assert_eq!(checksum_of!(kept, algorithm), value, "{key}");
        behind = page.next_part_number_marker().expect("a marker").to_owned();
        let head = client.head_object().bucket(BUCKET).key(key).set_part_number(part.part_number());
        let head = head.checksum_mode(ChecksumMode::Enabled).send().await?;
        assert_eq!(checksum_of!(head, algorithm), value, "{key}");
    }
    Ok(())
}

/// Where the checksum is that of the whole object, AWS tells nothing of its parts but their number.
async fn parts_are_counted(
    client: &Client,
    key: &str,
    algorithm: &ChecksumAlgorithm,
    number: usize,
) -> Result<()> {
    let asked = client.get_object_attributes().bucket(BUCKET).key(key);
    let told = asked.object_attributes(ObjectAttributes::ObjectParts).send().await?;
    let told = told.object_parts().expect("it came in parts");
    let number = i32::try_from(number)?;
    assert_eq!((told.total_parts_count(), told.parts().len()), (Some(number), 0), "{key}");
    let head = client.head_object().bucket(BUCKET).key(key).part_number(1);
    let head = head.checksum_mode(ChecksumMode::Enabled).send().await?;
    assert_eq!((checksum_of!(head, algorithm), head.parts_count()), (None, Some(number)), "{key}");
    Ok(())
}

/// The checksum of an object and its kind, by HEAD.
async fn stored(
    client: &Client,
    key: &str,
    algorithm: &ChecksumAlgorithm,
) -> Result<(String, Option<ChecksumType>)> {
    let head = client.head_object().bucket(BUCKET).key(key).checksum_mode(ChecksumMode::Enabled);
    let head = head.send().await?;
    let value = checksum_of!(head, algorithm);
    Ok((value.unwrap_or_default().to_owned(), head.checksum_type().cloned()))
}

async fn mistakes(client: &Client) -> Result<()> {
    let create = client.create_multipart_upload().bucket(BUCKET).key("m");
    let created = create.checksum_algorithm(ChecksumAlgorithm::Crc32).send().await?;
    let id = created.upload_id().expect("an id");
    let put = || client.upload_part().bucket(BUCKET).key("m").upload_id(id).part_number(1);
    let body = || ByteStream::from_static(b"hello");
    let other = put().body(body()).checksum_algorithm(ChecksumAlgorithm::Sha256).send().await;
    assert_eq!(Failure::of(&other.expect_err("not the upload's")), is(400, "InvalidRequest"));
    let wrong = put().body(body()).checksum_crc32("AAAAAA==").send().await;
    assert_eq!(Failure::of(&wrong.expect_err("not that of the body")), is(400, "BadDigest"));
    let part = put().body(body()).send().await?;
    let parts = |checksum: &str| {
        let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag.clone());
        let part = part.checksum_crc32(checksum).build();
        CompletedMultipartUpload::builder().parts(part).build()
    };
    let complete = || client.complete_multipart_upload().bucket(BUCKET).key("m").upload_id(id);
    let wrong = complete().multipart_upload(parts("AAAAAA==")).send().await;
    assert_eq!(Failure::of(&wrong.expect_err("not that of the part")), is(400, "InvalidPart"));
    let unnamed = Upload { key: "m".into(), id: id.to_owned() };
    let etag = s3::unquoted(part.e_tag());
    assert_eq!(unnamed.complete(client, &[(1, etag)]).await, Err(is(400, "InvalidRequest")));
    let good = parts(part.checksum_crc32().expect("it was computed"));
    let wrong = complete().multipart_upload(good.clone()).checksum_crc32("AAAAAA==-1").send().await;
    assert_eq!(Failure::of(&wrong.expect_err("not that of the object")), is(400, "BadDigest"));
    complete().multipart_upload(good).send().await?;

    // Whoever changes the id changes what is computed, and can complete nothing.
    let created = client.create_multipart_upload().bucket(BUCKET).key("m");
    let created = created.checksum_algorithm(ChecksumAlgorithm::Crc32).send().await?;
    let id = created.upload_id().expect("an id").to_owned();
    let (bare, _) = id.split_once('-').expect("it says the checksum");
    let bare = Upload { key: "m".into(), id: bare.to_owned() };
    let part = bare.put(client, 1, Bytes::from_static(b"hello")).await.expect("part");
    assert_eq!(bare.complete(client, &[(1, part)]).await, Err(is(400, "InvalidRequest")));
    bare.abort(client).await.expect("abort");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_listed_and_rights_hold() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    let mut open = Vec::new();
    for key in ["a/1", "a/2", "b", "c/1", "c/2", "d", "d"] {
        open.push(Upload::open(&client, key).await.expect("open"));
    }
    let list = || client.list_multipart_uploads().bucket(BUCKET);
    let all = list().send().await?;
    let keys: Vec<&str> = all.uploads().iter().filter_map(MultipartUpload::key).collect();
    assert_eq!(keys, ["a/1", "a/2", "b", "c/1", "c/2", "d", "d"]);
    let ids: Vec<&str> = all.uploads().iter().filter_map(MultipartUpload::upload_id).collect();
    assert_eq!(ids, open.iter().map(|upload| upload.id.as_str()).collect::<Vec<_>>());
    let under = list().prefix("c/").send().await?;
    assert_eq!(under.uploads().len(), 2);

    // By pages of two entries, rolled up: a/ b | c/ d | d.
    let (mut seen, mut key, mut id) = (Vec::new(), None, None);
    loop {
        let page = list().delimiter("/").max_uploads(2).set_key_marker(key).set_upload_id_marker(id);
        let page = page.send().await?;
        let mut entries: Vec<String> =
            page.common_prefixes().iter().filter_map(|p| p.prefix().map(ToOwned::to_owned)).collect();
        entries.extend(page.uploads().iter().filter_map(|u| u.key().map(ToOwned::to_owned)));
        entries.sort_unstable();
        seen.push(entries);
        (key, id) = (
            page.next_key_marker().map(ToOwned::to_owned),
            page.next_upload_id_marker().map(ToOwned::to_owned),
        );
        if page.is_truncated() != Some(true) {
            break;
        }
    }
    assert_eq!(seen, [vec!["a/", "b"], vec!["c/", "d"], vec!["d"]]);

    let parts = Upload::open(&client, "parts").await.expect("open");
    for number in 1..=5 {
        parts.put(&client, number, body(&number.to_string(), 10)).await.expect("part");
    }
    let page = client.list_parts().bucket(BUCKET).key("parts").upload_id(&parts.id).max_parts(2);
    let page = page.part_number_marker("2").send().await?;
    let numbers: Vec<i32> = page.parts().iter().filter_map(Part::part_number).collect();
    assert_eq!((numbers.as_slice(), page.is_truncated()), ([3, 4].as_slice(), Some(true)));
    assert_eq!(page.next_part_number_marker(), Some("4"));

    let reader = s3::client(cluster.data[0].s3, READER.0, READER.1, std::time::Duration::from_secs(60));
    let refused = Upload::open(&reader, "x").await;
    assert_eq!(refused.expect_err("it may only read"), is(403, "AccessDenied"));
    assert_eq!(parts.put(&reader, 1, body("x", 1)).await, Err(is(403, "AccessDenied")));
    assert_eq!(parts.abort(&reader).await, Err(is(403, "AccessDenied")));
    assert_eq!(parts.parts(&reader).await.expect("it may read").len(), 5);
    for upload in open.iter().chain([&parts]) {
        upload.abort(&client).await.expect("abort");
    }
    let created = client.create_multipart_upload().bucket(OTHER).key("big").send().await?;
    let id = created.upload_id().expect("an id");
    let part = |number| client.upload_part().bucket(OTHER).key("big").upload_id(id).part_number(number);
    let over = part(1).body(ByteStream::from(body("big", (1 << 20) + 1))).send().await;
    assert_eq!(Failure::of(&over.expect_err("over the bucket's limit")), is(400, "EntityTooLarge"));
    let mut etags = Vec::new();
    for number in 1..=2 {
        let put = part(number).body(ByteStream::from(body(&number.to_string(), 600_000))).send().await?;
        etags.push(CompletedPart::builder().part_number(number).set_e_tag(put.e_tag).build());
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(etags)).build();
    let complete = client.complete_multipart_upload().bucket(OTHER).key("big").upload_id(id);
    let over = complete.multipart_upload(parts).send().await;
    assert_eq!(Failure::of(&over.expect_err("together too")), is(400, "EntityTooLarge"));
    client.abort_multipart_upload().bucket(OTHER).key("big").upload_id(id).send().await?;
    cluster.finish().await
}
