//! What drains need.

use async_trait::async_trait;

use super::PortError;
use crate::replication::Drain;

/// Backends that are emptied.
#[async_trait]
pub trait Drains: Send + Sync {
    /// Empties a backend: nothing is placed there any more, and what is there is copied elsewhere and then taken away.
    /// `Ok(false)`: there is none of that name.
    async fn drain(&self, name: &str) -> Result<bool, PortError>;
    /// Takes it back: what was moved stays where it is. `Ok(false)`: none of that name is drained by an operator.
    async fn undrain(&self, name: &str) -> Result<bool, PortError>;
    /// Those under way, and those that are done and whose backend is still there.
    async fn drains(&self) -> Result<Vec<Drain>, PortError>;
    /// Forgets backends that are in no file any more and on which nothing is left; says how many.
    async fn retire(&self) -> Result<u64, PortError>;
}
