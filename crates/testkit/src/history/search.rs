//! The search for an order that explains one key's history. Why its cuts lose nothing: the parent module.
//!
//! Invariant: every step that is taken obeys the order of real time and the register; the number of
//! visited states is bounded by the budget.

use std::collections::HashSet;

use super::model::{Register, State, Step, Test, UNSEEN};

/// The answer.
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none.
    None { stuck: Stuck },
    /// Not known.
    OutOfBudget,
}

/// The attempt that came farthest.
#[derive(Default)]
pub(super) struct Stuck {
    pub(super) placed: usize,
    pub(super) state: State,
    pub(super) waiting: Vec<usize>,
}

/// Which calls are placed, and what the register holds after them.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Node {
    /// All definite calls before this one are placed.
    low: usize,
    /// Definite calls from `low` on that are placed, sorted.
    ahead: Vec<usize>,
    /// Unknown calls that are placed, sorted.
    unknown: Vec<usize>,
    state: State,
    /// An unknown call was placed last: one that looks must follow.
    owes_look: bool,
}

impl Node {
    fn is_placed(&self, at: usize) -> bool {
        at < self.low || self.ahead.binary_search(&at).is_ok()
    }

    fn place(&mut self, at: usize) {
        if self.is_placed(at) {
            return;
        }
        if let Err(slot) = self.ahead.binary_search(&at) {
            self.ahead.insert(slot, at);
        }
        let run = self.ahead.iter().zip(self.low..).take_while(|(at, expected)| **at == *expected).count();
        self.ahead.drain(..run);
        self.low += run;
        self.owes_look = false;
    }

    fn place_unknown(&mut self, at: usize) {
        if let Err(slot) = self.unknown.binary_search(&at) {
            self.unknown.insert(slot, at);
        }
        self.owes_look = true;
    }

    fn count(&self) -> usize {
        self.low + self.ahead.len()
    }
}

pub(super) fn explain(register: &Register<'_>, budget: usize) -> Found {
    let mut seen: HashSet<Node> = HashSet::new();
    let mut stack = vec![Node::default()];
    let mut stuck = Stuck::default();
    while let Some(mut node) = stack.pop() {
        let ready = settle_looks(register, &mut node);
        if node.low == register.definite.len() {
            return Found::Order;
        }
        if seen.len() >= budget {
            return Found::OutOfBudget;
        }
        if !seen.insert(node.clone()) {
            continue;
        }
        if node.count() >= stuck.placed {
            stuck = Stuck { placed: node.count(), state: node.state, waiting: ready.clone() };
        }
        stack.extend(successors(register, &node, &ready));
    }
    Found::None { stuck }
}

/// Definite calls that may come next: not placed, and invoked before any other that is not placed returned.
fn ready(register: &Register<'_>, node: &Node) -> (Vec<usize>, u64) {
    let mut frontier = u64::MAX;
    let mut waiting = Vec::new();
    for at in node.low..register.definite.len() {
        let call = &register.definite[at];
        if call.invoked > frontier {
            break;
        }
        if !node.is_placed(at) {
            frontier = frontier.min(call.returned);
            waiting.push(at);
        }
    }
    waiting.retain(|at| register.definite[*at].invoked <= frontier);
    (waiting, frontier)
}

/// Places every call without an effect that fits, and says which calls wait then.
fn settle_looks(register: &Register<'_>, node: &mut Node) -> Vec<usize> {
    loop {
        let (waiting, _) = ready(register, node);
        let fits = |at: &&usize| {
            let step = &register.definite[**at].step;
            !matches!(step, Step::Change { .. }) && step.fits(node.state)
        };
        let looks: Vec<usize> = waiting.iter().filter(fits).copied().collect();
        if looks.is_empty() {
            return waiting;
        }
        for at in looks {
            node.place(at);
        }
    }
}

