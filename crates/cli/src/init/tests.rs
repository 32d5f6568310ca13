//! What `init` writes is read back by the services' own code.

use std::os::unix::fs::PermissionsExt as _;

use s3o_controlplane::ControlPlaneConfig;
use s3o_runtime::config::parse;

use super::answers::parse_backend;
use super::*;
use crate::validate::{Kind, check};

fn args(dir: &Path, backends: &[&str]) -> Args {
    Args {
        dir: dir.to_owned(),
        yes: true,
        force: false,
        // A password with everything that YAML and the expansion could stumble over.
        database_url: Some("postgres://u:p$w\"x\\#:{}@h/db".to_owned()),
        backends: backends.iter().map(|text| parse_backend(text).expect("a backend")).collect(),
        buckets: vec!["photos".to_owned(), "logs".to_owned()],
        control_plane: None,
    }
}

#[test]
fn what_is_written_is_valid() {
    let dir = tempfile::tempdir().expect("a folder");
    let backends = [
        "name=b2,endpoint=https://s3.b2.example,bucket=x,quota=10GiB",
        "name=r-2,endpoint=http://r2:80,bucket=y,region=auto",
    ];
    run(args(dir.path(), &backends)).expect("written");
    let file = dir.path().join("controlplane.yaml");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).expect("read");
    let config: ControlPlaneConfig = parse(&text, &file, &|name| Some(format!("of-{name}"))).expect("valid");
    assert_eq!(config.database.url.expose(), "postgres://u:p$w\"x\\#:{}@h/db");
    let declared = config.declared().expect("declares");
    assert_eq!((declared.backends.len(), declared.buckets.len()), (2, 2));
    assert_eq!(declared.backends[0].quota_bytes, Some(10 << 30));
    assert!(declared.credentials[0].grants.iter().all(|grant| grant.1));
    assert!(text.contains("${S3O_R_2_SECRET_ACCESS_KEY}"), "{text}");
    assert_eq!(check(&dir.path().join("dataplane.yaml")).expect("valid"), Kind::DataPlane);
    // The backends' variables are not set here, and each is named.
    let error = check(&file).expect_err("variables are missing").to_string();
    assert!(error.contains("S3O_B2_ACCESS_KEY_ID") && error.contains("S3O_R_2_SECRET_ACCESS_KEY"), "{error}");
}

#[test]
fn nothing_is_overwritten_unasked() {
    let dir = tempfile::tempdir().expect("a folder");
    let backend = ["name=a,endpoint=http://h,bucket=x"];
    run(args(dir.path(), &backend)).expect("written");
    assert!(run(args(dir.path(), &backend)).is_err());
    run(Args { force: true, ..args(dir.path(), &backend) }).expect("forced");
}

#[test]
fn wrong_answers_are_refused() {
    for wrong in
        ["", "name=a", "name=a,endpoint=h,bucket=x", "name=a,endpoint=http://h,bucket=x,quota=many", "x=y"]
    {
        assert!(parse_backend(wrong).is_err(), "{wrong}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    assert!(run(args(dir.path(), &[])).is_err(), "no backend");
    let twice = ["name=a,endpoint=http://h,bucket=x", "name=a,endpoint=http://h,bucket=y"];
    assert!(run(args(dir.path(), &twice)).is_err(), "one name twice");
}

#[test]
fn files_that_are_not_ours() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("x.yaml");
    for (text, says) in
        [("a: 1\n", "no file of ours"), ("database: {}\ncontrol_planes: []\n", "one of them is wrong")]
    {
        std::fs::write(&file, text).expect("written");
        let error = check(&file).expect_err("not ours").to_string();
        assert!(error.contains(says), "{error}");
    }
}
