//! `rollcall-gateway check`: is this machine fit to be a gateway, and if not, what is to be done?
//!
//! Looks and never changes anything but a file of its own in the data folder, which it removes. Where a gateway runs
//! on the same data, its ports and its broker are left alone.

use std::path::Path;

use serde::Serialize;

use crate::config::Config;

mod clock;
mod disk;
mod hub;
mod ports;

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// It works, and may not for ever.
    Warn,
    /// It does not work.
    Fail,
}

/// What was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `config`, `disk`, `clock`, `port`, `page`, `mqtt`, `key`, `hub` or `reader`.
    pub check: &'static str,
    /// How it was found.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; none where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn pass(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Pass, found: found.into(), advice: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Checks everything; each finding is told as soon as there is one.
pub async fn all(path: &Path, mut tell: impl FnMut(&Finding)) -> Verdict {
    let mut worst = Verdict::Pass;
    let mut say = |finding: Finding| {
        worst = worst.max(finding.verdict);
        tell(&finding);
    };
    let config = match Config::load(path) {
        Ok(config) => {
            let buses = config.buses.len();
            say(Finding::pass(
                "config",
                format!("{} is whole: gateway {}, {buses} serial lines", path.display(), config.gateway),
            ));
            config
        }
        Err(error) => {
            let advice = "mend the file; deploy/gateway.toml is an example with every key";
            say(Finding::fail("config", format!("{error:#}"), advice));
            return worst;
        }
    };
    let running = disk::check(&config, &mut say);
    clock::check(&mut say);
    ports::check(&config, running, &mut say);
    hub::check(&config, &mut say).await;
    worst
}
