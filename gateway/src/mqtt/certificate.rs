//! The certificate that the gate shows: from an authority of the gateway's own, whose certificate the readers are given.
//!
//! The authority is made once and stays; the server's certificate is made anew at each start, so that the names by which
//! readers call the gateway can change without touching the readers. Both are valid from 2020 on: a reader whose clock
//! is not set yet must be able to connect.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Where the authority's certificate lies, for readers to be given.
#[must_use]
pub fn authority(data: &Path) -> PathBuf {
    data.join("mqtt-ca.pem")
}

/// What the gate shows to readers that call it by one of these names. Makes the authority when there is none.
///
/// # Errors
/// When the authority cannot be read or made, or a name cannot stand in a certificate.
pub fn own(data: &Path, gateway: &str, names: &[String]) -> anyhow::Result<ServerConfig> {
    let (key_file, path) = (data.join("mqtt-ca.key"), authority(data));
    let mut params = valid(Vec::new(), "Rollcall MQTT authority")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let (key, fresh) = match std::fs::read_to_string(&key_file) {
        Ok(pem) => {
            (KeyPair::from_pem(&pem).with_context(|| format!("{} holds no key", key_file.display()))?, false)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (KeyPair::generate().context("no key can be made")?, true)
        }
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", key_file.display())),
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
            "a new authority was made: give {} to every MQTT reader that is to come in",
            path.display()
        );
    }
    let own_key = KeyPair::generate().context("no key can be made")?;
    let mut server = valid(names.to_vec(), gateway)?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let server =
        server.signed_by(&own_key, &Issuer::new(params, key)).context("no certificate can be made")?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.serialize_der()));
    config(vec![server.der().clone()], private)
}

/// What the gate shows from files that the institution's own authority made.
///
/// # Errors
/// When they cannot be read, or do not fit each other.
pub fn given(certificate: &Path, key: &Path) -> anyhow::Result<ServerConfig> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
        .with_context(|| format!("{} cannot be read", certificate.display()))?
        .collect();
    let chain = chain.with_context(|| format!("{} is no certificate", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("{} holds no key", key.display()))?;
    config(chain, key).with_context(|| format!("{} cannot be used", certificate.display()))
}

fn valid(names: Vec<String>, common: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(names.clone())
        .with_context(|| format!("mqtt.gate.names: {names:?} cannot stand in a certificate"))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2060, 1, 1));
    Ok(params)
}

fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no TLS version")?
        .with_no_client_auth()
        .with_single_cert(chain, key)?)
}
