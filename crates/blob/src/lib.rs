//! s3o-blob
