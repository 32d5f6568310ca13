//! Both stages, without signals.

use std::future::pending;
use std::time::Duration;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn what_runs_is_finished_before_the_end() {
    let shutdown = Shutdown::new();
    let own = shutdown.clone();
    let task = shutdown.spawn(async move {
        own.stopping().await;
        tokio::task::yield_now().await;
        7
    });
    assert!(shutdown.finish(LONG).await);
    assert_eq!(task.await.unwrap(), Some(7));
}

#[tokio::test]
async fn what_does_not_end_is_cut_after_the_grace() {
    let shutdown = Shutdown::new();
    let task = shutdown.spawn(pending::<()>());
    assert!(!shutdown.finish(Duration::ZERO).await);
    assert_eq!(task.await.unwrap(), None);
}

#[tokio::test]
async fn a_second_wish_cuts_at_once() {
    let shutdown = Shutdown::new();
    shutdown.spawn(pending::<()>());
    let other = shutdown.clone();
    tokio::spawn(async move {
        other.stopping().await;
        other.force();
    });
    assert!(!shutdown.finish(LONG).await);
}

#[tokio::test]
async fn a_part_ends_alone_and_with_the_whole() {
    let whole = Shutdown::new();
    let (first, second) = (whole.child(), whole.child());
    first.spawn(pending::<()>());
    second.spawn(pending::<()>());
    first.force();
    assert!(!first.finish(LONG).await);
    assert!(!whole.is_stopping() && whole.running() == 1, "only the second part is left");
    whole.force();
    whole.finish(LONG).await;
    assert_eq!((second.running(), second.is_stopping()), (0, true));
}

#[tokio::test]
async fn a_hold_keeps_the_end_waiting() {
    let shutdown = Shutdown::new();
    let hold = shutdown.hold();
    let other = shutdown.clone();
    tokio::spawn(async move {
        other.stopping().await;
        drop(hold);
    });
    assert!(shutdown.finish(LONG).await);
}

#[tokio::test]
async fn wishes_to_reload_reach_every_subscriber() {
    let reload = Reload::new();
    let (mut a, mut b) = (reload.subscribe(), reload.subscribe());
    reload.request();
    a.changed().await.unwrap();
    b.changed().await.unwrap();
}
