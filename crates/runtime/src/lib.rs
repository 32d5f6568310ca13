//! s3o-runtime
