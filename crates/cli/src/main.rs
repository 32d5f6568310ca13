//! `s3o`: the command line. Everything that asks or changes a running system goes through the Admin
//! service; what works on one machine goes through `s3o-standalone`.
//!
//! Invariant: exit code 0 means done, 1 that it failed with a sentence on stderr, 2 a wrong command line.

mod admin;
mod dev;
mod init;
mod rebuild;
mod standalone;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(
    name = "s3o",
    version,
    about = "One S3 endpoint in front of many S3 backends",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in this process: both planes, a private PostgreSQL, and folders as backends
    Standalone(standalone::Args),
    /// Check a control plane's or data plane's file
    Validate(validate::Args),
    /// Write configuration files: asks, or takes the answers as flags
    Init(init::Args),
    /// Backends, buckets, data planes and queues
    Status(admin::Connection),
    /// Ask a backend what it can do and what it needs
    #[command(subcommand)]
    Backend(admin::BackendCommand),
    /// Have something done, and see how the workers do
    #[command(subcommand)]
    Admin(admin::Command),
    /// Fill an empty database from the backends: from their journal, and from the blobs that are newer. Nothing is deleted
    /// until `s3o recover`
    Rebuild(rebuild::Args),
    /// Merge what the backends have newer than the database, and end the recovery mode
    Recover(admin::RecoverArgs),
    /// Serve one folder as an S3 backend, for tests
    #[command(hide = true)]
    FolderBackend(dev::FolderArgs),
    /// Run a private PostgreSQL, for tests
    #[command(hide = true)]
    DevPostgres(dev::PostgresArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::from(error)),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Standalone(args) => s3o_standalone::run(args.into()).await,
        Command::Validate(args) => validate::run(&args),
        Command::Init(args) => init::run(args),
        Command::Status(connection) => admin::status(&connection).await,
        Command::Backend(command) => admin::backend(&command).await,
        Command::Admin(command) => admin::run(&command).await,
        Command::Rebuild(args) => rebuild::run(&args).await,
        Command::Recover(args) => admin::recover(args).await,
        Command::FolderBackend(args) => dev::folder_backend(args).await,
        Command::DevPostgres(args) => dev::postgres(args).await,
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    use std::io::Write as _;
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "s3o: {error:#}");
    ExitCode::FAILURE
}

/// Prints a line; a reader that went away (`| head`) ends nothing.
fn say(line: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}
