//! Certificates of our listeners, read again when they change.
//!
//! Invariant: a certificate that cannot be read or does not fit its key never replaces one that
//! works. The one provider of cryptography is aws-lc-rs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};
use tracing::{error, info};

use crate::config::{Problems, Validate};
use crate::lifecycle::{Reload, Shutdown};

/// How often the files' times of change are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The `tls` section of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Whoever connects must show a certificate of this authority, PEM (mTLS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    fn all(&self) -> impl Iterator<Item = &Path> {
        [self.cert.as_path(), self.key.as_path()].into_iter().chain(self.client_ca.as_deref())
    }

    fn changed_at(&self) -> Vec<Option<SystemTime>> {
        self.all().map(|file| std::fs::metadata(file).and_then(|meta| meta.modified()).ok()).collect()
    }
}

impl Validate for TlsFiles {
    fn validate(&self, problems: &mut Problems) {
        for (name, file) in
            [("cert", Some(&self.cert)), ("key", Some(&self.key)), ("client_ca", self.client_ca.as_ref())]
        {
            if let Some(file) = file
                && let Err(error) = std::fs::metadata(file)
            {
                problems.at(name, format!("{}: {error}", file.display()));
            }
        }
    }
}

/// Why certificates could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or is not PEM.
    #[error("{}: {source}", file.display())]
    Pem {
        /// Which.
        file: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificates do not fit each other.
    #[error("{}: {reason}", file.display())]
    Unusable {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A listener's TLS, always with the newest certificates. Clones are the same one.
#[derive(Debug, Clone)]
pub struct TlsServer {
    current: Arc<ArcSwap<ServerConfig>>,
    files: Arc<TlsFiles>,
    alpn: Arc<[Vec<u8>]>,
}

impl TlsServer {
    /// Reads the files. `alpn`: protocols in the order of preference, such as `h2`, `http/1.1`.
    pub fn load(files: TlsFiles, alpn: &[&str]) -> Result<Self, TlsError> {
        let alpn: Arc<[Vec<u8>]> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let config = build(&files, &alpn)?;
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(config)), files: Arc::new(files), alpn })
    }

    /// What the next connection is accepted with.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again. On an error the old certificates stay.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(build(&self.files, &self.alpn)?));
        Ok(())
    }

    /// Reads the files again whenever they changed or somebody asks, until the service stops.
    pub fn watch(&self, shutdown: &Shutdown, reload: &Reload) {
        let (this, stop, mut asked) = (self.clone(), shutdown.clone(), reload.subscribe());
        let mut seen = this.files.changed_at();
        shutdown.spawn(async move {
            loop {
                let by_request = tokio::select! {
                    () = stop.stopping() => return,
                    wish = asked.changed() => match wish {
                        Ok(()) => true,
                        Err(_) => return,
                    },
                    () = tokio::time::sleep(LOOK) => false,
                };
                let now = this.files.changed_at();
                if !by_request && now == seen {
                    continue;
                }
                match this.reload() {
                    Ok(()) => {
                        info!(file = %this.files.cert.display(), "certificate read again");
                        seen = now;
                    }
                    // `seen` stays: a half-written pair is tried again at the next look.
                    Err(error) => error!(%error, "the new certificate is not used"),
                }
            }
        });
    }
}

fn build(files: &TlsFiles, alpn: &[Vec<u8>]) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let unusable = |file: &Path, reason: String| TlsError::Unusable { file: file.to_owned(), reason };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.cert, error.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = rustls::RootCertStore::empty();
            for authority in certificates(file)? {
                roots.add(authority).map_err(|error| unusable(file, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| unusable(file, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| TlsError::Pem { file: files.key.clone(), source })?;
    let mut config = builder
        .with_single_cert(certificates(&files.cert)?, key)
        .map_err(|error| unusable(&files.cert, error.to_string()))?;
    config.alpn_protocols = alpn.to_vec();
    Ok(config)
}

/// All certificates of a PEM file, at least one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { file: file.to_owned(), source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(pem)?.collect::<Result<_, _>>().map_err(pem)?;
    if found.is_empty() {
        return Err(pem(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate and its key.
    type Pair = (&'static [u8], &'static [u8]);

    const ONE: Pair = (include_bytes!("../testdata/one.crt"), include_bytes!("../testdata/one.key"));
    const TWO: Pair = (include_bytes!("../testdata/two.crt"), include_bytes!("../testdata/two.key"));

    fn place(dir: &Path, (cert, key): Pair) -> TlsFiles {
        let files = TlsFiles {
            cert: dir.join("tls.crt"),
            key: dir.join("tls.key"),
            client_ca: Some(dir.join("tls.crt")),
        };
        std::fs::write(&files.cert, cert).unwrap();
        std::fs::write(&files.key, key).unwrap();
        files
    }

    #[tokio::test]
    async fn a_new_pair_is_taken_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let tls = TlsServer::load(place(dir.path(), ONE), &["h2"]).unwrap();
        let first = tls.current();
        assert_eq!(first.alpn_protocols, [b"h2"]);

        place(dir.path(), (TWO.0, ONE.1));
        assert!(matches!(tls.reload(), Err(TlsError::Unusable { .. })));
        std::fs::write(dir.path().join("tls.crt"), "nothing").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Pem { .. })));
        assert!(Arc::ptr_eq(&first, &tls.current()), "the old pair stays");

        let (shutdown, reload) = (Shutdown::new(), Reload::new());
        tls.watch(&shutdown, &reload);
        place(dir.path(), TWO);
        reload.request();
        while Arc::ptr_eq(&first, &tls.current()) {
            tokio::task::yield_now().await;
        }
        assert!(shutdown.finish(Duration::from_secs(60)).await);
    }

    #[test]
    fn missing_files_are_problems_with_their_fields() {
        let files = TlsFiles { cert: "/nowhere/a".into(), key: "/nowhere/b".into(), client_ca: None };
        let mut problems = Problems::default();
        files.validate(&mut problems);
        let paths: Vec<_> = problems.into_vec().into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["cert", "key"]);
    }
}
