//! Several targets at one body: different paces, ends, errors, and who wakes whom.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use futures::channel::mpsc::{UnboundedSender, unbounded};
use s3o_blob::Expected;

use super::*;
use crate::pipeline::replay::ReplayPool;

type Sender = UnboundedSender<Result<Bytes, BoxError>>;

/// A body that comes when the test says so.
fn fed(size: u64, replay: Option<Replay>) -> (Arc<Fan>, Sender) {
    let (sender, chunks) = unbounded();
    let (guard, verdict) = Guard::new(Box::pin(chunks) as ByteStream, Expected::of_size(size));
    (Fan::new(guard, verdict, replay), sender)
}

/// A body that is there, in chunks of this size.
fn whole(chunks: usize, chunk: usize) -> Arc<Fan> {
    let (fan, sender) = fed((chunks * chunk) as u64, None);
    for number in 0..chunks {
        send(&sender, &vec![u8::try_from(number % 251).expect("small"); chunk]);
    }
    fan
}

fn send(sender: &Sender, bytes: &[u8]) {
    sender.unbounded_send(Ok(Bytes::copy_from_slice(bytes))).expect("the body is read");
}

fn join(fan: &Arc<Fan>, count: usize) -> Vec<Consumer> {
    let watches = (0..count).map(|_| UploadWatch::new()).collect();
    fan.join(watches, false).expect("the first byte is there").0
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One target that is polled by hand.
struct Hand {
    consumer: Consumer,
    woken: Arc<Woken>,
    seen: Vec<u8>,
}

impl Hand {
    fn of(consumer: Consumer) -> Self {
        Self { consumer, woken: Arc::default(), seen: Vec::new() }
    }

    fn all(fan: &Arc<Fan>, count: usize) -> Vec<Self> {
        join(fan, count).into_iter().map(Self::of).collect()
    }

    fn poll(&mut self) -> Poll<Option<Result<Bytes, BoxError>>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        Pin::new(&mut self.consumer).poll_next(&mut Context::from_waker(&waker))
    }

    /// Takes all that it can get now; says how it went on then.
    fn take(&mut self) -> Poll<Option<Result<(), String>>> {
        loop {
            match self.poll() {
                Poll::Ready(Some(Ok(chunk))) => self.seen.extend_from_slice(&chunk),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.to_string()))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Since it was last asked.
    fn was_woken(&self) -> bool {
        self.woken.0.swap(0, Ordering::SeqCst) > 0
    }
}

#[test]
fn the_fast_one_waits_for_the_slow_one_with_less_than_a_mebibyte_kept() {
    const CHUNK: usize = 408 * 1024;
    let fan = whole(10, CHUNK);
    let [fast, slow] = &mut Hand::all(&fan, 2)[..] else { unreachable!() };
    assert!(fast.take().is_pending());
    assert!(fast.seen.len() > CHUNK && fast.seen.len() < 1024 * 1024, "{}", fast.seen.len());
    assert!(fast.consumer.held && !slow.consumer.held);
    let mut end = fast.take();
    for _ in 0..8 {
        assert!(end.is_pending());
        let Poll::Ready(Some(Ok(chunk))) = slow.poll() else { panic!("it is kept for it") };
        slow.seen.extend_from_slice(&chunk);
        assert!(fast.was_woken(), "there is room");
        end = fast.take();
        assert!(fast.seen.len() - slow.seen.len() < 1024 * 1024);
    }
    assert!(matches!(end, Poll::Ready(None)), "it had the last chunk, and so the end");
    assert!(!fast.consumer.held);
    assert!(matches!(slow.take(), Poll::Ready(None)));
}

#[test]
fn all_see_the_same_bytes_at_any_pace() {
    let fan = whole(1000, 4096);
    let mut hands = Hand::all(&fan, 3);
    let mut ended = [false; 3];
    let mut random = 7_u32;
    while ended != [true; 3] {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let at = (random >> 16) as usize % 3;
        for _ in 0..(random >> 24) % 40 {
            match hands[at].poll() {
                Poll::Ready(Some(chunk)) => {
                    hands[at].seen.extend_from_slice(&chunk.expect("no error"));
                }
                Poll::Ready(None) => ended[at] = true,
                Poll::Pending => break,
            }
        }
    }
    assert_eq!(hands[0].seen.len(), 1000 * 4096);
    assert!(hands[0].seen == hands[1].seen && hands[1].seen == hands[2].seen);
    assert!(fan.verdict().digests().is_some());
}

#[test]
fn the_source_wakes_all_and_whoever_comes_first_takes_for_all() {
    let (fan, sender) = fed(4, None);
    let [one, two] = &mut Hand::all(&fan, 2)[..] else { unreachable!() };
    assert!(one.take().is_pending() && two.take().is_pending());
    send(&sender, b"ab");
    send(&sender, b"cd");
    assert!(one.was_woken() && two.was_woken());
    // The one that did not ask last.
    let _ = one.take();
    assert_eq!(one.seen, b"ab", "the guard holds the last chunk");
    assert!(two.poll().is_ready(), "the same chunk, without the source");
    assert!(one.take().is_pending() && two.take().is_pending());
    drop(sender);
    assert!(one.was_woken() && two.was_woken());
    assert!(matches!(two.take(), Poll::Ready(None)) && matches!(one.take(), Poll::Ready(None)));
    assert_eq!((&one.seen[..], &two.seen[..]), (&b"abcd"[..], &b"cd"[..]));
}

#[test]
fn one_that_asked_last_and_is_dropped_leaves_nobody_asleep() {
    let (fan, sender) = fed(4, None);
    let mut hands = Hand::all(&fan, 2);
    let mut last = hands.pop().expect("two");
    let mut first = hands.pop().expect("two");
    send(&sender, b"ab");
    send(&sender, b"c");
    assert!(first.take().is_pending() && last.take().is_pending());
    drop(last);
    assert!(first.was_woken(), "it is alone now");
    assert!(first.take().is_pending());
    send(&sender, b"d");
    assert!(first.was_woken(), "the source knows it");
    drop(sender);
    assert!(matches!(first.take(), Poll::Ready(None)));
    assert_eq!(first.seen, b"abcd");
}

#[test]
fn one_that_was_alone_at_the_source_hears_of_what_another_took() {
    let pool = ReplayPool::new(100, 100);
    let (fan, sender) = fed(3, pool.reserve(3));
    let mut first = Hand::of(join(&fan, 1).remove(0));
    send(&sender, b"a");
    send(&sender, b"b");
    assert!(first.take().is_pending());
    let mut second = Hand::of(join(&fan, 1).remove(0));
    assert!(second.take().is_pending(), "it asked the source last");
    assert_eq!(second.seen, b"a", "from the replay memory");
    send(&sender, b"c");
    // Whoever was woken asks; then both have it.
    let _ = second.take();
    assert!(first.was_woken());
    assert!(first.take().is_pending());
    drop(sender);
    assert!(matches!(first.take(), Poll::Ready(None)) && matches!(second.take(), Poll::Ready(None)));
    assert_eq!((first.seen, second.seen), (b"abc".to_vec(), b"abc".to_vec()));
}

#[test]
fn a_slow_one_that_is_given_up_makes_room() {
    let fan = whole(100, 64 * 1024);
    let mut hands = Hand::all(&fan, 2);
    assert!(hands[0].take().is_pending());
    hands[1].consumer.seat().give_up();
    assert!(hands[0].was_woken());
    assert!(matches!(hands[0].take(), Poll::Ready(None)));
    assert_eq!(hands[0].seen.len(), 100 * 64 * 1024);
    assert!(matches!(hands[1].take(), Poll::Ready(Some(Err(_)))), "and gets nothing more");
}

#[test]
fn one_that_left_before_its_first_chunk_is_replaced_by_another() {
    let fan = whole(100, 64 * 1024);
    let mut hands = Hand::all(&fan, 2);
    let gone = hands.pop().expect("two");
    let seat = gone.consumer.seat();
    assert!(hands[0].take().is_pending(), "the window is full");
    drop(gone);
    assert!(hands[0].take().is_pending(), "its place is kept");
    assert!(fan.has_start());
    let mut other = Hand::of(join(&fan, 1).remove(0));
    seat.give_up();
    assert!(other.take().is_pending(), "up to where the first is, and as far again");
    while !matches!((hands[0].take(), other.take()), (Poll::Ready(None), Poll::Ready(None))) {}
    assert!(hands[0].seen == other.seen && other.seen.len() == 100 * 64 * 1024);
    assert!(!fan.has_start());
    assert!(fan.join(vec![UploadWatch::new()], false).is_none());
}

#[test]
fn without_a_replacement_the_kept_place_is_let_go() {
    let fan = whole(100, 64 * 1024);
    let mut hands = Hand::all(&fan, 2);
    let seat = hands[1].consumer.seat();
    assert!(hands[0].take().is_pending());
    seat.leave();
    assert!(!hands[0].was_woken(), "not yet");
    seat.give_up();
    assert!(hands[0].was_woken());
    assert!(matches!(hands[0].take(), Poll::Ready(None)));
}

#[test]
fn an_error_of_the_body_reaches_everybody() {
    let (fan, sender) = fed(100, None);
    let mut hands = Hand::all(&fan, 3);
    send(&sender, b"ab");
    send(&sender, b"cd");
    assert!(hands.iter_mut().all(|hand| hand.take().is_pending()));
    drop(sender);
    for hand in &mut hands {
        assert!(hand.was_woken());
        assert!(matches!(hand.take(), Poll::Ready(Some(Err(_)))), "short");
        assert_eq!(hand.seen, b"ab", "the last chunk stays where it is");
        assert!(matches!(hand.take(), Poll::Ready(Some(Err(_)))), "also when asked again");
    }
    assert!(fan.verdict().fault().is_some());
}

#[test]
fn a_wrong_digest_gives_nobody_the_last_chunk() {
    let (sender, chunks) = unbounded();
    let expected = Expected { md5: Some([0; 16]), ..Expected::of_size(4) };
    let (guard, verdict) = Guard::new(Box::pin(chunks) as ByteStream, expected);
    let fan = Fan::new(guard, verdict, None);
    let mut hands = Hand::all(&fan, 2);
    send(&sender, b"ab");
    send(&sender, b"cd");
    drop(sender);
    for hand in &mut hands {
        assert!(matches!(hand.take(), Poll::Ready(Some(Err(_)))));
        assert_eq!(hand.seen, b"ab");
    }
}

#[test]
fn replay_memory_lets_one_begin_at_any_time_and_the_fast_run_ahead() {
    const SIZE: usize = 2 * 1024 * 1024;
    let pool = ReplayPool::new(SIZE as u64, SIZE as u64);
    let (fan, sender) = fed(SIZE as u64, pool.reserve(SIZE as u64));
    for _ in 0..32 {
        send(&sender, &vec![7; SIZE / 32]);
    }
    drop(sender);
    let mut hands = Hand::all(&fan, 2);
    assert!(matches!(hands[0].take(), Poll::Ready(None)), "nobody waits for the other");
    assert!(hands[1].poll().is_ready());
    drop(hands);
    let mut late = Hand::of(join(&fan, 1).remove(0));
    assert!(matches!(late.take(), Poll::Ready(None)));
    assert_eq!(late.seen.len(), SIZE);
}

/// Wakes within its own poll, as a task's budget makes sources do.
#[test]
fn a_source_may_wake_from_within() {
    let mut polls = 0;
    let source = futures::stream::poll_fn(move |cx| {
        polls += 1;
        if polls % 2 == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready((polls < 6).then(|| Ok(Bytes::from_static(b"ab"))))
    });
    let (guard, verdict) = Guard::new(Box::pin(source) as ByteStream, Expected::of_size(4));
    let fan = Fan::new(guard, verdict, None);
    let mut hands = Hand::all(&fan, 2);
    assert!(hands[0].take().is_pending());
    assert!(hands[0].was_woken());
    while !matches!((hands[0].take(), hands[1].take()), (Poll::Ready(None), Poll::Ready(None))) {}
    assert_eq!((&hands[0].seen[..], &hands[1].seen[..]), (&b"abab"[..], &b"abab"[..]));
}

#[test]
fn only_the_slowest_holds_up_and_only_while_it_has_no_pace() {
    let patience = Duration::from_secs(3);
    let fan = whole(1000, 64 * 1024);
    let mut hands = Hand::all(&fan, 3);
    let seats: Vec<Seat> = hands.iter().map(|hand| hand.consumer.seat()).collect();
    let holding = |now| seats.iter().map(|seat| seat.holds_up(patience, now)).collect::<Vec<_>>();
    let refused = || seats[0].fan.lock().refused.expect("the fast wait").0;
    let _ = (hands[0].take(), hands[1].take());
    let first = refused();
    assert_eq!(holding(first + patience / 2), [false, false, false]);
    assert_eq!(holding(first + patience), [false, false, true]);
    // A chunk now and then is no pace.
    while Instant::now() == first {}
    for _ in 0..7 {
        assert!(hands[2].poll().is_ready());
        let _ = (hands[0].take(), hands[1].take());
    }
    assert_eq!((refused(), holding(first + patience)), (first, vec![false, false, true]));
    // With this one it is a window.
    assert!(hands[2].poll().is_ready());
    let _ = (hands[0].take(), hands[1].take());
    assert!(refused() > first);
    assert_eq!(holding(first + patience), [false, false, false]);
    seats[2].give_up();
    assert_eq!(holding(first + patience * 100), [false, false, false]);
    // A body that does not come is nobody's fault.
    let (fan, _sender) = fed(100, None);
    let mut hands = Hand::all(&fan, 2);
    assert!(hands[0].take().is_pending() && hands[1].take().is_pending());
    assert!(hands.iter().all(|hand| !hand.consumer.seat().holds_up(patience, first + patience * 100)));
}
