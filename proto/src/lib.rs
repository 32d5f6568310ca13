//! s3o-proto
