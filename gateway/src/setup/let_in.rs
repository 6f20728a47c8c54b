//! What lets an MQTT reader in through the gate: a password or a certificate, made here. The gateway may run meanwhile.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::config::Config;
use crate::mqtt::certificate::{Authority, authority};
use crate::mqtt::known::Certificates;
use crate::mqtt::passwords::Passwords;
use crate::mqtt::topic::is_code;

/// Makes a password; an earlier one ends.
///
/// # Errors
/// When the reader needs none, or the file of passwords cannot be written.
pub fn password(config: &Config, code: &str) -> anyhow::Result<String> {
    is_for_mqtt(config, code)?;
    Passwords::load(&config.data)?.renew(code)
}

/// Makes a certificate of the gateway's own authority, and its key, as two files in `folder`; an earlier one ends. Valid until
/// 2060, or the next is made.
///
/// # Errors
/// When the reader needs none, or a file cannot be written.
pub fn certificate(config: &Config, code: &str, folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    is_for_mqtt(config, code)?;
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let (made, key) = Authority::of(&config.data)?.reader(code)?;
    let (certificate, secret) = (folder.join(format!("{code}.pem")), folder.join(format!("{code}.key")));
    for (path, text) in [(&secret, key.serialize_pem()), (&certificate, made.pem())] {
        crate::private::write(path, text.as_bytes())
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    // Last: until then the one before it counts.
    Certificates::load(&config.data)?.renew(code, made.der())?;
    Ok((certificate, secret))
}

/// What the reader needs besides, and what it may still wait for.
#[must_use]
pub fn advice(config: &Config, code: &str) -> String {
    let gate = config.mqtt.as_ref().and_then(|mqtt| mqtt.gate.as_ref());
    let trusts = match gate.and_then(|gate| gate.cert_file.as_ref()) {
        Some(given) => format!("that of {}", given.display()),
        None => authority(&config.data).display().to_string(),
    };
    let mut text = format!("user name and client id: {code}; the authority that it trusts: {trusts}");
    if gate.is_none() {
        text.push_str(
            "\nno reader is let in yet: add [mqtt.gate] to the configuration; deploy/gateway.toml shows how",
        );
    }
    text
}

fn is_for_mqtt(config: &Config, code: &str) -> anyhow::Result<()> {
    let mut serial = config.buses.iter().flat_map(|bus| &bus.readers).map(|reader| &reader.code);
    let mut ascii = config.ascii.iter().map(|reader| &reader.code);
    ensure!(
        serial.all(|known| known != code) && ascii.all(|known| known != code),
        "{code} hangs on a serial line and needs neither password nor certificate"
    );
    ensure!(is_code(code), "{code:?}: a reader's code has 1 to 64 letters, none of them / + # $ or a space");
    Ok(())
}
