//! Certificates at the gate: the one that it shows, those that it makes for readers, and whose it takes.
//!
//! The gateway has an authority of its own, made once; the server's certificate is made anew at each start, so that the
//! names by which readers call the gateway can change without touching the readers. All are valid from long ago: a reader,
//! or a gateway, whose clock is not set yet must be able to connect.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Where the authority's certificate lies, for readers to be given.
#[must_use]
pub fn authority(data: &Path) -> PathBuf {
    data.join("mqtt-ca.pem")
}

/// A certificate with those that it was signed by, and its key.
pub struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// The gateway's own authority.
pub struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// Reads it, or makes it when there is none.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn of(data: &Path) -> anyhow::Result<Self> {
        let (key_file, path) = (data.join("mqtt-ca.key"), authority(data));
        let mut params = valid(Vec::new(), "Rollcall MQTT authority")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let (key, fresh) = match std::fs::read_to_string(&key_file) {
            Ok(pem) => {
                let key = KeyPair::from_pem(&pem)
                    .with_context(|| format!("{} holds no key", key_file.display()))?;
                (key, false)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                (KeyPair::generate().context("no key can be made")?, true)
            }
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", key_file.display()));
            }
        };
        if fresh || !path.exists() {
            // Its name is the same each time: with the same key it is the same authority to who has an earlier copy.
            let made = params.self_signed(&key).context("no certificate can be made")?;
            crate::private::write(&path, made.pem().as_bytes())
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        if fresh {
            // Last: a certificate without its key is made anew, a key without its certificate is not lost either.
            crate::private::write(&key_file, key.serialize_pem().as_bytes())
                .with_context(|| format!("{} cannot be written", key_file.display()))?;
            tracing::warn!(
                "a new authority was made, {}: MQTT readers are to trust it, unless the gate shows a certificate of yours (cert_file)",
                path.display()
            );
        }
        Ok(Self(Issuer::new(params, key)))
    }

    /// What the gate shows to readers that call it by one of these names.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn server(&self, gateway: &str, names: &[String]) -> anyhow::Result<Shown> {
        let params = valid(names.to_vec(), gateway)
            .with_context(|| format!("mqtt.gate.names: {names:?} cannot stand in a certificate"))?;
        let (made, key) = self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Shown { chain: vec![made.der().clone()], key })
    }

    /// A certificate for a reader, and its key.
    ///
    /// # Errors
    /// When none can be made.
    pub fn reader(&self, code: &str) -> anyhow::Result<(Certificate, KeyPair)> {
        self.sign(valid(Vec::new(), code)?, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> anyhow::Result<(Certificate, KeyPair)> {
        let key = KeyPair::generate().context("no key can be made")?;
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Ok((params.signed_by(&key, &self.0).context("no certificate can be made")?, key))
    }
}

/// What the gate shows from files that the institution's own authority made.
///
/// # Errors
/// When they cannot be read.
pub fn given(certificate: &Path, key: &Path) -> anyhow::Result<Shown> {
    let chain = read(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("{} holds no key", key.display()))?;
    Ok(Shown { chain, key })
}

/// The certificates of a file.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn read(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .with_context(|| format!("{} cannot be read", path.display()))?
        .collect();
    let all = all.with_context(|| format!("{} is no certificate", path.display()))?;
    anyhow::ensure!(!all.is_empty(), "{} holds no certificate", path.display());
    Ok(all)
}

/// Whose certificates are taken: of these authorities, from whoever shows one; nobody is asked for one where there are none.
///
/// # Errors
/// When one of them is no authority's.
pub fn signed_by(authorities: Vec<CertificateDer<'static>>) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    if authorities.is_empty() {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).context("it is no authority's certificate")?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    builder.allow_unauthenticated().build().context("no certificate can be checked by it")
}

/// How the gate speaks TLS.
///
/// # Errors
/// When the certificate and the key do not fit each other.
pub fn tls(shown: Shown, clients: Arc<dyn ClientCertVerifier>) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no TLS version")?
        .with_client_cert_verifier(clients)
        .with_single_cert(shown.chain, shown.key)
        .context("mqtt.gate: cert_file and key_file do not fit each other")
}

fn valid(names: Vec<String>, common: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(names).context("no certificate can be made")?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    (params.not_before, params.not_after) = (date_time_ymd(1970, 1, 1), date_time_ymd(2060, 1, 1));
    Ok(params)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn where_no_authority_can_be_had_nobody_is_asked_for_a_certificate_and_the_gate_opens() {
        let data = tempfile::tempdir().unwrap();
        let own = Authority::of(data.path()).unwrap();
        let shown = || own.server("GW-A", &["localhost".to_owned()]).unwrap();
        assert!(!signed_by(Vec::new()).unwrap().offer_client_auth());
        assert!(tls(shown(), signed_by(Vec::new()).unwrap()).is_ok());
        let asks = signed_by(read(&authority(data.path())).unwrap()).unwrap();
        assert!(asks.offer_client_auth() && !asks.client_auth_mandatory());
    }
}
