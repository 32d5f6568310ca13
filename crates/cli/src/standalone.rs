//! `s3o standalone`: the command line as options.

use std::net::SocketAddr;
use std::path::PathBuf;

use s3o_standalone::StandaloneOptions;

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder for everything: database, backends, keys
    #[arg(long, value_name = "DIR", default_value = "./s3o-data")]
    data: PathBuf,
    /// Backends, buckets and credentials as in a control plane's file; what it does not say is made up
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the S3 endpoint; port 0 takes any free one, here and below
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    s3_listen: SocketAddr,
    /// Address of health and metrics
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    http_listen: SocketAddr,
    /// Address of the Admin service (gRPC)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9002")]
    grpc_listen: SocketAddr,
    /// Write endpoint, bucket and keys here as JSON once it serves
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// The database in the folder was lost: make it again from the backends' journal and blobs, then serve
    #[arg(long)]
    rebuild: bool,
    /// Log filter, as `info` or `warn,s3o_dataplane=debug`
    #[arg(long, value_name = "FILTER", env = "S3O_LOG", default_value = "warn")]
    log: String,
}

impl From<Args> for StandaloneOptions {
    fn from(args: Args) -> Self {
        let Args { data, config, s3_listen, http_listen, grpc_listen, ready_file, rebuild, log } = args;
        Self { data, config, s3_listen, http_listen, grpc_listen, ready_file, rebuild, log_filter: log }
    }
}
