//! Values that both planes have, from and to the wire.
//!
//! Architecture invariant: pairs of conversions only, a pair a file, both directions tested against each other. Every
//! field of both sides is named, so that a new one breaks the build here. What a value must be to be taken is asked
//! where it is taken.

pub mod conditions;
pub mod copied;
pub mod cors;
pub mod headers;
pub mod lifecycle;
pub mod lock;
pub mod quirks;
pub mod versioning;
