//! Whether the hub's certificate can be believed, also by a machine that does not know the time.
//!
//! After a power cut without a clock chip the machine stands in the past, and by a chip that is wrong anywhere. A certificate is then judged by the earliest
//! instant that it can be: one that has ended by then has ended. One that begins later is taken to have begun: the hub
//! that shows it then says what time it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::clock::{Clock, Trust};

/// Judges a hub's certificate by the time as far as it is known.
pub(super) struct HubVerifier {
    inner: Arc<WebPkiServerVerifier>,
    clock: Arc<dyn Clock>,
}

impl HubVerifier {
    /// A verifier for certificates of these authorities.
    ///
    /// # Errors
    /// Why there can be none, in words.
    pub(super) fn new(roots: RootCertStore, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { inner: inner.map_err(|error| error.to_string())?, clock })
    }
}

impl fmt::Debug for HubVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubVerifier")
    }
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let reading = self.clock.vouched();
        let ms = u64::try_from(reading.when.earliest.0).unwrap_or(0);
        let mut now = UnixTime::since_unix_epoch(Duration::from_millis(ms));
        // Every certificate of the chain may begin later than the one before.
        for _ in 0..=intermediates.len() + 1 {
            match self.inner.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before, ..
                })) if reading.trust == Trust::Untrusted => {
                    now = not_before;
                }
                verified => return verified,
            }
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYet))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use std::pin::Pin;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;
    use crate::clock::{BUILT_AFTER, FAR_FUTURE, Instant, Reading, Uncertain, Uuid};

    struct Fixed(Reading);

    impl Clock for Fixed {
        fn read(&self) -> Reading {
            self.0
        }
        fn boot_id(&self) -> Uuid {
            Uuid::nil()
        }
        fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }

    fn judged(from: (i32, u8, u8), until: (i32, u8, u8), reading: Reading) -> Result<(), Error> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.not_before = date_time_ymd(from.0, from.1, from.2);
        let key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&key).unwrap();
        let issuer = Issuer::new(authority, key);
        let mut hub = CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
        hub.not_before = date_time_ymd(from.0, from.1, from.2);
        hub.not_after = date_time_ymd(until.0, until.1, until.2);
        let certificate = hub.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let verifier = HubVerifier::new(roots, Arc::new(Fixed(reading))).unwrap();
        let name = ServerName::try_from("hub.example").unwrap();
        verifier.verify_server_cert(certificate.der(), &[], &name, &[], UnixTime::now()).map(drop)
    }

    #[test]
    fn without_the_time_a_certificate_that_begins_later_is_believed_and_one_that_has_ended_is_not() {
        let when = Uncertain { earliest: BUILT_AFTER, latest: FAR_FUTURE };
        let lost = Reading { at: BUILT_AFTER, when, trust: Trust::Untrusted, since_boot_ms: 0 };
        assert_eq!(judged((2030, 1, 1), (2031, 1, 1), lost), Ok(()));
        assert!(judged((2020, 1, 1), (2021, 1, 1), lost).is_err(), "it had ended before this was built");
        let known = Reading::exactly(BUILT_AFTER.0, Trust::Synced, 0);
        assert!(judged((2030, 1, 1), (2031, 1, 1), known).is_err(), "it has not begun");
        assert_eq!(judged((2020, 1, 1), (2031, 1, 1), known), Ok(()));
    }
}
