//! Which backend takes a blob.
//!
//! Invariant: a backend is chosen only when it is active, attached, not seen as down, takes blobs of
//! that size, has the room left by everything stored, reserved and orphaned there, and passes none of its
//! monthly limits by the blob, as far as the month is known.

use std::cmp::Ordering;

use s3o_types::{BackendId, BackendState, Consumption, ErrorCode, Place, UsageLimit};

use crate::call::Refusal;
use crate::config::Routing;
use crate::facts::BackendFacts;
use crate::usage::signed;

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Bytes of the blob.
    pub size: u64,
    /// Backends seen as down by the data plane.
    pub down: &'a [BackendId],
    /// Backends to take first.
    pub prefer: &'a [BackendId],
    /// Backends that hold, or may hold, a blob of this write already.
    pub exclude: &'a [BackendId],
    /// Different backends needed.
    pub count: usize,
    /// How many more are taken where there are.
    pub spare: usize,
}

/// Chooses `count` different backends, and up to `spare` more, best first, and says where each is.
pub fn choose(
    backends: &[BackendFacts],
    routing: Routing,
    wanted: Wanted<'_>,
) -> Result<Vec<(BackendId, Place)>, Refusal> {
    let mut candidates: Vec<&BackendFacts> = backends
        .iter()
        .filter(|b| {
            qualifies(b, wanted.size) && !wanted.down.contains(&b.id) && !wanted.exclude.contains(&b.id)
        })
        .collect();
    candidates.sort_by(|a, b| order(a, b, routing, wanted.prefer));
    if candidates.len() < wanted.count {
        return Err(no_place(backends, wanted));
    }
    let taken = candidates.len().min(wanted.count + wanted.spare);
    Ok(candidates[..taken].iter().map(|b| (b.id, b.place)).collect())
}

fn takes_writes(backend: &BackendFacts) -> bool {
    backend.state == BackendState::Active && backend.attached
}

fn takes_size(backend: &BackendFacts, size: u64) -> bool {
    backend.max_object_size.is_none_or(|max| size <= max)
}

fn has_room(backend: &BackendFacts, size: u64) -> bool {
    backend
        .quota_bytes
        .is_none_or(|quota| backend.usage.total().saturating_add(signed(size)) <= signed(quota))
}

fn passed_limit(backend: &BackendFacts, size: u64) -> Option<UsageLimit> {
    backend.limits.passed(backend.month, Consumption::write(size))
}

fn qualifies(backend: &BackendFacts, size: u64) -> bool {
    takes_writes(backend)
        && takes_size(backend, size)
        && has_room(backend, size)
        && passed_limit(backend, size).is_none()
}

fn order(a: &BackendFacts, b: &BackendFacts, routing: Routing, prefer: &[BackendId]) -> Ordering {
    let disliked = |backend: &BackendFacts| !prefer.contains(&backend.id);
    let configured = |backend: &BackendFacts| (backend.priority, backend.position, backend.id);
    let fullness = match routing {
        Routing::Pack => Ordering::Equal,
        Routing::Spread => compare_fullness(a, b),
    };
    disliked(a).cmp(&disliked(b)).then(fullness).then(configured(a).cmp(&configured(b)))
}

/// Compares total/quota without dividing. No limit counts as the largest one there is.
fn compare_fullness(a: &BackendFacts, b: &BackendFacts) -> Ordering {
    let quota = |backend: &BackendFacts| i128::from(backend.quota_bytes.map_or(i64::MAX, signed).max(1));
    let total = |backend: &BackendFacts| i128::from(backend.usage.total());
    (total(a) * quota(b)).cmp(&(total(b) * quota(a)))
}

