//! Versions besides the current ones: what a batch does to them, how they are listed, and how a bucket begins and
//! ceases to keep them.
//!
//! Invariants: the order of a key's versions and markers is their `seq`; the current version, if the key has one, is the
//! newest of all, so that the newest row of a key without a current version is a marker; a key has one null row at most.

use s3o_types::{BucketId, ErrorCode, Op, Seq, Timestamp, VersionId, VersionRef, Versioning};

use crate::call::{Call, Delete, Expire, Expiring, GiveUp, Refusal, SetLock, SetTags};
use crate::config::BucketState;
use crate::facts::CurrentObject;
use crate::listing::ListedObject;
use crate::object::ObjectRow;

/// A version that is not the current one, or a delete marker.
#[derive(Debug, Clone, PartialEq)]
pub struct Noncurrent {
    /// Its row; of a marker, one of no bytes. Its copies are read only for calls that may remove it.
    pub object: CurrentObject,
    /// Whether it is a marker.
    pub delete_marker: bool,
}

/// Which noncurrent rows of its key a call is decided from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The one with this id.
    pub named: Option<VersionId>,
    /// The null one.
    pub null: bool,
    /// The two newest: one of them may be removed, and then the other takes its place.
    pub newest: bool,
}

impl Wanted {
    /// What `call` needs in a bucket that keeps versions so; `None`: nothing.
    pub fn by(call: &Call, versioning: Versioning) -> Option<Self> {
        if !versioning.is_versioned() {
            return None;
        }
        if matches!(call, Call::Import(_)) {
            // Whatever the key has, a marker too, stands against it.
            return Some(Self { named: None, null: false, newest: true });
        }
        if let Call::GiveUp(GiveUp { of, .. }) = call {
            // Its caller knows the version, not how clients name it.
            return Some(Self { named: Some(of.version), null: true, newest: true });
        }
        let (named, newest) = match call {
            Call::Delete(Delete { version: Some(named), .. }) => (*named, true),
            Call::SetTags(SetTags { version: Some(named), .. })
            | Call::SetLock(SetLock { version: Some(named), .. }) => (*named, false),
            Call::Expire(Expire { what: Expiring::Noncurrent { version, is_null }, .. }) => {
                (VersionRef::of(*version, *is_null), true)
            }
            // It takes the place of the null version, which may not be the current one.
            Call::Delete(_)
            | Call::Expire(_)
            | Call::Commit(_)
            | Call::CompleteUpload(_)
            | Call::Resolve(_)
                if matches!(versioning, Versioning::Suspended) && call.displaces() =>
            {
                (VersionRef::Null, false)
            }
            _ => return None,
        };
        match named {
            VersionRef::Null => Some(Self { named: None, null: true, newest }),
            VersionRef::Id(version) => Some(Self { named: Some(version), null: false, newest }),
        }
    }
}

/// A new delete marker. It has a row and no bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The key that has no current version by it.
    pub key: String,
    /// Its place in the key's order.
    pub seq: Seq,
    /// Its own id.
    pub version: VersionId,
    /// When.
    pub modified: Timestamp,
    /// Whether it is the key's null version.
    pub is_null: bool,
}

/// Names a row of a key.
pub type VersionRow = (BucketId, String, Seq);

/// What a batch does to versions besides the current ones, in this order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VersionEffects {
    /// Rows that go.
    pub dropped: Vec<VersionRow>,
    /// Current versions that are noncurrent from now on, as they are.
    pub retired: Vec<(BucketId, String)>,
    /// Versions that are current again, after the version or the marker above them was removed.
    pub restored: Vec<VersionRow>,
    /// New markers.
    pub markers: Vec<Marker>,
    /// Noncurrent versions whose tags are others now; nothing else of the row changed.
    pub tagged: Vec<ObjectRow>,
}

impl VersionEffects {
    /// Whether nothing is done to any.
    pub fn is_empty(&self) -> bool {
        let Self { dropped, retired, restored, markers, tagged } = self;
        dropped.is_empty()
            && retired.is_empty()
            && restored.is_empty()
            && markers.is_empty()
            && tagged.is_empty()
    }
}

/// What a reader hears of a delete marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerSeen {
    /// How clients name it.
    pub version: VersionRef,
    /// When it was made.
    pub modified: Timestamp,
}

/// One page of a bucket's versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionsQuery {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// Only keys that start with it.
    pub prefix: String,
    /// Keys that have it behind the prefix are rolled up to it; empty for none.
    pub delimiter: String,
    /// Only keys and common prefixes greater than this, as in [`crate::listing::ListQuery::after`].
    pub key_after: String,
    /// And versions of the key `key_after` itself that come behind this one.
    pub version_after: Option<VersionAfter>,
    /// 0 to [`crate::listing::MAX_KEYS`].
    pub max_keys: u32,
}

/// Where a page goes on within a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionAfter {
    /// Behind this place, whether or not anything is still there.
    Seq(Seq),
    /// Behind this version. Where the key has it no more nobody knows where it was: all its versions are listed.
    Version(VersionRef),
}

/// An entry: keys and common prefixes ascending, the versions of a key from the newest on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionEntry {
    /// A version.
    Version(ListedVersion, ListedObject),
    /// A delete marker.
    Marker(ListedVersion),
    /// Keys rolled up.
    CommonPrefix(String),
}

/// What versions and markers have in common in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// The key.
    pub key: String,
    /// Its place in the key's order.
    pub seq: Seq,
    /// How clients name it.
    pub version: VersionRef,
    /// Whether it is the newest of its key.
    pub is_latest: bool,
    /// When it was written or made.
    pub modified: Timestamp,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionsPage {
    /// At most `max_keys`.
    pub entries: Vec<VersionEntry>,
    /// Whether there are more.
    pub truncated: bool,
}

