//! Connections that are cut, and bytes that are held: on the ways to backends and between the planes.

use super::{Fault, Kind, Scope};
use crate::campaign::plan::{BACKENDS, CONTROL_PLANES, DATA_PLANES};
use crate::cluster::Cluster;
use crate::proxy::{Mode, Proxy};

/// Something that bytes go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To a backend, from everybody.
    Backend(usize),
    /// From a data plane to a control plane.
    Link {
        /// The data plane.
        data: usize,
        /// The control plane.
        control: usize,
    },
}

impl Way {
    /// How many there are.
    pub const COUNT: usize = BACKENDS + DATA_PLANES * CONTROL_PLANES;

    /// One of [`Self::COUNT`].
    pub const fn of(number: usize) -> Self {
        if number < BACKENDS {
            return Self::Backend(number);
        }
        let link = number - BACKENDS;
        Self::Link { data: link / CONTROL_PLANES, control: link % CONTROL_PLANES }
    }

    pub(super) const fn scope(self) -> Scope {
        match self {
            Self::Backend(backend) => Scope::Backend(backend),
            Self::Link { data, control } => Scope::Link(data * CONTROL_PLANES + control),
        }
    }

    fn proxy(self, cluster: &Cluster) -> &Proxy {
        match self {
            Self::Backend(backend) => &cluster.backends[backend].proxy,
            Self::Link { data, control } => &cluster.data[data].links[control],
        }
    }
}

pub(super) fn inject(fault: &Fault, cluster: &Cluster) {
    let proxy = Way::of(fault.target).proxy(cluster);
    match fault.kind {
        Kind::HoldReplies => proxy.set(Mode::HoldReplies),
        Kind::Blackhole => proxy.set(Mode::Blackhole),
        _ => proxy.cut(),
    }
}

pub(super) fn heal(fault: &Fault, cluster: &Cluster) {
    Way::of(fault.target).proxy(cluster).set(Mode::Pass);
}
