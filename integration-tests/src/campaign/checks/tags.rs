//! Tags: an own object has those of the last change that was acknowledged, or of one that was never answered.

use anyhow::Result;

use super::Violation;
use crate::campaign::field::Field;
use crate::campaign::own::Tags;
use crate::s3::Failure;

pub(super) async fn check(field: &Field) -> Result<Vec<Violation>> {
    let client = field.cluster.s3(0);
    let mut found = Vec::new();
    for (name, tagged) in field.board.all_tagged() {
        let Some((bucket, key)) = name.split_once('/') else { continue };
        let got = client.get_object_tagging().bucket(bucket).key(key).send().await;
        let tags = got.map_err(|error| Failure::of(&error)).map(|got| {
            let tags = got.tag_set().iter();
            tags.map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect::<Tags>()
        });
        if !tags.as_ref().is_ok_and(|tags| tagged.may_be(tags)) {
            found.push(Violation::new("tags", format!("{name} has {tags:?}, which are none of {tagged:?}")));
        }
    }
    Ok(found)
}
