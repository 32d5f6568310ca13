//! TLS towards PostgreSQL, asked for in the URL with libpq's words.
//!
//! Invariant: a connection is never less protected than its mode says. `disable` is never encrypted,
//! `prefer` where the server offers it, `require` and stricter always; `require` verifies only where
//! `sslrootcert` names an authority, `verify-ca` that the certificate is signed by one, `verify-full` that it
//! is for that host too.

mod binding;
mod options;
mod stream;
mod verify;

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) use options::{Mode, TlsOptions, split};
pub(crate) use stream::MakeTls;

use verify::{Check, Verifier};

/// As IANA registered it for PostgreSQL; servers before 17 do not look at it.
const ALPN: &[u8] = b"postgresql";

/// Reads the files. Errors name the option of the URL and the reason.
pub(crate) fn client(options: &TlsOptions) -> Result<MakeTls, String> {
    let TlsOptions { mode, root_cert, cert, key } = options;
    let check = match (mode, root_cert) {
        (Mode::VerifyFull, _) => Check::ChainAndName,
        (Mode::VerifyCa, _) | (Mode::Require | Mode::Prefer, Some(_)) => Check::Chain,
        (Mode::Require | Mode::Prefer, None) | (Mode::Disable, _) => Check::Nothing,
    };
    let trusted = match (check, root_cert) {
        (Check::Nothing, _) => Vec::new(),
        (_, Some(file)) => certificates("sslrootcert", file)?,
        (_, None) => of_the_system()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new(check, trusted, root_cert.as_deref(), &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("sslmode: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (cert, key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates("sslcert", cert)?;
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("sslkey: {}: {error}", key.display()))?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| format!("sslcert: {}: {error}", cert.display()))?
        }
        (Some(_), None) => return Err("sslkey: is missing beside sslcert".to_owned()),
        (None, Some(_)) => return Err("sslcert: is missing beside sslkey".to_owned()),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(MakeTls::new(config))
}

fn certificates(option: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{option}: {}: {why}", file.display());
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?.collect();
    let found = found.map_err(|error| wrong(&error))?;
    if found.is_empty() { Err(wrong(&"has no certificate in PEM form")) } else { Ok(found) }
}

fn of_the_system() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
        return Err(format!(
            "sslrootcert: is not given, and this system has no authorities of its own {why}"
        ));
    }
    Ok(found.certs)
}
