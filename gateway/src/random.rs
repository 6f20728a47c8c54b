//! Random bytes from the system.

use uuid::Uuid;

/// 128 random bits.
#[must_use]
pub fn bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // The kernel has no randomness: version 4 ids ask it too, but by another way.
        bytes = *Uuid::new_v4().as_bytes();
    }
    bytes
}