/// S3's sentence (S3 API reference, "Error responses").
pub fn no_such_version() -> Refusal {
    Refusal::new(ErrorCode::NoSuchVersion, "The specified version does not exist.")
}

/// S3's sentence, for what cannot be done to a delete marker.
pub fn is_marker() -> Refusal {
    Refusal::new(
        ErrorCode::MethodNotAllowed,
        "The specified method is not allowed against this resource: it is a delete marker.",
    )
}

/// Asks for a bucket to keep versions from now on, or to cease to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetVersioning {
    /// The idempotency key.
    pub op: Op,
    /// Who signed the client's request.
    pub access_key: String,
    /// The virtual bucket.
    pub bucket: BucketId,
    /// Enabled or suspended.
    pub wanted: Versioning,
}

/// What that is decided from, read under the bucket's lock, which every writer holds shared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column, or a row that is there")]
pub struct VersioningFacts {
    /// Whether it was done before, by the same operation.
    pub done: bool,
    /// Whether the access key may configure the bucket.
    pub may: bool,
    /// Whether the bucket can be used; `None`: there is none.
    pub state: Option<BucketState>,
    /// What it is now.
    pub versioning: Versioning,
    /// Whether it has Object Lock.
    pub locks: bool,
    /// Whether the configuration file says it.
    pub declared: bool,
    /// A data plane or a replica that is connected and does not know versions.
    pub lacking: Option<String>,
}

/// Whether there is something to change.
pub fn set_versioning(wanted: Versioning, facts: &VersioningFacts) -> Result<bool, Refusal> {
    let VersioningFacts { done, may, state, versioning, locks, declared, lacking } = facts;
    if *done {
        return Ok(false);
    }
    if !may {
        return Err(Refusal::new(
            ErrorCode::AccessDenied,
            "the access key has no right to configure the bucket",
        ));
    }
    if *state != Some(BucketState::Active) {
        return Err(Refusal::new(ErrorCode::NoSuchBucket, "the bucket does not exist"));
    }
    if wanted == *versioning {
        return Ok(false);
    }
    if wanted == Versioning::Off {
        return Err(Refusal::new(ErrorCode::InvalidArgument, "versioning can be suspended, but not undone"));
    }
    if *locks {
        // S3's sentence (S3 API reference, `PutBucketVersioning`).
        let why = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.";
        return Err(Refusal::new(ErrorCode::InvalidBucketState, why));
    }
    if *declared {
        let why = format!(
            "the bucket's versioning is declared in the control plane's configuration file, as {}; change it there",
            versioning.as_str()
        );
        return Err(Refusal::new(ErrorCode::AccessDenied, why));
    }
    match lacking {
        // It would take `null` for the current version, whichever that is.
        Some(name) if !versioning.is_versioned() => {
            let why = format!("`{name}` is of a release that does not know versions; upgrade it first");
            Err(Refusal::new(ErrorCode::FeatureRequired, why))
        }
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> VersioningFacts {
        VersioningFacts {
            done: false,
            may: true,
            state: Some(BucketState::Active),
            versioning: Versioning::Off,
            locks: false,
            declared: false,
            lacking: None,
        }
    }

    fn code(wanted: Versioning, facts: &VersioningFacts) -> ErrorCode {
        set_versioning(wanted, facts).expect_err("refused").code
    }

    #[test]
    fn versioning_is_enabled_suspended_and_never_undone() {
        use Versioning::{Enabled, Off, Suspended};
        assert_eq!(set_versioning(Enabled, &facts()), Ok(true));
        assert_eq!(set_versioning(Suspended, &facts()), Ok(true));
        assert_eq!(set_versioning(Enabled, &VersioningFacts { versioning: Enabled, ..facts() }), Ok(false));
        let enabled = VersioningFacts { versioning: Enabled, ..facts() };
        assert_eq!(set_versioning(Suspended, &enabled), Ok(true));
        assert_eq!(code(Off, &enabled), ErrorCode::InvalidArgument);
        // A repeat changes nothing, whatever came after it.
        let repeat = VersioningFacts { done: true, versioning: Suspended, ..facts() };
        assert_eq!(set_versioning(Enabled, &repeat), Ok(false));
    }

    #[test]
    fn versioning_is_refused() {
        use Versioning::{Enabled, Suspended};
        let locks = VersioningFacts { locks: true, versioning: Enabled, ..facts() };
        assert_eq!(code(Suspended, &locks), ErrorCode::InvalidBucketState);
        assert_eq!(set_versioning(Enabled, &locks), Ok(false), "it is what it must be");
        assert_eq!(code(Enabled, &VersioningFacts { may: false, ..facts() }), ErrorCode::AccessDenied);
        assert_eq!(code(Enabled, &VersioningFacts { state: None, ..facts() }), ErrorCode::NoSuchBucket);
        let gone = VersioningFacts { state: Some(BucketState::Deleting), ..facts() };
        assert_eq!(code(Enabled, &gone), ErrorCode::NoSuchBucket);
        let declared = VersioningFacts { declared: true, versioning: Enabled, ..facts() };
        assert_eq!(code(Suspended, &declared), ErrorCode::AccessDenied);
        assert_eq!(set_versioning(Enabled, &declared), Ok(false), "what is declared may be asked for");
        let old = VersioningFacts { lacking: Some("dp-1".to_owned()), ..facts() };
        assert_eq!(code(Enabled, &old), ErrorCode::FeatureRequired);
        let versioned = VersioningFacts { versioning: Enabled, ..old };
        assert_eq!(set_versioning(Suspended, &versioned), Ok(true));
    }
}
