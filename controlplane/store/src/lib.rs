//! s3o-store
