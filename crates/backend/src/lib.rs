//! s3o-backend
