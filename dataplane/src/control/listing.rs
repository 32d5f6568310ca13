//! Listings: answered by the database alone, a page at a time.

use s3o_proto::v1;
use s3o_types::{BucketId, ErrorCode, Timestamp};
use tokio::time::Instant;

use super::lane::Client;
use super::{Caller, Failure, RETRY_PAUSE};

/// What to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListQuery {
    pub prefix: String,
    pub delimiter: String,
    /// Only what is greater.
    pub after: String,
    pub max_keys: u32,
}

/// One page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// In ascending byte order.
    pub entries: Vec<Listed>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// A key of a page, or a version of one.
#[derive(Debug)]
pub(crate) struct ListedObject {
    pub key: String,
    pub size: u64,
    pub etag: String,
    pub modified: Timestamp,
    pub storage_class: String,
    pub checksum_algorithms: Vec<String>,
}

/// An entry of a page.
#[derive(Debug)]
pub(crate) enum Listed {
    /// A key.
    Object(ListedObject),
    /// Keys that share a prefix up to the delimiter.
    CommonPrefix(String),
}

impl Caller {
    /// One page of a listing.
    pub(crate) async fn list(&self, bucket: BucketId, query: &ListQuery) -> Result<Page, Failure> {
        let ListQuery { prefix, delimiter, after, max_keys } = query.clone();
        let request_id = self.request_id.clone();
        let request = v1::ListRequest { bucket: bucket.0, prefix, delimiter, after, max_keys, request_id };
        let reply = self
            .ask(|mut client| {
                let request = request.clone();
                async move { client.list(request).await }
            })
            .await?;
        self.page_of(reply)
    }

    /// Asks what only reads, again on any stream until it is answered.
    pub(super) async fn ask<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let database = self.control.database();
        // Not a refusal: that would be an answer of the control plane's to some of those who ask.
        if database.is_open() {
            return Err(Failure::Unknown);
        }
        tokio::select! {
            biased;
            answer = self.ask_until(call) => answer,
            () = database.opened() => Err(Failure::Unknown),
        }
    }

    async fn ask_until<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let deadline = Instant::now() + self.call_patience;
        let no_answer = || {
            self.control.database().suspect();
            Failure::Unknown
        };
        loop {
            if let Some(lane) = self.control.least_busy() {
                match tokio::time::timeout_at(deadline, call(lane.client.clone())).await {
                    Ok(Ok(reply)) => return Ok(reply.into_inner()),
                    Ok(Err(status)) if !is_worth_repeating(&status) => return Err(refusal(&status)),
                    Ok(Err(status)) => tracing::debug!(%status, "not answered, asking again"),
                    Err(_) => return Err(no_answer()),
                }
            }
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(no_answer());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn page_of(&self, reply: v1::ListReply) -> Result<Page, Failure> {
        let v1::ListReply { entries, next, required_features } = reply;
        self.control.see_required(&required_features);
        let entries = entries.into_iter().map(entry_of).collect::<Option<Vec<_>>>();
        // An entry of an unknown kind cannot be left out: the listing would be wrong.
        entries.map(|entries| Page { entries, next }).ok_or(Failure::Unknown)
    }
}

fn entry_of(entry: v1::ListEntry) -> Option<Listed> {
    Some(match entry.entry? {
        v1::list_entry::Entry::CommonPrefix(prefix) => Listed::CommonPrefix(prefix),
        v1::list_entry::Entry::Object(object) => Listed::Object(object_of(object)),
    })
}

pub(super) fn object_of(object: v1::ListedObject) -> ListedObject {
    let v1::ListedObject { key, size, etag, modified_us, storage_class, checksum_algorithms } = object;
    ListedObject { key, size, etag, modified: Timestamp(modified_us), storage_class, checksum_algorithms }
}

fn is_worth_repeating(status: &tonic::Status) -> bool {
    use tonic::Code::{
        Aborted, Cancelled, DeadlineExceeded, Internal, ResourceExhausted, Unavailable, Unknown,
    };
    matches!(
        status.code(),
        Aborted | Cancelled | DeadlineExceeded | Internal | ResourceExhausted | Unavailable | Unknown
    )
}

fn refusal(status: &tonic::Status) -> Failure {
    use tonic::Code::{
        AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unimplemented,
    };
    let code = match status.code() {
        NotFound => ErrorCode::NoSuchBucket,
        InvalidArgument => ErrorCode::InvalidArgument,
        PermissionDenied => ErrorCode::AccessDenied,
        AlreadyExists => ErrorCode::InvalidBucketState,
        // A control plane of before the call, or somebody else who stands in the way of something new.
        Unimplemented | FailedPrecondition => ErrorCode::FeatureRequired,
        _ => return Failure::Unknown,
    };
    Failure::Refused { code, message: status.message().to_owned() }
}
