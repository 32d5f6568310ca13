//! What backends that were asked for the blobs of a key say together. No I/O.
//!
//! Invariants: a version is chosen only if nothing that was seen speaks against it; "there is no such object" needs an
//! answer from every backend, and nothing that is known otherwise.

use s3o_types::{BackendId, BlobName, Etag, Extent, StorageKey, VersionId};

/// A blob of the key on a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub backend: BackendId,
    pub blob: BlobName,
    /// Bytes.
    pub size: u64,
    /// Where the backend's ETags are the MD5.
    pub md5: Option<Etag>,
}

/// What a backend said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub blobs: Vec<Seen>,
    /// Whether these are all that it has of the key.
    pub whole: bool,
}

/// What is known of the key from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    /// It had this version: an earlier one is not current any more.
    Had(VersionId),
    /// It was deleted or changed lately: what the backends have may be what is not current any more.
    Changed,
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The copies of one blob that is a whole version.
    Found { version: VersionId, size: u64, etag: Etag, copies: Vec<Seen> },
    /// There is none.
    Absent,
    /// It cannot be told, and why.
    Unknown(&'static str),
}

/// The blob that a listed key is, if it is one of `bucket/key`: a `~` inside another key begins the same.
pub(super) fn blob_of(prefix: &str, listed: &str) -> Option<BlobName> {
    BlobName::parse(listed.strip_prefix(prefix)?)
}

/// Decides; `all` says whether every backend there is has been asked.
pub(super) fn choose(answers: &[Answer], all: bool, known: Known) -> Choice {
    let blobs = || answers.iter().flat_map(|answer| &answer.blobs);
    let Some(version) = blobs().map(|seen| seen.blob.version).max() else {
        let definite = all && answers.iter().all(|answer| answer.whole);
        return if definite { Choice::Absent } else { Choice::Unknown("not every backend answers") };
    };
    match known {
        Known::Changed => return Choice::Unknown("it was changed or deleted lately"),
        Known::Had(had) if version < had => return Choice::Unknown("its last known version is not there"),
        Known::Had(_) | Known::Nothing => {}
    }
    let copies: Vec<Seen> = blobs().filter(|seen| seen.blob.version == version).cloned().collect();
    // An upload in parts that is still open looks the same.
    if copies.iter().any(|seen| seen.blob.extent != Extent::ZERO) {
        return Choice::Unknown("it is in parts");
    }
    let size = copies.first().map_or(0, |seen| seen.size);
    let mut etags = copies.iter().filter_map(|seen| seen.md5.as_ref());
    let Some(etag) = etags.next().cloned() else {
        return Choice::Unknown("no backend that has it proves its ETag");
    };
    if etags.any(|other| *other != etag) || copies.iter().any(|seen| seen.size != size) {
        return Choice::Unknown("its copies differ");
    }
    Choice::Found { version, size, etag, copies }
}

/// The keys under which an imported object may lie that no name of ours leads to.
pub(super) fn plain_names(bucket: &str, key: &str) -> Vec<String> {
    let names = [format!("{bucket}/{key}"), key.to_owned()];
    let may_be = |name: &String| {
        name.len() <= s3o_types::storage_key::MAX_KEY_BYTES && StorageKey::parse(name) == StorageKey::Foreign
    };
    names.into_iter().filter(may_be).collect()
}

#[cfg(test)]
mod tests {
    use s3o_types::Gen;

    use super::*;

    fn version(n: u64) -> VersionId {
        VersionId::mint(n, 9)
    }

    fn seen(backend: i32, n: u64) -> Seen {
        let md5 = Some(Etag::new("d41d8cd98f00b204e9800998ecf8427e"));
        Seen { backend: BackendId(backend), blob: BlobName::first(version(n)), size: 5, md5 }
    }

    fn answer(blobs: Vec<Seen>) -> Answer {
        Answer { blobs, whole: true }
    }

    fn silent() -> Answer {
        Answer { blobs: Vec::new(), whole: false }
    }

    fn found(choice: &Choice) -> Option<(VersionId, usize)> {
        match choice {
            Choice::Found { version, copies, .. } => Some((*version, copies.len())),
            _ => None,
        }
    }

