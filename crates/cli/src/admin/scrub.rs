//! `s3o admin scrub`: an object's copies, read now.

use s3o_proto::v1;

use super::table::{Table, bytes};
use super::workers::tick;
use super::{Connection, connect, refused};
use crate::say;

/// Flags of `scrub`.
#[derive(clap::Args)]
pub(crate) struct ScrubArgs {
    /// The virtual bucket; without it the round over all copies goes on, within what it may read an hour
    #[arg(requires = "key")]
    bucket: Option<String>,
    /// The object's key
    key: Option<String>,
    /// The version, as S3 says it; without it the current one
    #[arg(long, value_name = "ID", requires = "key")]
    version_id: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Reads all copies of an object and shows what each is, or has a tick of the round. An error if a copy is not good:
/// scripts ask for that.
pub(crate) async fn scrub(args: &ScrubArgs) -> anyhow::Result<()> {
    let (Some(bucket), Some(key)) = (args.bucket.clone(), args.key.clone()) else {
        return tick(&args.connection, "scrubber").await;
    };
    let mut client = connect(&args.connection).await?;
    let version_id = args.version_id.clone().unwrap_or_default();
    let request = v1::ScrubObjectRequest { bucket, key, version_id };
    let mut copies = client.scrub_object(request).await.map_err(|status| refused(&status))?.into_inner();
    let mut table = Table::new(["BACKEND", "EXTENT", "SIZE", "VERDICT", "WHY", "STORAGE KEY"]);
    let (mut all, mut bad) = (0_u64, 0_u64);
    let ended = loop {
        match copies.message().await {
            Ok(Some(copy)) => {
                let v1::ScrubbedCopy { version: _, extent, backend, storage_key, size, verdict, why } = copy;
                all += 1;
                bad += u64::from(verdict != "good");
                table.row([backend, extent.to_string(), bytes(i128::from(size)), verdict, why, storage_key]);
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(refused(&status)),
        }
    };
    say(table);
    ended?;
    if bad > 0 {
        anyhow::bail!("{bad} of {all} copies are not known to be good; what is wrong is marked and repaired");
    }
    Ok(())
}
