//! The history: a last look at every key, then the search for an order that explains what was seen, key by key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use aws_sdk_s3::Client;
use futures::StreamExt as _;
use s3o_testkit::history::{self, Call, Event, Outcome, Value, Verdict};

use super::Violation;
use crate::campaign::board::Board;
use crate::campaign::buckets::BUCKETS;
use crate::campaign::field::Field;
use crate::campaign::own::OWN;
use crate::s3::{self, Failure, md5};

/// Reads at once.
const AT_ONCE: usize = 8;

/// Judges every key by itself, so that each one that is wrong is named.
pub(super) fn check(events: &[Event]) -> Vec<Violation> {
    let mut by_key: BTreeMap<&str, Vec<Event>> = BTreeMap::new();
    for event in events {
        by_key.entry(&event.key).or_default().push(event.clone());
    }
    let judged = by_key.into_iter().filter_map(|(key, events)| {
        let what = match history::check(&events) {
            Verdict::Linearizable { .. } => return None,
            Verdict::Violation { why, .. } => why,
            Verdict::Undecided { .. } => "undecided: the search for an order took too long".to_owned(),
        };
        Some(Violation {
            check: "linearizability",
            what: format!("{key}: {what}"),
            key: Some(key.to_owned()),
        })
    });
    judged.collect()
}

/// Adds to the history what every key holds now: by a listing and by a GET of each. A read that fails now, with
/// everything well, is a violation itself.
pub async fn read_everything(field: &Field) -> Result<Vec<Violation>> {
    let keys: BTreeSet<String> = field.board.recorder.events().into_iter().map(|event| event.key).collect();
    let mut found = Vec::new();
    for bucket in BUCKETS {
        list(field, bucket.name, &keys).await?;
    }
    let clients: Vec<Client> = (0..field.cluster.data.len()).map(|n| field.cluster.s3(n)).collect();
    let reads = keys.into_iter().zip(clients.iter().cycle()).map(|(key, client)| {
        let (client, board) = (client.clone(), Arc::clone(&field.board));
        async move { read(&client, &board, &key).await }
    });
    let mut reads = futures::stream::iter(reads).buffer_unordered(AT_ONCE);
    while let Some(read) = reads.next().await {
        found.extend(read);
    }
    Ok(found)
}

async fn read(client: &Client, board: &Board, name: &str) -> Option<Violation> {
    let (bucket, key) = name.split_once('/')?;
    let pending = board.recorder.invoke("last", name, Call::Read);
    match s3::get(client, bucket, key).await {
        Ok(None) => pending.end(Outcome::Saw(None)),
        Ok(Some((etag, body))) => {
            let found = md5(&body);
            if board.is_content(&etag, &found) {
                pending.end(Outcome::Saw(Some(etag.into())));
            } else {
                pending.end(Outcome::Saw(Some(format!("torn: etag {etag}, MD5 {found}").into())));
            }
        }
        Err(failure) => {
            let what = format!("{name} cannot be read with everything well: {failure:?}");
            return Some(Violation { check: "last read", what, key: Some(name.to_owned()) });
        }
    }
    None
}

async fn list(field: &Field, bucket: &str, keys: &BTreeSet<String>) -> Result<()> {
    let recorder = &field.board.recorder;
    let invoked = recorder.now();
    let listed = s3::list(&field.cluster.s3(0), bucket, "").await;
    let returned = recorder.now();
    let listed: BTreeMap<String, String> =
        listed.map_err(|failure| unlisted(&failure))?.into_iter().collect();
    let prefix = format!("{bucket}/");
    let known = keys.iter().filter_map(|name| name.strip_prefix(&prefix));
    // A key that is listed and that nobody wrote is a read of a value from nowhere. Own keys have checks of their own.
    let others = listed.keys().map(String::as_str).filter(|key| !key.starts_with(OWN));
    let all: BTreeSet<&str> = known.chain(others).collect();
    for key in all {
        recorder.push(Event {
            key: format!("{prefix}{key}"),
            client: "last list".to_owned(),
            call: Call::Read,
            outcome: Outcome::Saw(listed.get(key).map(|etag| Value::from(etag.as_str()))),
            invoked,
            returned,
        });
    }
    Ok(())
}

fn unlisted(failure: &Failure) -> anyhow::Error {
    anyhow::anyhow!("the last listing: {failure:?}")
}