    #[test]
    fn only_exactly_32_characters_count() {
        let name = BlobName::first(version(1)).to_string();
        assert_eq!(blob_of("b/k~", &format!("b/k~{name}")), Some(BlobName::first(version(1))));
        for other in [
            format!("b/k~x~{name}"),
            format!("b/k~{name}0"),
            "b/k~".to_owned(),
            format!("b/k~{}", &name[1..]),
        ] {
            assert_eq!(blob_of("b/k~", &other), None, "{other}");
        }
        assert_eq!(blob_of("b/k~", &format!("b/k~{}", name.to_lowercase())), None);
    }

    #[test]
    fn the_greatest_version_wins_wherever_it_is() {
        let answers =
            [answer(vec![seen(1, 3), seen(1, 1)]), answer(vec![seen(2, 4)]), answer(vec![seen(3, 4)])];
        assert_eq!(found(&choose(&answers, true, Known::Nothing)), Some((version(4), 2)));
        // A backend that is away may have a later one: older is allowed, and said to be so.
        let answers = [answer(vec![seen(1, 3)]), silent()];
        assert_eq!(found(&choose(&answers, true, Known::Nothing)), Some((version(3), 1)));
    }

    #[test]
    fn absence_needs_every_backend() {
        let both = [answer(vec![]), answer(vec![])];
        assert_eq!(choose(&both, true, Known::Nothing), Choice::Absent);
        assert_eq!(choose(&both, true, Known::Changed), Choice::Absent);
        assert_eq!(choose(&both, true, Known::Had(version(1))), Choice::Absent);
        assert!(matches!(choose(&both, false, Known::Nothing), Choice::Unknown(_)));
        assert!(matches!(choose(&[answer(vec![]), silent()], true, Known::Nothing), Choice::Unknown(_)));
    }

    #[test]
    fn what_is_known_not_to_be_current_is_not_served() {
        let answers = [answer(vec![seen(1, 3)])];
        assert!(matches!(choose(&answers, true, Known::Changed), Choice::Unknown(_)));
        assert!(matches!(choose(&answers, true, Known::Had(version(4))), Choice::Unknown(_)));
        assert_eq!(found(&choose(&answers, true, Known::Had(version(3)))), Some((version(3), 1)));
        assert_eq!(found(&choose(&answers, true, Known::Had(version(2)))), Some((version(3), 1)));
    }

    #[test]
    fn a_piece_is_no_object() {
        let mut part = seen(1, 5);
        part.blob.extent = Extent::new(1).expect("small");
        // Not even where an older version is whole: the later one may have been acknowledged.
        let answers = [answer(vec![seen(1, 3), part])];
        assert!(matches!(choose(&answers, true, Known::Nothing), Choice::Unknown(_)));
    }

    #[test]
    fn copies_that_differ_or_prove_nothing_are_not_served() {
        let (mut larger, mut other, mut opaque) = (seen(2, 3), seen(2, 3), seen(2, 3));
        larger.size = 6;
        other.md5 = Some(Etag::new("00000000000000000000000000000000"));
        opaque.md5 = None;
        opaque.blob.r#gen = Gen::of_worker(0).expect("the first");
        let with = |seen2: &Seen| {
            choose(&[answer(vec![seen(1, 3)]), answer(vec![seen2.clone()])], true, Known::Nothing)
        };
        assert!(matches!(with(&larger), Choice::Unknown(_)));
        assert!(matches!(with(&other), Choice::Unknown(_)));
        assert_eq!(found(&with(&opaque)), Some((version(3), 2)), "one proves it for all of its size");
        assert!(matches!(choose(&[answer(vec![opaque])], true, Known::Nothing), Choice::Unknown(_)));
    }

    #[test]
    fn names_that_an_import_may_have_kept() {
        assert_eq!(plain_names("b", "k"), ["b/k", "k"]);
        let ours = StorageKey::format("b", "k", BlobName::first(version(1)));
        assert_eq!(plain_names("x", &ours), Vec::<String>::new(), "imports refuse them");
        assert_eq!(plain_names("b", ".s3o/backend"), ["b/.s3o/backend"]);
    }
}
