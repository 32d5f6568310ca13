//! `s3o recover`: ends the recovery mode.

use s3o_proto::v1;

use super::{Connection, connect_for, refused};
use crate::say;

/// What it is done with.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// A backend that is lost: what only it has counts as lost. May be said several times
    #[arg(long, value_name = "NAME")]
    without: Vec<String>,
}

/// Merges what the backends have newer, and shows what was found. It takes as long as all of them take to be listed.
pub(crate) async fn recover(args: Args) -> anyhow::Result<()> {
    let Args { connection, without } = args;
    let mut client = connect_for(&connection, None).await?;
    let reply =
        client.recover(v1::RecoverRequest { without }).await.map_err(|status| refused(&status))?.into_inner();
    reply.words.iter().for_each(say);
    say("the recovery mode is off");
    Ok(())
}
