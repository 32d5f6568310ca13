//! What a backend is used for in a month, and how far it may be.
//!
//! Invariant: [`UsageLimits::passed`] alone says which limit is passed, for whoever places, reads or plans.

use serde::{Deserialize, Serialize};

/// What a backend may be used for in a calendar month (UTC); `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageLimits {
    /// Calls of its API, of all classes.
    pub api_requests: Option<u64>,
    /// Bytes read from it.
    pub egress_bytes: Option<u64>,
    /// Bytes sent to it.
    pub ingress_bytes: Option<u64>,
}

/// One of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageLimit {
    /// Calls of its API.
    ApiRequests,
    /// Bytes read from it.
    EgressBytes,
    /// Bytes sent to it.
    IngressBytes,
}

impl UsageLimit {
    /// The word in configuration and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiRequests => "api_requests",
            Self::EgressBytes => "egress_bytes",
            Self::IngressBytes => "ingress_bytes",
        }
    }
}

/// What a backend was used for, or is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consumption {
    /// Calls of its API, of all classes.
    pub api_requests: u64,
    /// Bytes read from it.
    pub egress_bytes: u64,
    /// Bytes sent to it.
    pub ingress_bytes: u64,
}

impl Consumption {
    /// The least that a read costs.
    pub const READ: Self = Self { api_requests: 1, egress_bytes: 1, ingress_bytes: 0 };

    /// What a blob costs that is sent there.
    pub const fn write(size: u64) -> Self {
        Self { api_requests: 1, egress_bytes: 0, ingress_bytes: size }
    }
}

impl UsageLimits {
    /// Whether nothing is limited.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The limit that a month would pass by what is to come. Of what is not to come, nothing is asked.
    pub fn passed(self, month: Consumption, to_come: Consumption) -> Option<UsageLimit> {
        let passes = |limit: Option<u64>, used: u64, more: u64| {
            more > 0 && limit.is_some_and(|limit| used.saturating_add(more) > limit)
        };
        if passes(self.api_requests, month.api_requests, to_come.api_requests) {
            Some(UsageLimit::ApiRequests)
        } else if passes(self.egress_bytes, month.egress_bytes, to_come.egress_bytes) {
            Some(UsageLimit::EgressBytes)
        } else if passes(self.ingress_bytes, month.ingress_bytes, to_come.ingress_bytes) {
            Some(UsageLimit::IngressBytes)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTH: Consumption = Consumption { api_requests: 9, egress_bytes: 90, ingress_bytes: 90 };

    #[test]
    fn a_limit_may_be_reached_and_not_passed() {
        let limits = |egress, ingress| UsageLimits {
            api_requests: Some(10),
            egress_bytes: Some(egress),
            ingress_bytes: Some(ingress),
        };
        assert_eq!(limits(100, 100).passed(MONTH, Consumption::write(10)), None);
        let passed = limits(100, 100).passed(MONTH, Consumption::write(11));
        assert_eq!(passed, Some(UsageLimit::IngressBytes));
        assert_eq!(limits(91, 0).passed(MONTH, Consumption::READ), None);
        assert_eq!(limits(90, 0).passed(MONTH, Consumption::READ), Some(UsageLimit::EgressBytes));
        let later = Consumption { api_requests: 10, ..MONTH };
        for to_come in [Consumption::READ, Consumption::write(0)] {
            assert_eq!(limits(1000, 1000).passed(later, to_come), Some(UsageLimit::ApiRequests));
        }
        let most = Consumption { ingress_bytes: u64::MAX, ..MONTH };
        assert_eq!(UsageLimits::default().passed(most, Consumption::write(u64::MAX)), None);
    }

    #[test]
    fn what_is_not_used_is_not_limited() {
        let limits = UsageLimits { egress_bytes: Some(1), ingress_bytes: Some(1), api_requests: None };
        assert_eq!(limits.passed(MONTH, Consumption::write(0)), None, "an empty body is no ingress");
        assert_eq!(limits.passed(MONTH, Consumption::write(1)), Some(UsageLimit::IngressBytes));
        assert_eq!(limits.passed(MONTH, Consumption::READ), Some(UsageLimit::EgressBytes));
    }
}
