//! s3o-grpc
