//! Pages of multipart uploads: what is asked is checked field by field, what goes out says all there is.

use s3o_core::upload::{Completed, PartCopy, PartRow, PartsPage, UploadChecksum, UploadRow, UploadState};
use s3o_proto::v1;
use s3o_types::{
    BackendId, BucketId, Checksums, Etag, Extent, Gen, ObjectAttributes, Seq, Timestamp, UploadId, VersionId,
    VersionRef,
};
use uuid::Uuid;

use super::Plane;
use super::values::copied_piece;
use crate::status::fields;

fn page() -> PartsPage {
    let upload = UploadRow {
        id: UploadId(Uuid::from_u128(5)),
        bucket: BucketId(1),
        key: "k".into(),
        version: VersionId::mint(1, 2),
        state: UploadState::Completed,
        attributes: ObjectAttributes::default(),
        checksum: Some(UploadChecksum { algorithm: "crc32".into(), kind: "COMPOSITE".into() }),
        initiated: Timestamp(3),
        initiator: "client".into(),
        completed: Some(Completed {
            seq: Seq(9),
            at: Timestamp(4),
            etag: Etag::new("e-1"),
            checksums: Checksums { values: [("crc32".to_owned(), "x-1".to_owned())].into() },
            told: Some(VersionRef::Id(VersionId::mint(1, 2))),
        }),
    };
    let part = PartRow {
        upload: upload.id,
        number: Extent::new(1).unwrap(),
        r#gen: Gen::new(2).unwrap(),
        copies: vec![PartCopy { backend: BackendId(3), backend_etag: None, backend_version: None }],
        size: 10,
        etag: Etag::new("e"),
        checksums: Checksums { values: [("crc32".to_owned(), "x".to_owned())].into() },
        digest: None,
        copied: vec![copied_piece()],
        modified: Timestamp(6),
    };
    PartsPage { upload, parts: vec![part], truncated: true }
}

#[tokio::test]
async fn pages_say_all_that_is_known() {
    let plane = Plane::start().await;
    let mut client = plane.dataplane();
    let request = v1::ListPartsRequest {
        bucket: 1,
        key: "k".into(),
        upload: Uuid::from_u128(5).as_bytes().to_vec().into(),
        after: 7,
        max_parts: 100,
        request_id: "r".into(),
    };
    let none = client.list_parts(request.clone()).await.unwrap().into_inner();
    assert!(none.upload.is_none() && none.parts.is_empty());
    *plane.fakes.parts.lock().unwrap() = Some(page());
    let reply = client.list_parts(request.clone()).await.unwrap().into_inner();
    let upload = reply.upload.unwrap();
    assert_eq!(upload.state(), v1::UploadState::Completed);
    assert_eq!((upload.etag.as_str(), upload.completed_us, upload.initiated_us), ("e-1", 4, 3));
    assert_eq!((upload.checksum_algorithm.as_str(), upload.checksums["crc32"].as_str()), ("crc32", "x-1"));
    assert_eq!(upload.version_id, VersionId::mint(1, 2).to_string());
    let part = &reply.parts[0];
    assert_eq!((part.number, part.r#gen, part.size, part.modified_us), (1, 2, 10, 6));
    assert_eq!(part.copied, [s3o_wire::copied::to_wire(copied_piece())]);
    assert!(reply.truncated);
    let asked = plane.fakes.parts_asked.lock().unwrap().last().cloned().unwrap();
    assert_eq!((asked.after, asked.max_parts), (7, 100));

    let uploads = v1::ListUploadsRequest {
        bucket: 1,
        prefix: "p".into(),
        key_after: "p1".into(),
        upload_after: Uuid::from_u128(5).as_bytes().to_vec().into(),
        max_uploads: 10,
        request_id: "r".into(),
    };
    let reply = client.list_uploads(uploads.clone()).await.unwrap().into_inner();
    assert_eq!((reply.uploads.len(), reply.truncated), (1, true));
    let asked = plane.fakes.uploads_asked.lock().unwrap().last().cloned().unwrap();
    assert_eq!((asked.key_after.as_str(), asked.upload_after), ("p1", Some(UploadId(Uuid::from_u128(5)))));

    let wrong = [
        fields(
            &client.list_parts(v1::ListPartsRequest { after: 10_001, ..request.clone() }).await.unwrap_err(),
        ),
        fields(
            &client.list_parts(v1::ListPartsRequest { upload: vec![].into(), ..request }).await.unwrap_err(),
        ),
        fields(
            &client.list_uploads(v1::ListUploadsRequest { max_uploads: 1001, ..uploads }).await.unwrap_err(),
        ),
    ];
    assert_eq!(wrong, [["after"], ["upload"], ["max_uploads"]]);
}
