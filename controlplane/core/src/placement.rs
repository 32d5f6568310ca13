//! Which backend takes a blob.
