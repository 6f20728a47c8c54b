//! Commands that the panel sends (SIA OSDP v2.2, section 6).

/// Colours of a reader's LED (table 19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LedColour {
    /// Dark.
    Off = 0,
    /// Red.
    Red = 1,
    /// Green.
    Green = 2,
    /// Amber.
    Amber = 3,
    /// Blue.
    Blue = 4,
}

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Asks for news.
    Poll,
    /// Asks who the device is.
    Id,
    /// Asks what it can do.
    Capabilities,
    /// Asks for tamper and power.
    LocalStatus,
    /// Asks what hangs on its inputs (ISTAT).
    InputStatus,
    /// Sets the light at rest.
    LedPermanent(LedColour),
    /// Flashes: 0.2 s on, 0.2 s off, for `tenths` tenths of a second; then back to the light at rest by itself.
    LedFlash {
        /// The colour.
        colour: LedColour,
        /// How long, in tenths of a second.
        tenths: u16,
    },
    /// Sounds the buzzer `count` times.
    Buzzer {
        /// How often, 1 to 255.
        count: u8,
    },
    /// Gives the device another address and speed (COMSET).
    Communication {
        /// The address.
        address: u8,
        /// The speed.
        baud: u32,
    },
    /// Begins the handshake of a secure channel (CHLNG).
    Challenge,
    /// Goes on with it (SCRYPT).
    ServerCryptogram,
    /// Gives the device a key of its own (KEYSET); only within a secure channel.
    KeySet,
}

impl Command {
    /// The code on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Poll => 0x60,
            Self::Id => 0x61,
            Self::Capabilities => 0x62,
            Self::LocalStatus => 0x64,
            Self::InputStatus => 0x65,
            Self::LedPermanent(_) | Self::LedFlash { .. } => 0x69,
            Self::Buzzer { .. } => 0x6a,
            Self::Communication { .. } => 0x6e,
            Self::KeySet => 0x75,
            Self::Challenge => 0x76,
            Self::ServerCryptogram => 0x77,
        }
    }

    /// What follows the code. LED: reader, LED, temporary record (code, on, off, on colour, off colour, timer
    /// in 100 ms, little-endian), permanent record (code, on, off, on colour, off colour). On and off are never
    /// both 0; a permanent command leaves the temporary record alone, because some readers misread it. What follows the
    /// commands of the secure channel is the channel's to know.
    #[must_use]
    pub fn data(self) -> Vec<u8> {
        match self {
            Self::Poll | Self::LocalStatus | Self::InputStatus => Vec::new(),
            Self::Challenge | Self::ServerCryptogram | Self::KeySet => Vec::new(),
            Self::Id | Self::Capabilities => vec![0],
            Self::LedPermanent(colour) => {
                let colour = colour as u8;
                vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 10, 0, colour, colour]
            }
            Self::LedFlash { colour, tenths } => {
                let [low, high] = tenths.to_le_bytes();
                vec![0, 0, 2, 2, 2, colour as u8, 0, low, high, 0, 0, 0, 0, 0]
            }
            Self::Communication { address, baud } => {
                let [a, b, c, d] = baud.to_le_bytes();
                vec![address, a, b, c, d]
            }
            Self::Buzzer { count } => vec![0, 2, 1, 1, count.max(1)],
        }
    }
}
