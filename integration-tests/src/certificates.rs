//! Authorities and certificates of a test's own.
//!
//! Invariant: nothing outlives the test: keys are made anew each time and lie in the test's folder.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

/// Whoever trusts its certificate trusts all that it issued.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    /// Its certificate, PEM.
    pub file: PathBuf,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// PEM.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// What a peer sees of it.
    pub der: CertificateDer<'static>,
}

impl Authority {
    /// A new one. Its files are `name.*` in `folder`.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let file = folder.join(format!("{name}.ca.crt"));
        std::fs::write(&file, issuer.pem())?;
        Ok(Self { issuer, folder: folder.to_owned(), file })
    }

    /// Its certificate.
    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Writes a pair to `name.crt` and `name.key`, over what was there. `host`: a name or an address.
    pub fn issue(&self, name: &str, host: &str, serial: u64) -> Result<Pair> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.serial_number = Some(SerialNumber::from(serial));
        params.distinguished_name.push(DnType::CommonName, format!("{name} {serial}"));
        let own = KeyPair::generate()?;
        let issued = params.signed_by(&own, &self.issuer)?;
        let cert = self.folder.join(format!("{name}.crt"));
        let key = self.folder.join(format!("{name}.key"));
        std::fs::write(&key, own.serialize_pem())?;
        std::fs::write(&cert, issued.pem())?;
        Ok(Pair { cert, key, der: issued.der().clone() })
    }
}

impl Pair {
    /// As a listener's `tls` section has it.
    pub fn section(&self) -> Value {
        json!({"cert": self.cert, "key": self.key})
    }
}
