//! Replies that devices give (SIA OSDP v2.2, section 7).

use rollcall_rules::card::{CardError, CardRead};

/// Who a device is (PDID).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// IEEE OUI of the vendor.
    pub vendor: [u8; 3],
    /// Model.
    pub model: u8,
    /// Hardware version.
    pub version: u8,
    /// Serial number.
    pub serial: u32,
    /// Firmware: major, minor, build.
    pub firmware: [u8; 3],
}

/// One thing that a device can do (PDCAP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// Function code: 1 inputs, 4 LED, 5 audible, 8 CRC, 9 security, 10 receive size, ….
    pub function: u8,
    /// Compliance level.
    pub level: u8,
    /// How many.
    pub count: u8,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say.
    Ack,
    /// Refused: 1 check, 2 length, 3 unknown command, 4 sequence, 5 and 6 security, ….
    Nak(u8),
    /// Who it is.
    Identity(Identity),
    /// What it can do.
    Capabilities(Vec<Capability>),
    /// Tamper and power.
    LocalStatus {
        /// Somebody opened it.
        tamper: bool,
        /// It was switched on since it last said so.
        power_failed: bool,
    },
    /// What hangs on its inputs, from the first on: whether each is active (ISTATR).
    Inputs(Vec<bool>),
    /// A card, as raw bits.
    Card(Result<CardRead, CardError>),
    /// A card in the deprecated, ambiguous form: counted and reported, never guessed at.
    FormattedCard,
    /// Keys were pressed.
    Keypad {
        /// How many.
        digits: u8,
    },
    /// The address and the speed that it goes on with.
    Communication {
        /// The address.
        address: u8,
        /// The speed.
        baud: u32,
    },
    /// Not now; ask again.
    Busy,
    /// It has proved that it has the key (CCRYPT).
    ClientCryptogram,
    /// The secure channel stands (RMAC_I).
    InitialMac,
    /// A reply that this panel does not use.
    Other(u8),
    /// A reply whose data does not fit its code.
    Malformed(u8),
}

impl Reply {
    /// The code of a refusal.
    pub const NAK: u8 = 0x41;
    /// The code of [`Reply::Busy`].
    pub const BUSY: u8 = 0x79;

    /// Reads a reply.
    #[must_use]
    pub fn decode(code: u8, data: &[u8]) -> Self {
        let decoded = match (code, data) {
            (0x40, _) => Some(Self::Ack),
            (Self::NAK, [reason, ..]) => Some(Self::Nak(*reason)),
            (0x45, _) => identity(data),
            (0x46, _) if data.len().is_multiple_of(3) => {
                let each = |it: &[u8]| Capability { function: it[0], level: it[1], count: it[2] };
                Some(Self::Capabilities(data.chunks_exact(3).map(each).collect()))
            }
            (0x48, [tamper, power, ..]) => {
                Some(Self::LocalStatus { tamper: *tamper != 0, power_failed: *power != 0 })
            }
            (0x49, [_, ..]) => Some(Self::Inputs(data.iter().map(|input| *input != 0).collect())),
            (0x50, [_reader, _format, low, high, bits @ ..]) => {
                Some(Self::Card(CardRead::new(u16::from_le_bytes([*low, *high]), bits)))
            }
            (0x51, _) => Some(Self::FormattedCard),
            (0x53, [_reader, digits, ..]) => Some(Self::Keypad { digits: *digits }),
            (0x54, &[address, a, b, c, d, ..]) => {
                Some(Self::Communication { address, baud: u32::from_le_bytes([a, b, c, d]) })
            }
            (Self::BUSY, _) => Some(Self::Busy),
            (Self::NAK | 0x46 | 0x48 | 0x49 | 0x50 | 0x53 | 0x54, _) => None,
            (other, _) => Some(Self::Other(other)),
        };
        decoded.unwrap_or(Self::Malformed(code))
    }
}

fn identity(data: &[u8]) -> Option<Reply> {
    let &[v0, v1, v2, model, version, s0, s1, s2, s3, f0, f1, f2] = data.get(..12)?.first_chunk::<12>()?;
    Some(Reply::Identity(Identity {
        vendor: [v0, v1, v2],
        model,
        version,
        serial: u32::from_le_bytes([s0, s1, s2, s3]),
        firmware: [f0, f1, f2],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_that_are_too_short_are_malformed_and_never_panic() {
        for code in 0..=255u8 {
            for length in 0..16 {
                let _ = Reply::decode(code, &vec![0xff; length]);
            }
        }
        assert_eq!(Reply::decode(0x45, &[1, 2, 3]), Reply::Malformed(0x45));
        assert_eq!(Reply::decode(0x50, &[0, 1]), Reply::Malformed(0x50));
    }

    #[test]
    fn raw_card_data_that_does_not_fit_its_bit_count_is_an_error_and_no_card() {
        let short = Reply::decode(0x50, &[0, 1, 26, 0, 0x95]);
        assert!(matches!(short, Reply::Card(Err(CardError::Length { bits: 26, wanted: 4, found: 1 }))));
    }

    #[test]
    fn identity_is_read_in_the_order_of_the_standard() {
        let data = [0xa0, 0xb2, 0xfe, 0x23, 0x74, 7, 0, 0, 0, 1, 2, 3];
        let Reply::Identity(identity) = Reply::decode(0x45, &data) else { panic!("no identity") };
        assert_eq!((identity.serial, identity.firmware, identity.model), (7, [1, 2, 3], 0x23));
    }
}