/// Says why nothing qualified: the reason that the operator can do something about comes first.
fn no_place(backends: &[BackendFacts], wanted: Wanted<'_>) -> Refusal {
    let usable: Vec<&BackendFacts> = backends.iter().filter(|b| takes_writes(b)).collect();
    let fitting = usable.iter().filter(|b| qualifies(b, wanted.size)).count();
    if usable.is_empty() {
        return Refusal::new(ErrorCode::ServiceUnavailable, "no backend takes writes at the moment");
    }
    if fitting >= wanted.count {
        return Refusal::new(ErrorCode::ServiceUnavailable, "every backend with room is down at the moment");
    }
    if usable.len() < wanted.count && backends.len() >= wanted.count {
        // Nothing is full: some are being drained or are not attached, and clients should try again.
        let (usable, count) = (usable.len(), wanted.count);
        let why = format!("{usable} of {count} backends needed take writes at the moment");
        return Refusal::new(ErrorCode::ServiceUnavailable, why);
    }
    if usable.iter().all(|b| !takes_size(b, wanted.size)) {
        let size = wanted.size;
        return Refusal::new(
            ErrorCode::EntityTooLarge,
            format!("no backend takes an object of {size} bytes"),
        );
    }
    let Wanted { size, count, .. } = wanted;
    let mut with_room = usable.iter().filter(|b| takes_size(b, size) && has_room(b, size));
    let limit = with_room.find_map(|b| passed_limit(b, size));
    let why = match limit {
        Some(limit) => {
            let limit = limit.as_str();
            format!(
                "{fitting} of {count} backends needed may take {size} bytes more this month: {limit} is used up"
            )
        }
        None => format!("{fitting} of {count} backends needed have room for {size} bytes"),
    };
    Refusal { limit, ..Refusal::new(ErrorCode::InsufficientStorage, why) }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use s3o_types::UsageLimits;

    use super::*;
    use crate::usage::Usage;

    fn backend(id: i32, quota: Option<u64>, used: i64) -> BackendFacts {
        BackendFacts {
            id: BackendId(id),
            place: Place::from_number(id),
            state: BackendState::Active,
            attached: true,
            priority: 0,
            position: id,
            quota_bytes: quota,
            max_object_size: None,
            usage: Usage { used, ..Usage::default() },
            limits: UsageLimits::default(),
            month: Consumption::default(),
        }
    }

    fn wanted(size: u64) -> Wanted<'static> {
        Wanted { size, down: &[], prefer: &[], exclude: &[], count: 1, spare: 0 }
    }

    /// Each test backend is at the place of its own number.
    fn at(ids: &[i32]) -> Vec<(BackendId, Place)> {
        ids.iter().map(|&id| (BackendId(id), Place::from_number(id))).collect()
    }

    fn code(result: Result<Vec<(BackendId, Place)>, Refusal>) -> ErrorCode {
        result.expect_err("no place").code
    }

    #[test]
    fn pack_fills_in_configured_order() {
        let mut backends = vec![backend(1, Some(100), 90), backend(2, Some(100), 0), backend(3, None, 0)];
        assert_eq!(choose(&backends, Routing::Pack, wanted(10)), Ok(at(&[1])));
        assert_eq!(choose(&backends, Routing::Pack, wanted(11)), Ok(at(&[2])));
        assert_eq!(choose(&backends, Routing::Pack, wanted(101)), Ok(at(&[3])));
        backends[2].priority = -1;
        assert_eq!(choose(&backends, Routing::Pack, wanted(10)), Ok(at(&[3])));
    }

    #[test]
    fn spread_takes_the_emptiest_share() {
        let backends = [backend(1, Some(1000), 300), backend(2, Some(100), 20), backend(3, Some(10), 9)];
        assert_eq!(choose(&backends, Routing::Spread, wanted(1)), Ok(at(&[2])));
        let two = Wanted { count: 2, ..wanted(1) };
        assert_eq!(choose(&backends, Routing::Spread, two), Ok(at(&[2, 1])));
        let more = Wanted { count: 1, spare: 9, ..wanted(1) };
        assert_eq!(choose(&backends, Routing::Spread, more), Ok(at(&[2, 1, 3])));
        let too_many = Wanted { count: 4, spare: 9, ..wanted(1) };
        assert_eq!(code(choose(&backends, Routing::Spread, too_many)), ErrorCode::InsufficientStorage);
    }

    #[test]
    fn everything_that_may_be_stored_counts() {
        let mut full = backend(1, Some(100), 0);
        full.usage = Usage { used: 30, reserved: 30, orphaned: 31, objects: 1 };
        assert_eq!(code(choose(&[full], Routing::Pack, wanted(10))), ErrorCode::InsufficientStorage);
    }

    #[test]
    fn the_reason_is_named() {
        let mut small = backend(1, None, 0);
        small.max_object_size = Some(5);
        assert_eq!(code(choose(&[small], Routing::Pack, wanted(6))), ErrorCode::EntityTooLarge);
        let down = Wanted { down: &[BackendId(1)], ..wanted(1) };
        assert_eq!(code(choose(&[backend(1, None, 0)], Routing::Pack, down)), ErrorCode::ServiceUnavailable);
        let mut unattached = backend(1, None, 0);
        unattached.attached = false;
        assert_eq!(code(choose(&[unattached], Routing::Pack, wanted(1))), ErrorCode::ServiceUnavailable);
        let mut draining = backend(1, None, 0);
        draining.state = BackendState::Draining;
        assert_eq!(code(choose(&[draining], Routing::Pack, wanted(1))), ErrorCode::ServiceUnavailable);
    }

    /// What is full stays full until somebody frees it; what is drained comes back, or is replaced.
    #[test]
    fn too_few_that_take_writes_are_no_lack_of_room() {
        let mut backends = vec![backend(1, Some(10), 0), backend(2, Some(10), 0), backend(3, Some(10), 0)];
        backends[0].state = BackendState::Draining;
        backends[1].attached = false;
        let two = Wanted { count: 2, ..wanted(5) };
        assert_eq!(code(choose(&backends, Routing::Pack, two)), ErrorCode::ServiceUnavailable);
        backends[1].attached = true;
        assert_eq!(choose(&backends, Routing::Pack, two), Ok(at(&[2, 3])));
        assert_eq!(
            code(choose(&backends, Routing::Pack, Wanted { size: 11, ..two })),
            ErrorCode::InsufficientStorage
        );
    }

    #[test]
    fn a_month_that_would_pass_its_ingress_takes_smaller_bodies_only() {
        let mut backends = vec![backend(1, None, 0), backend(2, None, 0)];
        backends[0].limits.ingress_bytes = Some(100);
        backends[0].month = Consumption { ingress_bytes: 90, egress_bytes: 1 << 40, api_requests: 1 << 40 };
        assert_eq!(
            choose(&backends, Routing::Pack, wanted(10)),
            Ok(at(&[1])),
            "it is reached and not passed"
        );
        assert_eq!(choose(&backends, Routing::Pack, wanted(11)), Ok(at(&[2])));
        let two = Wanted { count: 2, ..wanted(11) };
        let refusal = choose(&backends, Routing::Pack, two).expect_err("one of two");
        assert_eq!(
            (refusal.code, refusal.limit),
            (ErrorCode::InsufficientStorage, Some(UsageLimit::IngressBytes))
        );
        assert!(
            refusal.message.contains("1 of 2") && refusal.message.contains("ingress_bytes"),
            "{refusal:?}"
        );
        // The month's turn.
        backends[0].month = Consumption::default();
        assert_eq!(choose(&backends, Routing::Pack, two), Ok(at(&[1, 2])));
    }

    #[test]
    fn without_a_request_left_nothing_is_placed_and_bytes_read_do_not_matter() {
        let mut one = backend(1, Some(100), 0);
        one.limits = UsageLimits { api_requests: Some(5), egress_bytes: Some(5), ingress_bytes: None };
        one.month = Consumption { api_requests: 4, egress_bytes: 6, ingress_bytes: 0 };
        assert_eq!(choose(slice::from_ref(&one), Routing::Pack, wanted(10)), Ok(at(&[1])));
        one.month.api_requests = 5;
        let refusal =
            choose(slice::from_ref(&one), Routing::Pack, wanted(0)).expect_err("no request is left");
        assert_eq!(
            (refusal.code, refusal.limit),
            (ErrorCode::InsufficientStorage, Some(UsageLimit::ApiRequests))
        );
        let refusal = choose(&[one], Routing::Pack, wanted(101)).expect_err("no room is left either");
        assert_eq!(refusal.limit, None, "another month would not help");
    }

    #[test]
    fn a_preferred_backend_goes_first_only_if_it_qualifies() {
        let backends = [backend(1, None, 0), backend(2, Some(10), 0)];
        let prefer = |size| Wanted { prefer: &[BackendId(2)], ..wanted(size) };
        assert_eq!(choose(&backends, Routing::Pack, prefer(10)), Ok(at(&[2])));
        assert_eq!(choose(&backends, Routing::Pack, prefer(11)), Ok(at(&[1])));
    }
}
