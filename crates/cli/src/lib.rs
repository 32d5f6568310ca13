//! s3o-cli
