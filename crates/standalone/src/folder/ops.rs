//! The S3 operations of a folder backend: the ones that the orchestrator uses.
//!
//! Invariant: a body that breaks off, or is shorter or longer than said, leaves nothing behind.

use std::io;

use futures::StreamExt as _;
use s3s::dto::{
    CommonPrefix, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput,
    DeleteObjectOutput, ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadBucketInput,
    HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
    MetadataDirective, Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::file::{Draft, Head, Stored, blocking, copy};
use super::list::{After, Query, list};
use super::paths::{Root, remove, s3_error_of};

/// Bytes per read of a file.
const CHUNK: usize = 128 * 1024;
const MAX_KEYS: i32 = 1000;

fn length(size: u64) -> S3Result<Option<i64>> {
    i64::try_from(size).map(Some).map_err(S3Error::internal_error)
}

impl Root {
    async fn stored(&self, bucket: &str, key: &str, condition: Option<&ETagCondition>) -> S3Result<Stored> {
        let path = self.object(bucket, key)?;
        let stored = blocking(move || Stored::open(&path)).await.map_err(s3_error_of)?;
        if let Some(ETagCondition::ETag(wanted)) = condition
            && wanted.value() != stored.head.etag
        {
            return Err(s3_error!(PreconditionFailed));
        }
        Ok(stored)
    }
}

#[async_trait::async_trait]
impl S3 for Root {
    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        if input.if_match.is_some() || input.if_none_match.is_some() {
            return Err(s3_error!(NotImplemented, "a folder backend knows no conditional writes"));
        }
        let (bucket, place) = (self.bucket(&input.bucket)?, self.object(&input.bucket, &input.key)?);
        let mut body = input.body.ok_or_else(|| s3_error!(IncompleteBody))?;
        let mut draft = Draft::new(self.draft()).await.map_err(S3Error::internal_error)?;
        while let Some(chunk) = body.next().await {
            let chunk =
                chunk.map_err(|error| S3Error::with_source(s3s::S3ErrorCode::IncompleteBody, error))?;
            draft.write(&chunk).await.map_err(S3Error::internal_error)?;
        }
        if input.content_length.is_some_and(|said| u64::try_from(said) != Ok(draft.size())) {
            return Err(s3_error!(IncompleteBody));
        }
        let head = Head {
            metadata: input.metadata.unwrap_or_default(),
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            content_disposition: input.content_disposition,
            content_language: input.content_language,
            cache_control: input.cache_control,
            expires: input.expires,
            ..Head::default()
        };
        let head = draft.finish(head, place, bucket).await.map_err(write_error)?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(ETag::Strong(head.etag)), ..Default::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let Stored { file, head, modified } =
            self.stored(&input.bucket, &input.key, input.if_match.as_ref()).await?;
        let span = match input.range {
            Some(range) => range.check(head.size)?,
            None => 0..head.size,
        };
        let mut file = tokio::fs::File::from_std(file);
        file.seek(io::SeekFrom::Start(span.start)).await.map_err(S3Error::internal_error)?;
        let wanted = span.end - span.start;
        let range = input.range.map(|_| format!("bytes {}-{}/{}", span.start, span.end - 1, head.size));
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::wrap(ReaderStream::with_capacity(file.take(wanted), CHUNK))),
            content_length: length(wanted)?,
            content_range: range,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(ETag::Strong(head.etag)),
            last_modified: Some(Timestamp::from(modified)),
            metadata: Some(head.metadata),
            content_type: head.content_type,
            content_encoding: head.content_encoding,
            content_disposition: head.content_disposition,
            content_language: head.content_language,
            cache_control: head.cache_control,
            expires: head.expires,
            ..Default::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let Stored { head, modified, .. } =
            self.stored(&input.bucket, &input.key, input.if_match.as_ref()).await?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: length(head.size)?,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(ETag::Strong(head.etag)),
            last_modified: Some(Timestamp::from(modified)),
            metadata: Some(head.metadata),
            content_type: head.content_type,
            content_encoding: head.content_encoding,
            content_disposition: head.content_disposition,
            content_language: head.content_language,
            cache_control: head.cache_control,
            expires: head.expires,
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        let (bucket, place) = (self.bucket(&input.bucket)?, self.object(&input.bucket, &input.key)?);
        blocking(move || remove(&place, &bucket)).await.map_err(S3Error::internal_error)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        let CopySource::Bucket { bucket: from_bucket, key: from_key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        let from = self.object(from_bucket, from_key)?;
        let (bucket, place) = (self.bucket(&input.bucket)?, self.object(&input.bucket, &input.key)?);
        let replace =
            input.metadata_directive.is_some_and(|said| said.as_str() == MetadataDirective::REPLACE);
        let with = replace.then(|| Head {
            metadata: input.metadata.unwrap_or_default(),
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            content_disposition: input.content_disposition,
            content_language: input.content_language,
            cache_control: input.cache_control,
            expires: input.expires,
            ..Head::default()
        });
        let draft = self.draft();
        let head = blocking(move || copy(&from, &draft, with, &place, &bucket)).await.map_err(s3_error_of)?;
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(head.etag)),
            last_modified: Some(Timestamp::from(std::time::SystemTime::now())),
            ..Default::default()
        };
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let bucket = self.bucket(&input.bucket)?;
        let after = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => {
                After::parse(token).ok_or_else(|| s3_error!(InvalidArgument, "not a token of this server"))?
            }
            (None, Some(key)) => After::Key(key.clone()),
            (None, None) => After::Start,
        };
        let max_keys = input.max_keys.unwrap_or(MAX_KEYS).clamp(0, MAX_KEYS);
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after,
            max: usize::try_from(max_keys).unwrap_or(0),
        };
        let (page, objects) = blocking(move || {
            let mut page = list(&bucket, &query)?;
            let keys = std::mem::take(&mut page.keys);
            let objects: io::Result<Vec<_>> =
                keys.into_iter().filter_map(|key| described(&bucket, key).transpose()).collect();
            Ok((page, objects?))
        })
        .await
        .map_err(S3Error::internal_error)?;
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            start_after: input.start_after,
            continuation_token: input.continuation_token,
            max_keys: Some(max_keys),
            key_count: i32::try_from(objects.len() + page.prefixes.len()).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_ref().map(After::token),
            common_prefixes: Some(
                page.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect(),
            ),
            contents: Some(objects),
            ..Default::default()
        }))
    }
}

/// An object of a listing; `None` when it was deleted while we listed.
fn described(bucket: &std::path::Path, key: String) -> io::Result<Option<Object>> {
    let stored = match Stored::open(&bucket.join(&key)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    Ok(Some(Object {
        size: i64::try_from(stored.head.size).ok(),
        e_tag: Some(ETag::Strong(stored.head.etag)),
        last_modified: Some(Timestamp::from(stored.modified)),
        key: Some(key),
        ..Default::default()
    }))
}

/// Why an object could not be put in its place: that a folder is missing is not the client's fault.
fn write_error(error: io::Error) -> S3Error {
    match error.kind() {
        io::ErrorKind::InvalidFilename => s3_error!(KeyTooLongError),
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::DirectoryNotEmpty => {
            s3_error!(InvalidRequest, "a folder backend cannot hold a key that is another key's folder")
        }
        _ => S3Error::internal_error(error),
    }
}
