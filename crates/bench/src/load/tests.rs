//! The loader against the null backend, and against a server that stalls. No speed is asserted.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::closed::Lap;
use super::*;
use crate::keys::Keys;
use crate::sign::Signer;

async fn null() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(crate::null::accept(listener));
    address
}

fn workshop(address: SocketAddr) -> Workshop {
    let host = address.to_string();
    let signer = Signer::new("ak", "secret", "us-east-1", &host, crate::clock::amz_now());
    Workshop::new(signer, "bucket", &host).expect("a workshop")
}

async fn lap(address: SocketAddr, verify: bool, feed: Feed) -> closed::Ended {
    let lap = Lap::start(connect_all(&[address], 4, verify).await.expect("connections"), feed);
    lap.run(Duration::from_secs(60)).await;
    lap.end().await.expect("an end")
}

#[tokio::test]
async fn what_is_put_is_got_listed_and_deleted() {
    let (address, payloads) = (null().await, Payloads::new(Payload::Unsigned, 70_000, 1));
    let (workshop, keys) = (workshop(address), Keys::new("k", 1, 0));
    let all = |make: &dyn Fn(u64) -> anyhow::Result<request::Prepared>| {
        Feed::once((0..200).map(make).collect::<anyhow::Result<_>>().expect("requests"))
    };
    let puts = lap(address, true, all(&|n| workshop.put(&keys.key(n), payloads.upload(n)))).await;
    assert_eq!((puts.latency.len(), puts.failed), (200, Failed::default()));
    let gets = lap(address, true, all(&|n| workshop.get(&keys.key(n), payloads.plain(n)))).await;
    assert_eq!((gets.latency.len(), gets.failed), (200, Failed::default()));
    let heads = lap(address, true, all(&|n| workshop.head(&keys.key(n)))).await;
    assert_eq!((heads.latency.len(), heads.failed), (200, Failed::default()));
    let list = lap(address, true, Feed::once(vec![workshop.list("k/", "k/0", false).expect("a list")])).await;
    assert_eq!(list.failed.count, 0);
    let first: Vec<String> = (0..100).map(|n| keys.key(n)).collect();
    let many = lap(address, true, Feed::once(vec![workshop.delete_objects(&first).expect("deletes")])).await;
    assert_eq!(many.failed.count, 0);
    let rest = Feed::once((100..200).map(|n| workshop.delete(&keys.key(n)).expect("a delete")).collect());
    assert_eq!(lap(address, true, rest).await.latency.len(), 100);
    let gone = lap(address, true, all(&|n| workshop.get(&keys.key(n), payloads.plain(n)))).await;
    assert_eq!((gone.failed.count, gone.latency.len()), (200, 0));
    assert!(gone.failed.first[0].contains("status 404 in place of 200"), "{:?}", gone.failed.first);
}

#[tokio::test]
async fn every_way_to_sign_a_body_stores_the_same_object() {
    let address = null().await;
    let workshop = workshop(address);
    for payload in [Payload::Unsigned, Payload::Signed, Payload::Trailer] {
        let payloads = Payloads::new(payload, 70_000, 1);
        let put = Feed::once(vec![workshop.put("k", payloads.upload(0)).expect("a put")]);
        assert_eq!(lap(address, true, put).await.failed, Failed::default(), "{payload:?}");
        let get = Feed::once(vec![workshop.get("k", payloads.plain(0)).expect("a get")]);
        assert_eq!(lap(address, true, get).await.failed, Failed::default(), "{payload:?}");
    }
}

#[tokio::test]
async fn a_wrong_length_or_content_fails() {
    let (address, payloads) = (null().await, Payloads::new(Payload::Signed, 1000, 1));
    let workshop = workshop(address);
    lap(address, false, Feed::once(vec![workshop.put("k", payloads.upload(0)).expect("a put")])).await;
    let get = |body: bytes::Bytes| Feed::once(vec![workshop.get("k", body).expect("a get")]);
    assert_eq!(lap(address, true, get(payloads.plain(0))).await.failed.count, 0);
    assert_eq!(lap(address, true, get(payloads.plain(1))).await.failed.count, 1);
    assert_eq!(lap(address, false, get(payloads.plain(1))).await.failed.count, 0, "content is not compared");
    assert_eq!(lap(address, false, get(payloads.plain(0).slice(..999))).await.failed.count, 1);
}

#[tokio::test]
async fn a_closed_loop_counts_and_signs_more_when_it_must() {
    let (address, payloads) = (null().await, Payloads::new(Payload::Unsigned, 4096, 1));
    let (workshop, keys) = (workshop(address), Keys::new("k", 1, 0));
    let feed = Feed::endless(10, move |n| workshop.put(&keys.key(n), payloads.upload(n))).expect("a feed");
    let lap = Lap::start(connect_all(&[address], 4, false).await.expect("connections"), feed);
    while lap.count().requests < 100 {
        lap.run(Duration::from_millis(20)).await;
    }
    let count = lap.count();
    assert!(count.sent >= count.requests * 4096 && count.rate(4096, false) > 0.0);
    let ended = lap.end().await.expect("an end");
    assert!(ended.signed_late >= 90 && ended.failed.count == 0 && ended.connections.len() == 4);
}

/// Answers every request at once, but stands still for `stall` before request `at`.
async fn stalling(at: u64, stall: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        let mut answered = 0;
        while let Ok(n @ 1..) = socket.read(&mut buffer).await {
            seen.extend_from_slice(&buffer[..n]);
            while let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                seen.drain(..end + 4);
                if answered == at {
                    tokio::time::sleep(stall).await;
                }
                answered += 1;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                socket.write_all(answer).await.expect("the client");
            }
        }
    });
    address
}

/// One stall of a second in four: a closed loop would see one slow request in many. Every request that
/// was due meanwhile has waited.
#[tokio::test]
async fn a_stall_is_charged_to_all_that_were_due() {
    let address = stalling(100, Duration::from_secs(1)).await;
    let workshop = workshop(address);
    let feed = Feed::cycle(vec![workshop.head("k").expect("a head")]);
    let connections = connect_all(&[address], 1, false).await.expect("a connection");
    let found = open::run(connections, feed, 100.0, Duration::from_secs(4)).await.expect("a run");
    assert_eq!((found.failed.count, found.latency.len()), (0, 400));
    let at = |quantile| Duration::from_nanos(found.latency.value_at_quantile(quantile));
    // 100 of 400 requests were due in that second; the last of them waited least.
    assert!(at(0.99) >= Duration::from_millis(900), "{:?}", at(0.99));
    assert!(at(0.90) >= Duration::from_millis(500), "{:?}", at(0.90));
    assert!(found.latency.count_between(300_000_000, u64::MAX) >= 60);
}
