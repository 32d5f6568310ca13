//! The outcome of every call, as pure functions of the facts.