/// The states that may follow, the most promising last.
fn successors(register: &Register<'_>, node: &Node, waiting: &[usize]) -> Vec<Node> {
    let mut next = Vec::new();
    let pinned = is_pinned(register, node);
    unknown_successors(register, node, waiting, pinned, &mut next);
    let mut tried_invisible = false;
    // Later returns first, so that the most urgent call is on top of the stack.
    let mut order: Vec<usize> = waiting.to_vec();
    order.sort_by_key(|at| std::cmp::Reverse(register.definite[*at].returned));
    for at in order {
        let step = &register.definite[at].step;
        let Step::Change { to, when } = step else { continue };
        if !when.holds(node.state) || (node.owes_look && !step.looks()) {
            continue;
        }
        if pinned && !(matches!(when, Test::Is(_)) && is_last_need(register, node, at)) {
            continue;
        }
        if register.invisible[at] && std::mem::replace(&mut tried_invisible, true) {
            continue;
        }
        for state in to {
            let mut after = node.clone();
            after.place(at);
            after.state = if register.invisible[at] { UNSEEN } else { *state };
            if *when == Test::Always {
                waiting
                    .iter()
                    .filter(|other| register.invisible[**other])
                    .for_each(|other| after.place(*other));
            }
            next.push(after);
        }
    }
    next
}

/// Whether a call that is not placed needs the value that stands now, and nobody could write it again.
fn is_pinned(register: &Register<'_>, node: &Node) -> bool {
    let Some(value) = node.state else { return false };
    let needed =
        register.needed_by.get(&value).is_some_and(|calls| calls.iter().rev().any(|at| !node.is_placed(*at)));
    needed && !can_be_written(register, node, value)
}

fn can_be_written(register: &Register<'_>, node: &Node, value: u32) -> bool {
    let definite = register.definite_writers.get(&value);
    let unknown = register.unknown_writers.get(&value);
    definite.is_some_and(|calls| calls.iter().any(|at| !node.is_placed(*at)))
        || unknown.is_some_and(|calls| calls.iter().any(|at| node.unknown.binary_search(at).is_err()))
}

/// Whether `at` is the only call left that needs the value that stands now: it may then replace it.
fn is_last_need(register: &Register<'_>, node: &Node, at: usize) -> bool {
    let Some(value) = node.state else { return true };
    register
        .needed_by
        .get(&value)
        .is_none_or(|calls| calls.iter().all(|call| *call == at || node.is_placed(*call)))
}

fn unknown_successors(
    register: &Register<'_>,
    node: &Node,
    waiting: &[usize],
    pinned: bool,
    next: &mut Vec<Node>,
) {
    if pinned {
        return;
    }
    let (_, frontier) = ready(register, node);
    let open =
        |at: &usize| register.unknown[*at].invoked <= frontier && node.unknown.binary_search(at).is_err();
    let mut tried_delete = false;
    for at in (0..register.unknown.len()).filter(open) {
        let step = &register.unknown[at].step;
        let Step::Change { to, when } = step else { continue };
        if !when.holds(node.state) || (node.owes_look && !step.looks()) {
            continue;
        }
        if *when == Test::Always && to[..] == [None] && std::mem::replace(&mut tried_delete, true) {
            continue;
        }
        for state in to {
            if somebody_looks(register, node, waiting, at, *state) {
                let mut after = node.clone();
                after.place_unknown(at);
                after.state = *state;
                next.push(after);
            }
        }
    }
}

/// Whether a call that may come right after `at` looks at the state and fits.
fn somebody_looks(register: &Register<'_>, node: &Node, waiting: &[usize], at: usize, state: State) -> bool {
    let definite = waiting.iter().map(|other| &register.definite[*other].step);
    let unknown = (0..register.unknown.len())
        .filter(|other| *other != at && node.unknown.binary_search(other).is_err())
        .map(|other| &register.unknown[other].step);
    definite.chain(unknown).any(|step| step.looks() && step.fits(state))
}
