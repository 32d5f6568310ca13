//! The checker against histories that are right by construction, against planted defects, and against
//! an oracle that tries every order.

use proptest::prelude::*;

use super::{Call, Condition, Event, Outcome, Recorder, Value, Verdict, check};

/// `SplitMix64`: enough to spread what a test case's seed says.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

fn value(n: u64) -> Value {
    format!("v{n}").into()
}

fn write(n: u64, condition: Condition) -> Call {
    Call::Write { values: vec![value(n)], condition }
}

fn event(call: Call, outcome: Outcome, invoked: u64, returned: u64) -> Event {
    Event { key: "b/k".to_owned(), client: "c".to_owned(), call, outcome, invoked, returned }
}

fn put(n: u64, invoked: u64, returned: u64) -> Event {
    event(write(n, Condition::None), Outcome::Done, invoked, returned)
}

fn delete(invoked: u64, returned: u64) -> Event {
    event(Call::Delete { condition: Condition::None }, Outcome::Done, invoked, returned)
}

fn saw(n: Option<u64>, invoked: u64, returned: u64) -> Event {
    event(Call::Read, Outcome::Saw(n.map(value)), invoked, returned)
}

fn unknown(mut event: Event) -> Event {
    event.outcome = Outcome::Unknown;
    event
}

fn accepted(events: &[Event]) -> bool {
    match check(events) {
        Verdict::Linearizable { .. } => true,
        Verdict::Violation { .. } => false,
        Verdict::Undecided { .. } => panic!("out of budget: {events:#?}"),
    }
}

fn random_condition(dice: &mut Dice, written: u64) -> Condition {
    match dice.roll(5) {
        0 => Condition::Absent,
        1 if written > 0 => Condition::Is(value(dice.roll(written))),
        _ => Condition::None,
    }
}

/// What a register does with the call: its new content and what the client hears.
fn apply(state: Option<Value>, call: &Call) -> (Option<Value>, Outcome) {
    let holds = |condition: &Condition| match condition {
        Condition::None => true,
        Condition::Absent => state.is_none(),
        Condition::Is(value) => state.as_ref() == Some(value),
    };
    match call {
        Call::Read => (state.clone(), Outcome::Saw(state)),
        Call::Write { values, condition } if holds(condition) => (values.first().cloned(), Outcome::Done),
        Call::Delete { condition } if holds(condition) => (None, Outcome::Done),
        Call::Write { .. } | Call::Delete { .. } => (state, Outcome::ConditionFailed),
    }
}

/// A sequential execution whose calls are stretched around their moments until they overlap.
fn honest(seed: u64, calls: u64, stretch: u64, conditions: bool) -> Vec<Event> {
    let mut dice = Dice(seed);
    let (mut state, mut written, mut events) = (None, 0, Vec::new());
    for n in 0..calls {
        let condition = if conditions { random_condition(&mut dice, written) } else { Condition::None };
        let call = match dice.roll(10) {
            0..=3 => {
                written += 1;
                write(written - 1, condition)
            }
            4 => Call::Delete { condition: Condition::None },
            _ => Call::Read,
        };
        let moment = (n + stretch) * 10;
        let (invoked, returned) = (moment - dice.roll(stretch * 10), moment + dice.roll(stretch * 10));
        let fate = dice.roll(12);
        if fate == 0 && call != Call::Read {
            events.push(event(call, Outcome::Unknown, invoked, returned)); // Never took effect.
            continue;
        }
        let (after, outcome) = apply(state, &call);
        state = after;
        let outcome = if fate == 1 { Outcome::Unknown } else { outcome };
        events.push(event(call, outcome, invoked, returned));
    }
    events
}

/// Tries every order of every choice of unknown calls.
fn oracle(left: &[Event], state: Option<&Value>) -> bool {
    let open = |e: &Event| e.outcome == Outcome::Unknown;
    if left.iter().all(open) {
        return true;
    }
    let frontier = left.iter().filter(|e| !open(e)).map(|e| e.returned).min().unwrap_or(u64::MAX);
    (0..left.len()).filter(|at| left[*at].invoked <= frontier).any(|at| {
        let (after, outcome) = apply(state.cloned(), &left[at].call);
        let fits = match left[at].outcome {
            Outcome::Unknown => true,
            ref said => *said == outcome,
        };
        let mut rest = left.to_vec();
        rest.remove(at);
        fits && oracle(&rest, after.as_ref())
    })
}

/// Any few calls with any outcomes: most such histories are wrong.
fn arbitrary_small(seed: u64, calls: u64) -> Vec<Event> {
    let mut dice = Dice(seed);
    let mut events = Vec::new();
    for n in 0..calls {
        let condition = random_condition(&mut dice, calls);
        let (call, outcome) = match dice.roll(7) {
            0..=2 => (write(n, condition.clone()), condition),
            3 => (Call::Delete { condition: Condition::None }, Condition::None),
            _ => (Call::Read, Condition::None),
        };
        let outcome = match (&call, dice.roll(6), outcome) {
            (Call::Read, 0, _) => Outcome::Saw(None),
            (Call::Read, ..) => Outcome::Saw(Some(value(dice.roll(calls)))),
            (_, 0, _) => Outcome::Unknown,
            (_, 1 | 2, Condition::Absent | Condition::Is(_)) => Outcome::ConditionFailed,
            _ => Outcome::Done,
        };
        let invoked = dice.roll(24);
        events.push(event(call, outcome, invoked, invoked + dice.roll(14)));
    }
    events
}

