//! What clients and faults write down for the checks: the history, what every value contains, the versions that were
//! acknowledged or given up, the tags that were set, and what was damaged.
//!
//! Invariant: contents are noted before a request leaves, and damage before it is done: whatever is seen later can be
//! judged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use s3o_testkit::history::Recorder;
use uuid::Uuid;

use super::content::Content;
use super::own::{Deletion, Tagged, Tags};
use crate::s3::Failure;

/// After this long clients go on to new keys: short histories are decided, however much of them is unknown, and what
/// was written before is left for faults and workers alone.
pub const EPOCH: Duration = Duration::from_secs(20);

/// A blob that was damaged behind everybody's back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Its version.
    pub version: Uuid,
    /// The ETag of the object, which names its value.
    pub etag: String,
    /// The backend's name.
    pub backend: String,
    /// Where it is, or was.
    pub storage_key: String,
}

/// A write to a bucket that keeps versions, or a delete marker there, acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVersion {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Its version id.
    pub id: String,
    /// Its ETag, or [`super::own::MARKER`].
    pub etag: String,
}

#[derive(Debug, Default)]
struct Notes {
    /// By ETag.
    contents: HashMap<String, Content>,
    kept: Vec<KeptVersion>,
    /// By version id.
    deletions: HashMap<String, Deletion>,
    /// By bucket and key, with a slash between.
    tagged: BTreeMap<String, Tagged>,
    damage: BTreeSet<Damage>,
    counts: BTreeMap<(&'static str, String), u64>,
    refused: BTreeMap<String, String>,
}

/// The board.
#[derive(Debug)]
pub struct Board {
    /// The history.
    pub recorder: Recorder,
    started: Instant,
    stopped: AtomicBool,
    notes: Mutex<Notes>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            recorder: Recorder::new(),
            started: Instant::now(),
            stopped: AtomicBool::new(false),
            notes: Mutex::default(),
        }
    }
}

impl Board {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the start, for people who wait.
    pub fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Which keys clients use now.
    pub fn epoch(&self) -> u64 {
        self.seconds() / EPOCH.as_secs()
    }

    /// Lets the clients end after their current call.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether they shall.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Notes what an ETag stands for.
    pub fn will_write(&self, etag: &str, content: Content) {
        self.notes().contents.insert(etag.to_owned(), content);
    }

    /// What was written under this ETag.
    pub fn content(&self, etag: &str) -> Option<Content> {
        self.notes().contents.get(etag).cloned()
    }

    /// Whether this is the MD5 of what was written under this ETag.
    pub fn is_content(&self, etag: &str, md5: &str) -> bool {
        self.notes().contents.get(etag).is_some_and(|content| content.md5() == md5)
    }

    /// Notes an acknowledged version.
    pub fn kept(&self, version: KeptVersion) {
        self.notes().kept.push(version);
    }

    /// All acknowledged versions.
    pub fn kept_versions(&self) -> Vec<KeptVersion> {
        self.notes().kept.clone()
    }

    /// Notes that a version is about to be deleted by its id.
    pub fn will_delete(&self, id: &str) {
        self.notes().deletions.entry(id.to_owned()).or_insert(Deletion::Asked);
    }

    /// Notes that its deletion was acknowledged.
    pub fn deleted(&self, id: &str) {
        self.notes().deletions.insert(id.to_owned(), Deletion::Done);
    }

    /// How far the deletion of a version is; `None`: nobody asked for it.
    pub fn deletion(&self, id: &str) -> Option<Deletion> {
        self.notes().deletions.get(id).copied()
    }

    /// Notes that the tags of an object are about to be set, or taken away.
    pub fn will_tag(&self, name: &str, tags: &Tags) {
        self.notes().tagged.entry(name.to_owned()).or_default().begin(tags);
    }

    /// Notes what came of it.
    pub fn tagged(&self, name: &str, tags: &Tags, done: &Result<(), Failure>) {
        let mut notes = self.notes();
        let tagged = notes.tagged.entry(name.to_owned()).or_default();
        match done {
            Ok(()) => tagged.done(tags),
            Err(failure) if failure.is_unknown() => {}
            Err(_) => tagged.forget(tags),
        }
    }

    /// All objects whose tags were to be changed, by bucket and key with a slash between.
    pub fn all_tagged(&self) -> BTreeMap<String, Tagged> {
        self.notes().tagged.clone()
    }

    /// Notes damage that is about to be done; says no when the version was damaged before.
    pub fn begin_damage(&self, damage: Damage) -> bool {
        let mut notes = self.notes();
        let is_first = notes.damage.iter().all(|other| other.version != damage.version);
        is_first && notes.damage.insert(damage)
    }

    /// All damage that was done.
    pub fn damage(&self) -> BTreeSet<Damage> {
        self.notes().damage.clone()
    }

    /// Whether a copy of this value was damaged.
    pub fn is_damaged(&self, etag: &str) -> bool {
        self.notes().damage.iter().any(|damage| damage.etag == etag)
    }

    /// Counts a call.
    pub fn count(&self, operation: &'static str, result: String) {
        *self.notes().counts.entry((operation, result)).or_default() += 1;
    }

    /// Calls by operation and result.
    pub fn counts(&self) -> BTreeMap<(&'static str, String), u64> {
        self.notes().counts.clone()
    }

    /// Notes a refusal that nothing explains, the first of its kind.
    pub fn refused(&self, kind: String, what: String) {
        self.notes().refused.entry(kind).or_insert(what);
    }

    /// Refusals that nothing explains.
    pub fn refusals(&self) -> BTreeMap<String, String> {
        self.notes().refused.clone()
    }
}
