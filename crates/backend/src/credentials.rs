//! Who we are towards a backend: fixed keys, or what the AWS default chain finds, cached.
//!
//! Invariant: a request waits for the chain only when there are no valid credentials at all; before
//! they expire one request renews them while the others go on with the old.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use aws_credential_types::Credentials as AwsCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use s3o_types::Credentials;
use tokio::sync::{Mutex, OnceCell};

use crate::error::{BackendError, BackendErrorKind, Certainty};

/// How long before their end credentials are renewed. AWS renews role credentials at the latest
/// five minutes before (IAM User Guide, "Use an IAM role to grant permissions to applications").
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// Clones share the cache.
#[derive(Clone, Debug)]
pub(crate) enum CredentialSource {
    Fixed(Arc<AwsCredentials>),
    Chain(Arc<Chain>),
}

#[derive(Debug)]
pub(crate) struct Chain {
    cached: ArcSwapOption<AwsCredentials>,
    renewing: Mutex<()>,
    provider: OnceCell<aws_config::default_provider::credentials::DefaultCredentialsChain>,
}

impl CredentialSource {
    pub(crate) fn new(credentials: &Credentials) -> Self {
        match credentials {
            Credentials::Static { access_key_id, secret_access_key, session_token } => {
                let token = session_token.as_ref().map(|token| token.expose().to_owned());
                let secret = secret_access_key.expose();
                Self::Fixed(Arc::new(AwsCredentials::new(access_key_id, secret, token, None, "s3o")))
            }
            Credentials::AwsDefaultChain => Self::Chain(Arc::new(Chain {
                cached: ArcSwapOption::empty(),
                renewing: Mutex::new(()),
                provider: OnceCell::new(),
            })),
        }
    }

    pub(crate) async fn get(&self) -> Result<Arc<AwsCredentials>, BackendError> {
        let found = match self {
            Self::Fixed(credentials) => return Ok(Arc::clone(credentials)),
            Self::Chain(chain) => chain.get().await,
        };
        found.map_err(|error| {
            let message = format!("the AWS default chain gave no credentials: {error}");
            BackendError::new(BackendErrorKind::Denied, Certainty::NotSent, message)
        })
    }
}

impl Chain {
    async fn get(&self) -> Result<Arc<AwsCredentials>, CredentialsError> {
        let cached = self.cached.load_full();
        let _renewing = match cached {
            Some(credentials) if !ends_within(&credentials, RENEW_BEFORE) => return Ok(credentials),
            // About to end: one renews, the others go on.
            Some(credentials) if !ends_within(&credentials, Duration::ZERO) => {
                let Ok(lock) = self.renewing.try_lock() else { return Ok(credentials) };
                lock
            }
            _ => self.renewing.lock().await,
        };
        if let Some(credentials) = self.cached.load_full().filter(|found| !ends_within(found, RENEW_BEFORE)) {
            return Ok(credentials);
        }
        let build = || async {
            aws_config::default_provider::credentials::DefaultCredentialsChain::builder().build().await
        };
        let fresh = Arc::new(self.provider.get_or_init(build).await.provide_credentials().await?);
        self.cached.store(Some(Arc::clone(&fresh)));
        Ok(fresh)
    }
}

fn ends_within(credentials: &AwsCredentials, margin: Duration) -> bool {
    credentials.expiry().is_some_and(|end| end <= SystemTime::now() + margin)
}

impl ProvideCredentials for CredentialSource {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            match self {
                Self::Fixed(credentials) => Ok((**credentials).clone()),
                Self::Chain(chain) => chain.get().await.map(|credentials| (*credentials).clone()),
            }
        })
    }
}
