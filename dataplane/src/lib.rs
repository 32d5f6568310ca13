//! s3o-dataplane
