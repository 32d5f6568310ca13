//! s3o-http
