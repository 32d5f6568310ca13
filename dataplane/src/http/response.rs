//! A response's body that knows when the request is over: then the metrics are counted, the audit line
//! is written and the place in the house is free again.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use s3o_runtime::audit;
use s3s::Body;
use tokio::sync::OwnedSemaphorePermit;

use super::request::RequestInfo;
use crate::ops::bucket_settings::setting_name;
use crate::plane::Plane;

/// The status of a request whose client went before it was answered, as nginx has it.
pub(super) const NO_ANSWER: u16 = 499;

/// The request, from its arrival to the last byte of its answer.
pub(crate) struct Accounting {
    plane: Arc<Plane>,
    info: Arc<RequestInfo>,
    method: &'static str,
    path: String,
    started: Instant,
    /// [`NO_ANSWER`] until there is one. One that was begun before it was known says 200, and counts as what it became.
    pub(super) status: Arc<AtomicU16>,
    pub(super) received: Arc<AtomicU64>,
    sent: u64,
    cut: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl Accounting {
    /// Begins with the request.
    pub(super) fn start(
        plane: Arc<Plane>,
        info: Arc<RequestInfo>,
        method: &'static str,
        path: String,
        held: Option<OwnedSemaphorePermit>,
    ) -> Self {
        plane.metrics.request_started(method);
        plane.request_started();
        let (received, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let status = Arc::new(AtomicU16::new(NO_ANSWER));
        Self { plane, info, method, path, started, status, received, sent: 0, cut: false, _place: held }
    }
}

impl Drop for Accounting {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let sizes = (self.received.load(Ordering::Relaxed), self.sent);
        let status = self.status.load(Ordering::Relaxed);
        self.plane.metrics.request_ended(self.method, status, seconds, sizes);
        self.plane.request_ended();
        self.audit(status, seconds, sizes);
    }
}

impl Accounting {
    fn audit(&self, status: u16, seconds: f64, (received, sent): (u64, u64)) {
        let found = self.info.found();
        let (access_key, bucket) = found.map_or(("", ""), |found| (&found.access_key, &found.bucket));
        macro_rules! line {
            ($event:literal) => {
                audit!(
                    $event,
                    request_id = self.info.id,
                    method = self.method,
                    path = self.path,
                    bucket,
                    access_key,
                    source = %self.info.source,
                    status,
                    cut = self.cut,
                    received_bytes = received,
                    sent_bytes = sent,
                    duration = seconds
                )
            };
        }
        match found.map_or("", |found| found.operation) {
            "ListBuckets" => line!("s3.ListBuckets"),
            "HeadBucket" => line!("s3.HeadBucket"),
            "GetBucketLocation" => line!("s3.GetBucketLocation"),
            "GetBucketVersioning" => line!("s3.GetBucketVersioning"),
            "PutBucketVersioning" => line!("s3.PutBucketVersioning"),
            "GetObject" => line!("s3.GetObject"),
            "HeadObject" => line!("s3.HeadObject"),
            "ListObjects" => line!("s3.ListObjects"),
            "ListObjectsV2" => line!("s3.ListObjectsV2"),
            "ListObjectVersions" => line!("s3.ListObjectVersions"),
            "PutObject" => line!("s3.PutObject"),
            "CopyObject" => line!("s3.CopyObject"),
            "DeleteObject" => line!("s3.DeleteObject"),
            "DeleteObjects" => line!("s3.DeleteObjects"),
            "CreateMultipartUpload" => line!("s3.CreateMultipartUpload"),
            "UploadPart" => line!("s3.UploadPart"),
            "UploadPartCopy" => line!("s3.UploadPartCopy"),
            "CompleteMultipartUpload" => line!("s3.CompleteMultipartUpload"),
            "AbortMultipartUpload" => line!("s3.AbortMultipartUpload"),
            "ListParts" => line!("s3.ListParts"),
            "ListMultipartUploads" => line!("s3.ListMultipartUploads"),
            "GetObjectAttributes" => line!("s3.GetObjectAttributes"),
            "GetObjectTagging" => line!("s3.GetObjectTagging"),
            "PutObjectTagging" => line!("s3.PutObjectTagging"),
            "DeleteObjectTagging" => line!("s3.DeleteObjectTagging"),
            "GetObjectRetention" => line!("s3.GetObjectRetention"),
            "PutObjectRetention" => line!("s3.PutObjectRetention"),
            "GetObjectLegalHold" => line!("s3.GetObjectLegalHold"),
            "PutObjectLegalHold" => line!("s3.PutObjectLegalHold"),
            "GetObjectLockConfiguration" => line!("s3.GetObjectLockConfiguration"),
            "PutObjectLockConfiguration" => line!("s3.PutObjectLockConfiguration"),
            "GetBucketLifecycleConfiguration" => line!("s3.GetBucketLifecycleConfiguration"),
            "PutBucketLifecycleConfiguration" => line!("s3.PutBucketLifecycleConfiguration"),
            "DeleteBucketLifecycle" => line!("s3.DeleteBucketLifecycle"),
            "GetBucketAcl" => line!("s3.GetBucketAcl"),
            "PutBucketAcl" => line!("s3.PutBucketAcl"),
            "GetObjectAcl" => line!("s3.GetObjectAcl"),
            "PostObject" => line!("s3.PostObject"),
            "CreateBucket" => line!("s3.CreateBucket"),
            "DeleteBucket" => line!("s3.DeleteBucket"),
            "GetBucketCors" => line!("s3.GetBucketCors"),
            "PutBucketCors" => line!("s3.PutBucketCors"),
            "DeleteBucketCors" => line!("s3.DeleteBucketCors"),
            "PutObjectAcl" => line!("s3.PutObjectAcl"),
            "" => line!("s3.Refused"),
            name if setting_name(name).is_some() => line!("s3.PutBucketSettings"),
            // What tools ask of a bucket's settings: constant answers.
            _ => line!("s3.GetBucketSettings"),
        }
    }
}

/// The body of every response.
pub(crate) struct Accounted {
    inner: Body,
    accounting: Accounting,
}

impl Accounted {
    pub(super) fn new(inner: Body, accounting: Accounting) -> Self {
        Self { inner, accounting }
    }
}

impl HttpBody for Accounted {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, s3s::StdError>>> {
        let polled = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => self.accounting.sent += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(error)) => {
                tracing::warn!(request_id = self.accounting.info.id, %error, "a response was cut");
                self.accounting.cut = true;
            }
            None => {}
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
