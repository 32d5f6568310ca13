//! What backends were used for, counted until the control plane has it.
//!
//! Invariant: every count is in exactly one place: still being added up, or in the one report that is
//! on its way. A report keeps its number until it is acknowledged, so a repeat counts once and a
//! broken stream loses nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use s3o_backend::{ApiClass, UsageSink};
use s3o_proto::v1;
use s3o_types::BackendId;

/// The ledger of the process.
#[derive(Default)]
pub(crate) struct UsageLedger(Mutex<State>);

#[derive(Default)]
struct State {
    counting: BTreeMap<i32, Counts>,
    on_its_way: Option<v1::UsageReport>,
    last_number: i64,
}

#[derive(Default)]
struct Counts {
    requests: HashMap<String, u64>,
    ingress: u64,
    egress: u64,
}

impl UsageLedger {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report to send now: the one that is not acknowledged, else a new one, if there is anything.
    pub(crate) fn report(&self) -> Option<v1::UsageReport> {
        let mut state = self.lock();
        if state.on_its_way.is_none() && !state.counting.is_empty() {
            state.last_number += 1;
            let counted = std::mem::take(&mut state.counting);
            let usage = counted.into_iter().map(|(backend, counts)| {
                let Counts { requests, ingress, egress } = counts;
                v1::BackendUsage { backend, requests, ingress_bytes: ingress, egress_bytes: egress }
            });
            state.on_its_way = Some(v1::UsageReport { number: state.last_number, usage: usage.collect() });
        }
        state.on_its_way.clone()
    }

    /// The control plane has this report.
    pub(crate) fn acknowledged(&self, number: i64) {
        let mut state = self.lock();
        if state.on_its_way.as_ref().is_some_and(|report| report.number == number) {
            state.on_its_way = None;
        }
    }
}

impl UsageSink for UsageLedger {
    fn request(&self, backend: BackendId, class: ApiClass) {
        let mut state = self.lock();
        let requests = &mut state.counting.entry(backend.0).or_default().requests;
        match requests.get_mut(class.as_str()) {
            Some(count) => *count += 1,
            None => {
                requests.insert(class.as_str().to_owned(), 1);
            }
        }
    }

    fn ingress(&self, backend: BackendId, bytes: u64) {
        if bytes > 0 {
            self.lock().counting.entry(backend.0).or_default().ingress += bytes;
        }
    }

    fn egress(&self, backend: BackendId, bytes: u64) {
        if bytes > 0 {
            self.lock().counting.entry(backend.0).or_default().egress += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_repeated_until_it_is_acknowledged() {
        let ledger = UsageLedger::default();
        assert!(ledger.report().is_none());
        ledger.request(BackendId(1), ApiClass::A);
        ledger.ingress(BackendId(1), 10);
        let first = ledger.report().expect("something was used");
        ledger.ingress(BackendId(1), 5);
        assert_eq!(ledger.report().as_ref(), Some(&first), "the same until it is acknowledged");
        ledger.acknowledged(99);
        assert_eq!(ledger.report().as_ref(), Some(&first));
        ledger.acknowledged(first.number);
        let second = ledger.report().expect("what came meanwhile");
        assert_eq!((second.number, second.usage[0].ingress_bytes), (first.number + 1, 5));
        assert!(second.usage[0].requests.is_empty());
        ledger.acknowledged(second.number);
        assert!(ledger.report().is_none());
    }
}
