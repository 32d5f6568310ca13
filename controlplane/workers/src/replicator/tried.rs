//! The ways by which a copy was tried, so that the next one is another: from another source, or to another backend.

use s3o_types::BackendId;

/// Why there is no copy, and what should not be tried again for it.
pub(crate) struct Failure {
    pub(crate) why: String,
    pub(super) source: Option<BackendId>,
    pub(super) target: Option<BackendId>,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self { why, source: None, target: None }
    }
}

/// What failed for this extent.
#[derive(Default)]
pub(crate) struct Tried {
    pub(super) sources: Vec<BackendId>,
    pub(super) targets: Vec<BackendId>,
}

impl Tried {
    /// Only one backend is to take the copy.
    pub(crate) fn all_but(to: BackendId, backends: impl Iterator<Item = BackendId>) -> Self {
        Self { sources: Vec::new(), targets: backends.filter(|id| *id != to).collect() }
    }

    /// Says whether the failure names something that can be left out.
    pub(crate) fn note(&mut self, failure: &Failure) -> bool {
        self.sources.extend(failure.source);
        self.targets.extend(failure.target);
        failure.source.is_some() || failure.target.is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.sources.len() + self.targets.len()
    }
}
