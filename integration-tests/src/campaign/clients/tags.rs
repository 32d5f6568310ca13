//! Tags of own objects: set, set anew, taken away.
//!
//! Invariant: the object itself is written once, before its tags: a write that comes late would take them away.

use aws_sdk_s3::types::{Tag, Tagging};
use rand::RngExt as _;

use super::{SIZES, Target, Worker};
use crate::campaign::buckets::BUCKETS;
use crate::campaign::own::{Tags, own_key};
use crate::s3::Failure;

impl Worker {
    pub(super) async fn tags(&mut self) -> bool {
        let Some(target) = self.tagged_object().await else { return false };
        let (tags, plane) = (self.draw_tags(), self.plane());
        let (bucket, key) = (target.bucket.name, &target.key);
        let operation = if tags.is_empty() { "delete tags" } else { "put tags" };
        self.board.will_tag(&target.name(), &tags);
        let done = if tags.is_empty() {
            let call = plane.delete_object_tagging().bucket(bucket).key(key);
            call.send().await.map(drop).map_err(|error| Failure::of(&error))
        } else {
            let call = plane.put_object_tagging().bucket(bucket).key(key).set_tagging(document(&tags));
            call.send().await.map(drop).map_err(|error| Failure::of(&error))
        };
        self.board.tagged(&target.name(), &tags, &done);
        self.count(operation, &target.name(), &done)
    }

    /// Another object in each epoch. One whose PUT was not acknowledged is left alone for good.
    async fn tagged_object(&mut self) -> Option<Target> {
        let epoch = self.board.epoch();
        if let Some((_, target)) = self.tagged.as_ref().filter(|(since, _)| *since == epoch) {
            return Some(target.clone());
        }
        let bucket = &BUCKETS[self.random.random_range(0..BUCKETS.len())];
        // No other object has ever had this number.
        let target = Target { bucket, key: own_key(&self.name, "tags", self.made) };
        let size = SIZES[self.random.random_range(0..3)];
        self.put_own(&target, size).await?;
        self.tagged = Some((epoch, target.clone()));
        Some(target)
    }

    /// Tags that nobody else sets, or none.
    fn draw_tags(&mut self) -> Tags {
        if self.random.random_bool(0.2) {
            return Tags::new();
        }
        self.made += 1;
        let value = format!("{} {}", self.name, self.made);
        (0..self.random.random_range(1..=3)).map(|n| (format!("tag {n}"), value.clone())).collect()
    }
}

/// `None` is for what the SDK does not take, and it takes all of ours.
fn document(tags: &Tags) -> Option<Tagging> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build().ok();
    Tagging::builder().set_tag_set(tags.iter().map(tag).collect()).build().ok()
}
