//! How much an event may say of what each of its recurrences has.

use super::super::{MAX_GROUPS, MAX_NAMES, MAX_ROOMS, MAX_TITLE};
use super::Feed;
use super::lines::Event;

impl Feed<'_> {
    /// The property of an event of which each of its recurrences would have too much.
    pub(super) fn too_long<'b>(&'b self, event: &Event) -> Option<(&'b str, String)> {
        if matches!(self.timed(event), Err(fault) if fault.left_out) {
            return None;
        }
        let too_many = |characters: usize, most: usize| {
            (characters > most).then(|| format!("must have {most} characters at the most"))
        };
        let text = |name| too_many(event.text(name).map_or(0, |text| text.chars().count()), MAX_TITLE);
        let names = |name: &str, fixed: &[String], most: usize| {
            if !fixed.is_empty() {
                return None;
            }
            let values = || event.all(name).map(|line| &line.value);
            let count: usize = values().map(|value| value.split([',', ';']).count()).sum();
            too_many(values().map(|value| value.chars().count()).sum(), MAX_NAMES)
                .or_else(|| (count > most).then(|| format!("must name {most} at the most")))
        };
        let found = |name, why: Option<String>| why.map(|why| (name, why));
        found("UID", text("UID"))
            .or_else(|| found("SUMMARY", text("SUMMARY")))
            .or_else(|| found("LOCATION", names("LOCATION", &self.options.rooms, MAX_ROOMS)))
            .or_else(|| found(self.groups_from, names(self.groups_from, &self.options.groups, MAX_GROUPS)))
    }
}
