//! s3o-workers
