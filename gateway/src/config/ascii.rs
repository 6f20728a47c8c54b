//! Serial readers that just print card numbers, as they stand in the configuration.

use std::path::PathBuf;

use anyhow::{anyhow, bail, ensure};
use serde::Deserialize;

use super::default_baud;
use crate::ascii::form::{Checksum, Digits, Form};
use crate::ascii::line::{Lights, LineSettings, Speech};

/// A serial reader that just prints card numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsciiConfig {
    /// Its code, as the hub knows it.
    pub code: String,
    /// The port, best by `/dev/serial/by-id/…`, which does not move.
    pub port: PathBuf,
    /// Its speed.
    #[serde(default = "default_baud")]
    pub baud: u32,
    /// How it speaks.
    pub model: AsciiModel,
    /// A card that is not repeated for so many milliseconds was taken away.
    #[serde(default = "default_debounce_ms")]
    pub debounce_ms: u64,
    /// How its light is set: bytes in hexadecimal, by colour. Not for `twn4`, whose light is known.
    #[serde(default)]
    pub light: AsciiLight,
    /// How it writes a number; for `model = "template"` alone.
    pub template: Option<AsciiTemplate>,
}

/// How a serial reader speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AsciiModel {
    /// RDM6300 and its like.
    Rdm6300,
    /// ID-12, ID-20 and their like.
    #[serde(rename = "id-12")]
    Id12,
    /// Elatec TWN4 in its simple protocol.
    Twn4,
    /// As `template` says.
    Template,
}

/// How a serial reader's light is set, in hexadecimal bytes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AsciiLight {
    /// Off.
    pub off: String,
    /// Blue.
    pub blue: String,
    /// Green.
    pub green: String,
    /// Red.
    pub red: String,
    /// Amber.
    pub amber: String,
}

/// How a serial reader writes a number.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsciiTemplate {
    /// The bytes before it, in hexadecimal.
    #[serde(default)]
    pub start: String,
    /// The bytes behind it, in hexadecimal.
    pub end: String,
    /// Its digits: `hexadecimal` or `decimal`.
    pub digits: AsciiDigits,
    /// How many digits there are; any number where this is left out.
    pub count: Option<usize>,
    /// What stands behind it as two hexadecimal digits: `none`, `xor` or `sum`.
    #[serde(default)]
    pub checksum: AsciiChecksum,
    /// `first` when the most significant byte comes first, `last` when it comes last.
    #[serde(default)]
    pub byte_order: AsciiByteOrder,
    /// How many bits the card has.
    pub bits: u16,
}

/// The digits of a number.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AsciiDigits {
    /// `0` to `9`, `A` to `F`.
    Hexadecimal,
    /// `0` to `9`.
    Decimal,
}

/// What guards a number.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AsciiChecksum {
    /// Nothing.
    #[default]
    None,
    /// Its bytes, combined by exclusive or.
    Xor,
    /// Its bytes, added up.
    Sum,
}

/// Where the most significant byte stands.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AsciiByteOrder {
    /// In front.
    #[default]
    First,
    /// At the end.
    Last,
}

impl AsciiConfig {
    /// The line and the reader on it.
    ///
    /// # Errors
    /// What is wrong, and in which field.
    pub fn settings(&self) -> anyhow::Result<LineSettings> {
        let lights = Lights {
            off: bytes("light.off", &self.light.off)?,
            blue: bytes("light.blue", &self.light.blue)?,
            green: bytes("light.green", &self.light.green)?,
            red: bytes("light.red", &self.light.red)?,
            amber: bytes("light.amber", &self.light.amber)?,
        };
        let speech = match (self.model, &self.template) {
            (AsciiModel::Template, None) => {
                bail!("template: is missing; [ascii.template] says how this reader writes a number")
            }
            (AsciiModel::Template, Some(template)) => Speech::Form { form: template.form()?, lights },
            (_, Some(_)) => bail!("template: only goes with model = \"template\""),
            (AsciiModel::Rdm6300 | AsciiModel::Id12, None) => Speech::Form { form: Form::rdm6300(), lights },
            (AsciiModel::Twn4, None) => {
                ensure!(lights == Lights::default(), "light: that of a twn4 is known; leave it out");
                Speech::Twn4
            }
        };
        let debounce = std::time::Duration::from_millis(self.debounce_ms);
        Ok(LineSettings { port: self.port.clone(), baud: self.baud, speech, debounce })
    }
}

impl AsciiTemplate {
    fn form(&self) -> anyhow::Result<Form> {
        let form = Form {
            start: bytes("template.start", &self.start)?,
            end: bytes("template.end", &self.end)?,
            digits: match self.digits {
                AsciiDigits::Hexadecimal => Digits::Hexadecimal,
                AsciiDigits::Decimal => Digits::Decimal,
            },
            count: self.count,
            checksum: match self.checksum {
                AsciiChecksum::None => Checksum::None,
                AsciiChecksum::Xor => Checksum::Xor,
                AsciiChecksum::Sum => Checksum::Sum,
            },
            reversed: matches!(self.byte_order, AsciiByteOrder::Last),
            bits: self.bits,
        };
        form.check().map_err(|what| anyhow!("template.{what}"))?;
        Ok(form)
    }
}

/// Bytes written in hexadecimal, with or without spaces.
fn bytes(field: &str, text: &str) -> anyhow::Result<Vec<u8>> {
    let wrong = || anyhow!("{field}: '{text}' is not bytes in hexadecimal, like '02 0d'");
    let digits: Vec<u8> = text
        .chars()
        .filter(|it| *it != ' ')
        .map(|digit| digit.to_digit(16).and_then(|it| u8::try_from(it).ok()))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    ensure!(digits.len().is_multiple_of(2), wrong());
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn default_debounce_ms() -> u64 {
    1_000
}
