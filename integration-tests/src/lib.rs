//! s3o-integration-tests
