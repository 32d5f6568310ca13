//! s3o-standalone
