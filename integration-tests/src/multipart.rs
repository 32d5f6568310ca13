//! A multipart upload as a client makes it, one call at a time.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use crate::config::BUCKET;
use crate::s3::{Failure, unquoted};

/// An upload that was opened, in [`BUCKET`].
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its key.
    pub key: String,
    /// Its id.
    pub id: String,
}

impl Upload {
    /// Opens one.
    pub async fn open(client: &Client, key: &str) -> Result<Self, Failure> {
        let created = client.create_multipart_upload().bucket(BUCKET).key(key).send().await;
        let created = created.map_err(|error| Failure::of(&error))?;
        Ok(Self { key: key.to_owned(), id: created.upload_id().unwrap_or_default().to_owned() })
    }

    /// Sends a part. Its ETag, without quotes.
    pub async fn put(&self, client: &Client, number: i32, body: Bytes) -> Result<String, Failure> {
        let part = client.upload_part().bucket(BUCKET).key(&self.key).upload_id(&self.id).part_number(number);
        let done = part.body(ByteStream::from(body)).send().await;
        done.map(|part| unquoted(part.e_tag())).map_err(|error| Failure::of(&error))
    }

    /// Completes it with these parts. The object's ETag, without quotes.
    pub async fn complete(&self, client: &Client, parts: &[(i32, String)]) -> Result<String, Failure> {
        let call = self.completing(client, parts).send().await;
        call.map(|done| unquoted(done.e_tag())).map_err(|error| Failure::of(&error))
    }

    /// The call that completes it, to be changed before it is sent.
    pub fn completing(
        &self,
        client: &Client,
        parts: &[(i32, String)],
    ) -> aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder
    {
        let part = |(number, etag): &(i32, String)| {
            CompletedPart::builder().part_number(*number).e_tag(etag).build()
        };
        let list =
            CompletedMultipartUpload::builder().set_parts(Some(parts.iter().map(part).collect())).build();
        client
            .complete_multipart_upload()
            .bucket(BUCKET)
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(list)
    }

    /// Gives it up.
    pub async fn abort(&self, client: &Client) -> Result<(), Failure> {
        let call = client.abort_multipart_upload().bucket(BUCKET).key(&self.key).upload_id(&self.id);
        call.send().await.map(|_| ()).map_err(|error| Failure::of(&error))
    }

    /// Numbers and ETags of the stored parts.
    pub async fn parts(&self, client: &Client) -> Result<Vec<(i32, String)>, Failure> {
        let (mut found, mut marker) = (Vec::new(), None);
        loop {
            let call = client.list_parts().bucket(BUCKET).key(&self.key).upload_id(&self.id);
            let page = call.set_part_number_marker(marker).send().await;
            let page = page.map_err(|error| Failure::of(&error))?;
            let parts = page.parts().iter();
            found.extend(parts.map(|part| (part.part_number().unwrap_or(-1), unquoted(part.e_tag()))));
            marker = page.next_part_number_marker().map(ToOwned::to_owned);
            if page.is_truncated() != Some(true) {
                return Ok(found);
            }
        }
    }
}