proptest! {
    #[test]
    fn honest_histories_are_accepted(seed: u64, calls in 1_u64..300, stretch in 1_u64..6, conditions: bool) {
        prop_assert!(accepted(&honest(seed, calls, stretch, conditions)));
    }

    #[test]
    fn the_search_agrees_with_trying_every_order(seed: u64, calls in 1_u64..8) {
        let events = arbitrary_small(seed, calls);
        prop_assert_eq!(accepted(&events), oracle(&events, None), "{:#?}", events);
    }

    #[test]
    fn honest_small_histories_agree_too(seed: u64, calls in 1_u64..8, stretch in 1_u64..4) {
        let events = honest(seed, calls, stretch, true);
        prop_assert!(oracle(&events, None), "{:#?}", events);
        prop_assert!(accepted(&events), "{:#?}", events);
    }

    #[test]
    fn a_stale_read_in_a_long_history_is_found(seed: u64, stretch in 1_u64..5) {
        let mut events = honest(seed, 120, stretch, false);
        let end = 10_000_000;
        events.extend([put(9001, end, end + 1), put(9002, end + 2, end + 3), saw(Some(9001), end + 4, end + 5)]);
        prop_assert!(!accepted(&events));
    }
}

#[test]
fn planted_defects_are_rejected() {
    let absent = |n, invoked, returned| event(write(n, Condition::Absent), Outcome::Done, invoked, returned);
    let defects: [(&str, Vec<Event>); 9] = [
        ("stale read after an acknowledged write", vec![put(1, 0, 1), put(2, 2, 3), saw(Some(1), 4, 5)]),
        ("lost write", vec![put(1, 0, 1), saw(None, 2, 3)]),
        ("resurrected delete", vec![put(1, 0, 1), delete(2, 3), saw(None, 4, 5), saw(Some(1), 6, 7)]),
        ("two If-None-Match winners", vec![absent(1, 0, 10), absent(2, 0, 10)]),
        ("torn value", vec![put(1, 0, 1), put(2, 0, 1), saw(Some(12), 2, 3)]),
        ("read from the future", vec![saw(Some(1), 0, 1), put(1, 2, 3)]),
        (
            "readers that disagree",
            vec![
                put(1, 0, 9),
                put(2, 0, 9),
                saw(Some(1), 10, 11),
                saw(Some(2), 12, 13),
                saw(Some(1), 14, 15),
            ],
        ),
        (
            "a condition that failed without reason",
            vec![event(write(1, Condition::Absent), Outcome::ConditionFailed, 0, 1)],
        ),
        (
            "an update lost to a stale If-Match",
            vec![
                put(1, 0, 1),
                event(write(2, Condition::Is(value(1))), Outcome::Done, 2, 9),
                event(write(3, Condition::Is(value(1))), Outcome::Done, 2, 9),
            ],
        ),
    ];
    for (name, events) in defects {
        assert!(!accepted(&events), "{name} was accepted");
    }
}

#[test]
fn unknown_outcomes_may_come_late_or_never_but_not_twice() {
    let late = vec![put(1, 0, 1), unknown(put(2, 2, 3)), saw(Some(1), 4, 5), saw(Some(2), 6, 7)];
    assert!(accepted(&late));
    assert!(accepted(&[put(1, 0, 1), unknown(put(2, 2, 3)), saw(Some(1), 4, 5)]));
    assert!(!accepted(&[unknown(put(2, 2, 3)), saw(Some(2), 0, 1)]), "before it was sent");
    let mut twice = late;
    twice.extend([put(3, 8, 9), saw(Some(2), 10, 11)]);
    assert!(!accepted(&twice));
    assert!(accepted(&[put(1, 0, 1), unknown(delete(2, 3)), saw(Some(1), 4, 5), saw(None, 6, 7)]));
    let copy = Call::Write { values: vec![value(7), value(8)], condition: Condition::None };
    let written = event(write(8, Condition::None), Outcome::Refused, 0, 1);
    assert!(accepted(&[written, event(copy, Outcome::Unknown, 0, 1), saw(Some(8), 2, 3)]));
}

#[test]
fn two_hundred_overlapping_writers_are_decided() {
    let mut events: Vec<Event> = (0..200).map(|n| put(n, n, 1000 + n)).collect();
    events.extend((0..60).map(|n| saw(Some(n * 3), 100 + n * 10, 105 + n * 10)));
    events.push(saw(Some(199), 2000, 2001));
    assert!(accepted(&events));
    events.push(saw(Some(3), 2002, 2003));
    assert!(!accepted(&events));
}

#[test]
fn keys_are_checked_apart_and_dropped_calls_count_as_unknown() {
    let recorder = Recorder::new();
    let pending = recorder.invoke("a", "b/other", write(1, Condition::None));
    recorder.invoke("a", "b/k", write(1, Condition::None)).end(Outcome::Done);
    drop(pending);
    let events = recorder.events();
    assert_eq!(events[1].outcome, Outcome::Unknown);
    assert!(accepted(&events));
    recorder.invoke("a", "b/k", Call::Read).end(Outcome::Saw(Some(value(1))));
    recorder.invoke("a", "b/k", Call::Read).end(Outcome::Saw(None));
    match check(&recorder.events()) {
        Verdict::Violation { key, why } => {
            assert_eq!(key, "b/k");
            assert!(why.contains("`v1`"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}
