//! s3o-controlplane
