//! Who comes in through the gate: by its password, by the certificate that the gateway made for it, or by one of the
//! institution's own authority.
//!
//! Of the gateway's own certificates only the last that was made for a reader counts, by its fingerprint: that is how one is
//! taken back. One of the institution's counts for the reader whose code is a DNS name in it (RFC 5280, 4.2.1.6).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;

use super::passwords::Passwords;
use crate::core::hex;
use crate::private::Table;

const HEAD: &str =
    "# MQTT readers: code, SHA-256 of the certificate. Made by rollcall-gateway reader certificate.";

/// The readers' certificates that the gateway made and still takes.
#[derive(Debug)]
pub struct Certificates(Table<1>);

impl Certificates {
    /// Reads them; none when there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or is malformed: then its line.
    pub fn load(data: &Path) -> anyhow::Result<Self> {
        Table::load(data.join("reader-certificates"), HEAD, "CODE FINGERPRINT").map(Self)
    }

    /// Takes this one for a reader from now on, and no earlier one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn renew(&mut self, code: &str, certificate: &CertificateDer<'_>) -> anyhow::Result<()> {
        self.0.put(code, [fingerprint(certificate)])
    }

    /// Whether this is the reader's.
    #[must_use]
    pub fn are(&self, code: &str, certificate: &CertificateDer<'_>) -> bool {
        self.0.get(code).is_some_and(|[known]| *known == fingerprint(certificate))
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex(&Sha256::digest(certificate))
}

/// How readers are known.
#[derive(Debug, Clone)]
pub struct Known {
    /// The folder with what the gateway made for them.
    pub data: PathBuf,
    /// Says whether a certificate is of the institution's authority, where it has one for readers.
    pub institution: Option<Arc<dyn ClientCertVerifier>>,
}

impl Known {
    /// Whether this reader shows what is its own: a password, or a certificate (with those that it was signed by) of which the
    /// handshake has proved that it has the key. Reads the files anew: what was just made counts at once, what was taken away
    /// no more. If not, the name by which the log may call it: what somebody unknown calls himself may be a password.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn admits(
        &self,
        code: &str,
        password: &str,
        certificates: &[CertificateDer<'_>],
    ) -> anyhow::Result<Result<(), String>> {
        let passwords = Passwords::load(&self.data)?;
        if passwords.are(code, password) {
            return Ok(Ok(()));
        }
        let own = Certificates::load(&self.data)?;
        if let Some(first) = certificates.first()
            && (own.are(code, first) || self.is_institutions(code, certificates).is_ok())
        {
            return Ok(Ok(()));
        }
        let known = passwords.has(code) || own.0.get(code).is_some();
        Ok(Err(if known { code.to_owned() } else { "?".to_owned() }))
    }

    fn is_institutions(&self, code: &str, certificates: &[CertificateDer<'_>]) -> anyhow::Result<()> {
        let authority = self.institution.as_ref().context("no authority of the institution's")?;
        let (first, others) = certificates.split_first().context("no certificate")?;
        authority.verify_client_cert(first, others, UnixTime::now())?;
        // Letter by letter: to DNS `D2` is `d2`, and both may be readers.
        let certificate = EndEntityCert::try_from(first)?;
        ensure!(certificate.valid_dns_names().any(|name| name == code), "it is not the reader's");
        Ok(())
    }
}
