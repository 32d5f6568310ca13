//! `s3o recover`: ends the recovery mode.

use s3o_proto::v1;

use super::{Connection, connect, refused};
use crate::say;

/// Merges what the backends have newer, and shows what was found.
pub(crate) async fn recover(connection: &Connection) -> anyhow::Result<()> {
    let mut client = connect(connection).await?;
    let reply = client.recover(v1::RecoverRequest {}).await.map_err(|status| refused(&status))?.into_inner();
    let v1::RecoverReply {
        files,
        records,
        missing_segments,
        unreadable,
        blobs,
        added,
        removed,
        copies,
        revived,
        unknown_blobs,
        unknown,
        lost,
    } = reply;
    say(format_args!("journal: {files} files, {records} records; backends: {blobs} keys"));
    say(format_args!(
        "merged: {added} versions and delete markers added, {removed} removed, {copies} copies"
    ));
    say(format_args!("of after the journal's end, by their blobs alone: {revived} objects"));
    say(format_args!("blobs of which it is not known what they are: {unknown_blobs}"));
    missing_segments.iter().for_each(|number| say(format_args!("missing: segment {number} of the journal")));
    unreadable.iter().for_each(|why| say(format_args!("unreadable: {why}")));
    unknown.iter().for_each(|blob| say(format_args!("unknown: {blob}")));
    lost.iter().for_each(|version| say(format_args!("lost: {version}")));
    say("the recovery mode is off");
    Ok(())
}
