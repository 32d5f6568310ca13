//! Whose signature is it: secrets come from the snapshot.

use std::sync::Arc;

use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use crate::plane::Plane;

/// Looks secrets up. `s3s` does the arithmetic.
pub(crate) struct Secrets(pub Arc<Plane>);

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let snapshot = self.0.snapshot.load();
        match snapshot.keys.get(access_key) {
            Some(key) => Ok(SecretKey::from(key.secret.expose())),
            None => Err(s3_error!(InvalidAccessKeyId)),
        }
    }
}
