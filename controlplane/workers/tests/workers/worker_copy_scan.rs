//! Pages are queued until none is due; drains are counted; empty backends go.

use s3o_core::replication::Drain;
use s3o_core::worker::Counts;
use s3o_types::BackendId;

use crate::fakes::{Fixture, State};

fn drain(done: bool) -> Drain {
    Drain {
        backend: BackendId(1),
        name: "b1".to_owned(),
        asked: true,
        objects: 0,
        bytes: 0,
        other_bytes: 0,
        waiting: 0,
        done,
        removal: None,
    }
}

#[tokio::test]
async fn a_tick_takes_all_pages_that_are_due() {
    let fixture = Fixture::start(Vec::new(), State::default());
    fixture.run("copy_scan").await;
    let page =
        |looked, queued| Counts::from([("looked_at".to_owned(), looked), ("queued".to_owned(), queued)]);
    {
        let mut state = fixture.state();
        state.copies.scans = vec![page(1000, 3), page(1000, 0), page(7, 7)];
        state.copies.drains = vec![drain(false), drain(true)];
        state.copies.retired = 1;
    }
    let counts = fixture.run("copy_scan").await;
    assert_eq!((counts["looked_at"], counts["queued"], counts["retired"]), (2007, 10, 1));
    assert!(fixture.state().copies.scans.is_empty());
    assert!(fixture.metrics.encode().contains("s3o_drain_active 1"));
    fixture.end().await;
}
