//! s3o-core
