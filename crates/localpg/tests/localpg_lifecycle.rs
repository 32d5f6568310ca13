//! The server's life: start, stop, crash, restart, and an owner that died.
#![allow(clippy::unwrap_used)]

use std::net::TcpStream;
use std::path::Path;

use s3o_localpg::{LocalPostgres, Options};

fn options(dir: &Path) -> Options {
    Options { fsync: false, ..Options::new(dir) }
}

fn listens(postgres: &LocalPostgres) -> bool {
    TcpStream::connect(("127.0.0.1", postgres.port())).is_ok()
}

#[tokio::test]
async fn starts_stops_and_recovers_from_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut postgres = LocalPostgres::start(options(dir.path())).await.unwrap();
    assert!(listens(&postgres));
    let (port, url) = (postgres.port(), postgres.url());
    postgres.kill().await.unwrap();
    assert!(!listens(&postgres));
    assert!(postgres.pid().is_none());
    postgres.restart().await.unwrap();
    assert_eq!((postgres.port(), postgres.url()), (port, url));
    assert!(listens(&postgres));
    postgres.stop().await.unwrap();
    assert!(!listens(&postgres));
}

#[tokio::test]
async fn a_second_start_stops_the_server_that_was_left_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = LocalPostgres::start(options(dir.path())).await.unwrap();
    let mut second = LocalPostgres::start(options(dir.path())).await.unwrap();
    assert_ne!(first.pid(), second.pid());
    assert!(!listens(&first) && listens(&second));
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_closed_parent_directory_is_no_obstacle() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut postgres = LocalPostgres::start(options(&dir.path().join("a/b"))).await.unwrap();
    assert!(listens(&postgres));
    let password = dir.path().join("a/b/password");
    assert_eq!(std::fs::metadata(password).unwrap().permissions().mode() & 0o777, 0o600);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn what_looks_like_a_damaged_cluster_is_never_removed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pgdata/base/1/2");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "rows").unwrap();
    let refused = LocalPostgres::start(options(dir.path())).await.err().unwrap();
    assert!(refused.to_string().contains("PG_VERSION"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "rows");
    // An empty one, and what an interrupted initdb left, are no clusters.
    std::fs::remove_dir_all(dir.path().join("pgdata/base")).unwrap();
    std::fs::create_dir_all(dir.path().join("pgdata.new/base")).unwrap();
    let mut postgres = LocalPostgres::start(options(dir.path())).await.unwrap();
    assert!(listens(&postgres));
    postgres.stop().await.unwrap();
}
