//! Own keys of buckets that keep versions, read: each version that must be there by its id, whole; each that was deleted
//! is no version any more; and what a key holds is what the listing calls its latest.
//!
//! Invariant: versions whose deletion was asked for and not answered are not judged by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_s3::Client;
use futures::StreamExt as _;

use super::Violation;
use super::versions::{Entry, Listed};
use crate::campaign::board::{Board, KeptVersion};
use crate::campaign::field::Field;
use crate::campaign::own::{Deletion, MARKER, OWN};
use crate::s3::{Failure, md5, unquoted};

/// Reads at once.
const AT_ONCE: usize = 8;

/// What a GET says: version id and ETag of what came whole, or that there is nothing.
type Read = Result<(String, String), Failure>;

/// A GET, and what it has to say.
#[derive(Debug)]
struct Question {
    /// Bucket and key, with a slash between.
    name: String,
    /// Whose; `None`: the current one.
    id: Option<String>,
    expected: Expected,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// This version id and this ETag.
    Version(String, String),
    /// A 404 with this code.
    Nothing(&'static str),
}

pub(super) async fn check(field: &Field, listed: &Listed) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut questions = versions(&field.board);
    questions.extend(current(&field.board, listed, &mut found));
    let clients: Vec<Client> = (0..field.cluster.data.len()).map(|n| field.cluster.s3(n)).collect();
    let reads = questions.into_iter().zip(clients.iter().cycle()).map(|(question, client)| {
        let (client, board) = (client.clone(), Arc::clone(&field.board));
        async move { ask(&client, &board, question).await }
    });
    let mut reads = futures::stream::iter(reads).buffer_unordered(AT_ONCE);
    while let Some(read) = reads.next().await {
        found.extend(read);
    }
    found
}

/// Every version of which it is known whether it is there.
fn versions(board: &Board) -> Vec<Question> {
    let kept = board.kept_versions().into_iter().filter(|kept| kept.key.starts_with(OWN));
    let question = |kept: KeptVersion| {
        let expected = match board.deletion(&kept.id) {
            None if kept.etag == MARKER => return None,
            None => Expected::Version(kept.id.clone(), kept.etag),
            Some(Deletion::Asked) => return None,
            Some(Deletion::Done) => Expected::Nothing("NoSuchVersion"),
        };
        Some(Question { name: format!("{}/{}", kept.bucket, kept.key), id: Some(kept.id), expected })
    };
    kept.filter_map(question).collect()
}

/// Every key that was ever written, or is listed. Two versions that are both called the latest are found here.
fn current(board: &Board, listed: &Listed, found: &mut Vec<Violation>) -> Vec<Question> {
    let mut latest: BTreeMap<&str, (&str, &Entry)> = BTreeMap::new();
    for ((name, id), entry) in listed.iter().filter(|(_, entry)| entry.is_latest) {
        if latest.insert(name.as_str(), (id.as_str(), entry)).is_some() && is_own(name) {
            found.push(violation(name, "has two versions that are listed as the latest"));
        }
    }
    let written = board.kept_versions().into_iter().map(|kept| format!("{}/{}", kept.bucket, kept.key));
    let names: BTreeSet<String> =
        listed.keys().map(|(name, _)| name.clone()).chain(written).filter(|name| is_own(name)).collect();
    let question = |name: String| {
        let expected = match latest.get(name.as_str()) {
            Some((id, entry)) if entry.etag != MARKER => {
                Expected::Version((*id).to_owned(), entry.etag.clone())
            }
            _ => Expected::Nothing("NoSuchKey"),
        };
        Question { name, id: None, expected }
    };
    names.into_iter().map(question).collect()
}

fn is_own(name: &str) -> bool {
    name.split_once('/').is_some_and(|(_, key)| key.starts_with(OWN))
}

async fn ask(client: &Client, board: &Board, question: Question) -> Option<Violation> {
    let Question { name, id, expected } = question;
    let (bucket, key) = name.split_once('/')?;
    let read = read(client, board, (bucket, key), id.clone()).await;
    let is_right = match (&expected, &read) {
        (Expected::Version(id, etag), Ok(seen)) => (id, etag) == (&seen.0, &seen.1),
        (Expected::Nothing(wanted), Err(Failure::Answer { status: 404, code })) => code == wanted,
        _ => false,
    };
    let asked = id.map_or_else(|| "the current version".to_owned(), |id| format!("version {id}"));
    (!is_right)
        .then(|| violation(&name, &format!("{asked} is read as {read:?} in the place of {expected:?}")))
}

async fn read(client: &Client, board: &Board, (bucket, key): (&str, &str), id: Option<String>) -> Read {
    let object = client.get_object().bucket(bucket).key(key).set_version_id(id).send().await;
    let object = object.map_err(|error| Failure::of(&error))?;
    let (id, etag) = (object.version_id().unwrap_or_default().to_owned(), unquoted(object.e_tag()));
    let body = object.body.collect().await.map_err(|error| Failure::Silence(format!("body: {error}")))?;
    let found = md5(&body.into_bytes());
    // Nothing that anybody wrote has such an ETag.
    let etag = if board.is_content(&etag, &found) { etag } else { format!("torn: {etag}, MD5 {found}") };
    Ok((id, etag))
}

fn violation(name: &str, what: &str) -> Violation {
    Violation { check: "versions", what: format!("{name}: {what}"), key: None }
}
