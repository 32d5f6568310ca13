//! Keys as objects have them, and listings of them.

use bytes::Bytes;
use s3o_types::ProbeFinding;
use s3o_types::storage_key::MAX_KEY_BYTES;

use super::asker::Asker;
use super::finding::failed;
use crate::error::{BackendError, BackendErrorKind, Certainty};

const ODD_KEYS: &str = "odd_keys";
const LONG_KEYS: &str = "long_keys";
const LISTING: &str = "listing";

/// What clients use in keys, and what is encoded wrongly most often.
const ODD: &str = "odd/é ü 日本/a+b 100%25 ~x'(y)!*=&z;,:@$?#[].txt";
/// The longest name between two slashes: that of a file, for folder backends.
const SEGMENT: usize = 255;

pub(super) async fn find(asker: &mut Asker<'_>) -> Vec<ProbeFinding> {
    let long = long_name(asker.prefix_length());
    let odd = "objects whose keys have such characters cannot be stored there";
    let long_meaning = "objects with long keys cannot be stored there";
    vec![
        key(
            asker,
            ODD_KEYS,
            ODD,
            "keys with spaces, signs and letters beyond ASCII come back as they were",
            odd,
        )
        .await,
        key(asker, LONG_KEYS, &long, "keys of 1,024 bytes are taken", long_meaning).await,
        listing(asker).await,
    ]
}

/// As much as fits behind the prefix.
fn long_name(prefix: usize) -> String {
    let room = MAX_KEY_BYTES.saturating_sub(prefix);
    let is_slash = |at: usize| at % SEGMENT == SEGMENT - 1 && at + 1 < room;
    (0..room).map(|at| if is_slash(at) { '/' } else { 'k' }).collect()
}

async fn key(
    asker: &mut Asker<'_>,
    finding: &'static str,
    name: &str,
    good: &str,
    bad: &str,
) -> ProbeFinding {
    match stored_and_listed(asker, name).await {
        Ok(()) => ProbeFinding::ok(finding, good),
        Err(error) => failed(finding, &error, bad),
    }
}

async fn stored_and_listed(asker: &mut Asker<'_>, name: &str) -> Result<(), BackendError> {
    let wrong = |what: &str| BackendError::new(BackendErrorKind::Mismatch, Certainty::Unknown, what);
    let body = Bytes::from_static(b"key");
    asker.put(name, Vec::new(), body.clone()).await?;
    if asker.get(name, None, None).await?.bytes != body {
        return Err(wrong("other bytes came back"));
    }
    let (names, _) = asker.list(name, None, 10).await?;
    if names.iter().any(|listed| listed == name) {
        Ok(())
    } else {
        Err(wrong("a listing has it not, or changed"))
    }
}

/// In the order of their bytes, which is not that of letters; and page by page.
async fn listing(asker: &mut Asker<'_>) -> ProbeFinding {
    let meaning =
        "it cannot be compared with the tables, imported from, or be of use when the database is lost";
    let seen = match pages(asker).await {
        Ok(seen) => seen,
        Err(error) => return failed(LISTING, &error, meaning),
    };
    let page =
        |names: &[&str], more| (names.iter().map(|name| format!("list/{name}")).collect::<Vec<_>>(), more);
    if seen == [page(&["B", "a"], true), page(&["é"], false)] {
        return ProbeFinding::ok(LISTING, "keys are listed in the order of their bytes, page by page");
    }
    let [first, second] =
        seen.map(|(names, more)| format!("[{}]{}", names.join(", "), if more { ", more" } else { "" }));
    let detail = format!("B, a, é are listed as {first} and then {second}; {meaning}");
    ProbeFinding::unsupported(LISTING, detail)
}

type Page = (Vec<String>, bool);

async fn pages(asker: &mut Asker<'_>) -> Result<[Page; 2], BackendError> {
    for name in ["list/é", "list/a", "list/B"] {
        asker.put(name, Vec::new(), Bytes::from_static(b"list")).await?;
    }
    let first = asker.list("list/", None, 2).await?;
    // Behind a key, not by a token: so listings go on here.
    let second = asker.list("list/", Some("list/a"), 2).await?;
    Ok([first, second])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_key_has_no_segment_that_is_too_long() {
        for prefix in [0, 4, 48, 49, 512] {
            let name = long_name(prefix);
            assert_eq!(prefix + name.len(), MAX_KEY_BYTES);
            assert!(
                name.split('/').all(|segment| !segment.is_empty() && segment.len() <= SEGMENT),
                "{prefix}"
            );
        }
    }
}
