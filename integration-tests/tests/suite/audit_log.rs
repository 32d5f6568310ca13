//! The audit log: a request's own entry and what was done for it share the request's id.

use anyhow::Result;
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::body;
use s3o_integration_tests::{Cluster, Options, wait};
use serde_json::Value;

/// Audit entries of a request, in their order.
fn entries(cluster: &Cluster, id: &str) -> Vec<Value> {
    let output = cluster.data[0].process.output();
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["audit"] == true && line["request_id"] == id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_for_a_request_bears_its_id() -> Result<()> {
    let cluster = Cluster::start(Options { backends: 1, ..Options::default() }).await?;
    let raw = cluster.raw(0);
    let part = body("part", 3000).to_vec();
    let upload =
        raw.send(&Request::new("POST", "/data/parts?uploads=")).await?.element("UploadId").expect("an id");
    let etag = format!("\"{}\"", s3o_integration_tests::s3::md5(&part));
    let parts = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let at_part = format!("/data/parts?partNumber=1&uploadId={upload}");
    let complete = format!("/data/parts?uploadId={upload}");
    let copy = Request::new("PUT", "/data/copy").header("x-amz-copy-source", "/data/k");
    let tagging = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>";
    let delete = "<Delete><Object><Key>copy</Key></Object></Delete>";
    let requests = [
        (Request::new("PUT", "/data/k").body(part.clone()), "s3.PutObject", "storage.PutObject"),
        (Request::new("GET", "/data/k").header("range", "bytes=0-9"), "s3.GetObject", "storage.GetObject"),
        (Request::new("HEAD", "/data/k"), "s3.HeadObject", "storage.HeadObject"),
        (Request::new("GET", "/data?list-type=2&prefix=k"), "s3.ListObjectsV2", "storage.ListObjects"),
        (Request::new("GET", "/data?versions="), "s3.ListObjectVersions", "storage.ListObjectVersions"),
        (
            Request::new("PUT", "/data/k?tagging=").body(tagging),
            "s3.PutObjectTagging",
            "storage.PutObjectTagging",
        ),
        (copy, "s3.CopyObject", "storage.CopyObject"),
        (
            Request::new("POST", "/data/parts?uploads="),
            "s3.CreateMultipartUpload",
            "storage.CreateMultipartUpload",
        ),
        (Request::new("PUT", &at_part).body(part), "s3.UploadPart", "storage.UploadPart"),
        (
            Request::new("POST", &complete).body(parts),
            "s3.CompleteMultipartUpload",
            "storage.CompleteMultipartUpload",
        ),
        (Request::new("DELETE", "/data/k"), "s3.DeleteObject", "storage.DeleteObject"),
        (Request::new("POST", "/data?delete").body(delete), "s3.DeleteObjects", "storage.DeleteObjects"),
    ];
    for (n, (request, of_http, of_storage)) in requests.into_iter().enumerate() {
        let id = format!("audited-{n}");
        let answer = raw.send(&request.header("x-request-id", &id)).await?;
        assert!(answer.status < 300, "{of_http}: {}", answer.text());
        assert_eq!(answer.header("x-amz-request-id"), Some(id.as_str()));
        wait::until(of_http, || async { Ok(entries(&cluster, &id).len() >= 2) }).await?;
        let entries = entries(&cluster, &id);
        let names: Vec<&str> = entries.iter().filter_map(|entry| entry["msg"].as_str()).collect();
        assert_eq!(names, [of_storage, of_http], "{entries:?}");
        match of_storage {
            "storage.DeleteObjects" => assert_eq!(entries[0]["deleted"], 1),
            "storage.ListObjects" | "storage.ListObjectVersions" => {
                assert_eq!(entries[0]["bucket"], "data");
                assert_eq!(entries[0]["entries"], 1);
            }
            "storage.DeleteObject"
            | "storage.HeadObject"
            | "storage.PutObjectTagging"
            | "storage.CreateMultipartUpload"
            | "storage.CompleteMultipartUpload" => {
                assert_eq!(entries[0]["bucket"], "data");
            }
            _ => {
                assert_eq!(entries[0]["backend"], "b0", "{entries:?}");
                let size = if of_storage == "storage.GetObject" { 10 } else { 3000 };
                assert_eq!(entries[0]["size"], size);
            }
        }
    }
    // What was refused has done nothing.
    let refused = Request::new("DELETE", "/nowhere/k").header("x-request-id", "refused");
    assert_eq!(raw.send(&refused).await?.status, 404);
    wait::until("its entry", || async { Ok(!entries(&cluster, "refused").is_empty()) }).await?;
    assert_eq!(entries(&cluster, "refused").len(), 1);
    cluster.finish().await
}
