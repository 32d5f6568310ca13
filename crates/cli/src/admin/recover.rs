//! `s3o recover`: ends the recovery mode.

use s3o_proto::v1;

use super::{Connection, connect, refused};
use crate::say;

/// Merges what the backends have newer, and shows what was found.
pub(crate) async fn recover(connection: &Connection) -> anyhow::Result<()> {
    let mut client = connect(connection).await?;
    let reply = client.recover(v1::RecoverRequest {}).await.map_err(|status| refused(&status))?.into_inner();
    reply.words.iter().for_each(say);
    say("the recovery mode is off");
    Ok(())
}
