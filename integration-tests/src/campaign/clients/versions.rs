//! Own keys of buckets that keep versions: versions and delete markers are made, and single ones deleted by their ids.
//!
//! Invariant: only ids that were told are deleted, each by one wish: whatever else was acknowledged has to stay.

use rand::RngExt as _;

use super::{SIZES, Target, Worker};
use crate::campaign::buckets::BUCKETS;
use crate::campaign::own::{MARKER, own_key};
use crate::s3::Failure;

impl Worker {
    pub(super) async fn own_versions(&mut self) -> bool {
        let target = self.versioned_key();
        let made = if self.random.random_bool(0.2) {
            self.own_marker(&target).await
        } else {
            self.own_puts(&target).await
        };
        if !made || self.random.random_bool(0.3) {
            return made;
        }
        match self.draw_version() {
            Some(id) => self.delete_version(&target, &id).await,
            None => true,
        }
    }

    /// Another one in each epoch.
    fn versioned_key(&mut self) -> Target {
        let key = own_key(&self.name, "versions", self.board.epoch());
        if let Some((target, _)) = self.versions.as_ref().filter(|(target, _)| target.key == key) {
            return target.clone();
        }
        let versioned: Vec<usize> = (0..BUCKETS.len()).filter(|n| BUCKETS[*n].versioned).collect();
        let bucket = &BUCKETS[versioned[self.random.random_range(0..versioned.len())]];
        let target = Target { bucket, key };
        self.versions = Some((target.clone(), Vec::new()));
        target
    }

    async fn own_puts(&mut self, target: &Target) -> bool {
        for _ in 0..self.random.random_range(1..=3) {
            // Small ones: versions stay for the whole run.
            let size = SIZES[self.random.random_range(0..3)];
            let Some(stored) = self.put_own(target, size).await else { return false };
            self.remember(stored.id);
        }
        true
    }

    /// A DELETE without a version id.
    async fn own_marker(&mut self, target: &Target) -> bool {
        let plane = self.plane();
        let done = plane.delete_object().bucket(target.bucket.name).key(&target.key).send().await;
        let done = done.map_err(|error| Failure::of(&error));
        let id = done.as_ref().ok().and_then(|deleted| deleted.version_id().map(str::to_owned));
        self.note_version(target, id.clone(), MARKER);
        self.remember(id);
        self.count("delete own", &target.name(), &done.map(drop))
    }

    fn remember(&mut self, id: Option<String>) {
        if let (Some(id), Some((_, ids))) = (id, &mut self.versions) {
            ids.push(id);
        }
    }

    /// The newest version, or any of those that nobody was asked to delete.
    fn draw_version(&mut self) -> Option<String> {
        let (_, ids) = self.versions.as_mut()?;
        if ids.is_empty() || self.random.random_bool(0.4) {
            return ids.pop();
        }
        Some(ids.remove(self.random.random_range(0..ids.len())))
    }
}
