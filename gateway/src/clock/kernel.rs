//! What the kernel says of its own clock's error. The one place with an unsafe call: no kept library wraps it.

/// The kernel's bound of the wall clock's error in milliseconds (`adjtimex(2)`, `maxerror`). It grows by 500 ppm
/// from the last contact with a time server on; `None` where the kernel does not say.
#[expect(unsafe_code, reason = "adjtimex has no safe wrapper in a library that is kept")]
#[expect(clippy::useless_conversion, reason = "the kernel's word has 32 bits on some machines")]
#[must_use]
pub fn max_error_ms() -> Option<i64> {
    let mut asked = std::mem::MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all zeros is a valid `timex`, and with `modes` 0 the kernel only fills it in.
    let (state, told) = unsafe {
        let state = libc::adjtimex(asked.as_mut_ptr());
        (state, asked.assume_init())
    };
    (state >= 0).then(|| i64::from(told.maxerror) / 1_000)
}
