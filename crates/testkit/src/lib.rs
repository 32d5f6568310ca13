//! s3o-testkit
