//! libFuzzer at the check that `FUZZ_TARGET` names; `tests/fuzz/run` builds and calls it.

#![no_main]

use std::sync::OnceLock;

use rollcall_fuzz::{TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let known = || TARGETS.map(|(name, _)| name).join(", ");
    let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) else {
        panic!("FUZZ_TARGET is {name:?}; the targets are {}", known());
    };
    TARGET.get_or_init(|| *target);
}, |case: &[u8]| {
    if let Some(Err(what)) = TARGET.get().map(|target| target(case)) {
        panic!("{what}");
    }
});
