//! Helpers of the test suites: one folder backend, one private PostgreSQL, each until a signal.
//!
//! Invariant: the one line on stdout comes when it serves, so that a script may wait for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use s3o_localpg::{LocalPostgres, Options};
use s3o_runtime::lifecycle::run_until_stopped;
use s3o_runtime::{Reload, Shutdown};
use s3o_standalone::{FolderOptions, serve_folder};

use crate::say;

const DRAIN: Duration = Duration::from_secs(10);

/// Flags of `folder-backend`.
#[derive(clap::Args)]
pub(crate) struct FolderArgs {
    /// Folder with the buckets
    #[arg(long)]
    root: PathBuf,
    /// Bucket to make
    #[arg(long, default_value = "blobs")]
    bucket: String,
    /// Address
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The only key
    #[arg(long)]
    access_key: String,
    /// Its secret
    #[arg(long)]
    secret_key: String,
}

/// Flags of `dev-postgres`.
#[derive(clap::Args)]
pub(crate) struct PostgresArgs {
    /// Data folder
    #[arg(long)]
    data: PathBuf,
}

/// Prints its endpoint and serves.
pub(crate) async fn folder_backend(args: FolderArgs) -> anyhow::Result<()> {
    let FolderArgs { root, bucket, listen, access_key, secret_key } = args;
    let options =
        FolderOptions { root, bucket, listen, access_key_id: access_key, secret_access_key: secret_key };
    let shutdown = Shutdown::new();
    let address = serve_folder(options, &shutdown).await?;
    say(format_args!("http://{address}"));
    run_until_stopped(&shutdown, &Reload::new(), DRAIN).await?;
    Ok(())
}

/// Prints its URL and runs.
pub(crate) async fn postgres(args: PostgresArgs) -> anyhow::Result<()> {
    let mut postgres = LocalPostgres::start(Options::new(args.data)).await?;
    say(postgres.url());
    let ended = run_until_stopped(&Shutdown::new(), &Reload::new(), DRAIN).await;
    postgres.stop().await?;
    ended?;
    Ok(())
}
