//! The process's log. It stands alone in its process: where a second subscriber comes or goes while
//! a filter is replaced, `tracing` may keep a level that it had computed before.

use s3o_runtime::telemetry::{LogConfig, LogFormat, init};
use tracing::{Level, enabled};

#[test]
fn it_is_set_up_once_and_its_filter_replaced() {
    let first = init(&LogConfig::default()).unwrap();
    let second = init(&LogConfig { filter: "warn".into(), format: LogFormat::Text }).unwrap();
    assert_eq!(first.filter(), "warn");
    second.set_filter("info,s3o_runtime=debug").unwrap();
    assert!(enabled!(target: "s3o_runtime", Level::DEBUG));
    assert!(!enabled!(target: "s3o_backend", Level::DEBUG));
    assert!(!enabled!(target: "s3s::http::de", Level::ERROR), "it logs whole bodies");
    first.set_filter("off").unwrap();
    assert!(!enabled!(target: "s3o_runtime", Level::ERROR));
    assert!(enabled!(target: "audit", Level::INFO), "audit events always pass");
    assert!(first.set_filter("a=b=c").is_err());
    assert_eq!(first.filter(), "off");
}
