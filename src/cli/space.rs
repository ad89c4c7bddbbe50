//! `postern recordings --space`: how much there is, of which target and whom, how old, and where.
//!
//! Counted from the list of recordings one may read; what one may not read is not counted. Read next: `recordings.rs`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::recordings::Listed;
use super::{out, words};
use crate::model::Timestamp;

/// What some recordings come to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Space {
    recordings: u64,
    bytes: u64,
    /// Bytes whose file is on the bastion.
    here_bytes: u64,
    /// Bytes that are in a store; what is in both places counts in both.
    stored_bytes: u64,
    /// Those of them that are held.
    held: u64,
    /// Recordings that are deleted; of their bytes only what a store does not give up counts.
    deleted: u64,
    /// When the oldest began.
    oldest: Option<Timestamp>,
}

/// The same of each target and each person.
#[derive(Debug, Default)]
pub(crate) struct Report {
    all: Space,
    targets: BTreeMap<String, Space>,
    people: BTreeMap<String, Space>,
}

impl Space {
    fn add(&mut self, listed: &Listed) {
        let bytes = listed.bytes.unwrap_or_default();
        if let Some(deleted) = &listed.deleted {
            self.deleted += 1;
            if deleted.has_copy() {
                self.stored_bytes = self.stored_bytes.saturating_add(bytes);
            }
            return;
        }
        self.recordings += 1;
        self.held += u64::from(listed.held.is_some());
        self.bytes = self.bytes.saturating_add(bytes);
        if listed.is_here {
            self.here_bytes = self.here_bytes.saturating_add(bytes);
        }
        if listed.stored.is_some() {
            self.stored_bytes = self.stored_bytes.saturating_add(bytes);
        }
        self.oldest = self.oldest.map_or(Some(listed.started), |oldest| Some(oldest.min(listed.started)));
    }

    fn cells(&self, of: &str, name: &str, now: Timestamp) -> [String; 9] {
        [
            of.to_owned(),
            name.to_owned(),
            self.recordings.to_string(),
            words::bytes(self.bytes),
            words::bytes(self.here_bytes),
            words::bytes(self.stored_bytes),
            self.held.to_string(),
            self.deleted.to_string(),
            self.oldest.map_or_else(|| "-".to_owned(), |oldest| words::relative(oldest, now)),
        ]
    }
}

impl Report {
    /// Counts recordings.
    pub(crate) fn of<'a>(recordings: impl IntoIterator<Item = &'a Listed>) -> Self {
        let mut report = Self::default();
        for listed in recordings {
            report.all.add(listed);
            report.targets.entry(listed.target.clone()).or_default().add(listed);
            // One who was never enrolled has no name; there is none such but in a ledger that was cut.
            let person = listed.person_name.clone().unwrap_or_else(|| "-".to_owned());
            report.people.entry(person).or_default().add(listed);
        }
        report
    }

    /// Prints it: the largest first.
    pub(crate) fn print(&self, is_json: bool, now: Timestamp) {
        if is_json {
            out::json(&json!({ "all": self.all, "targets": self.targets, "people": self.people }));
            return;
        }
        let headings =
            ["of", "name", "recordings", "size", "here", "in the store", "held", "deleted", "oldest"];
        let mut table = out::Table::new(&headings, "no recordings that you may read");
        if self.all.recordings + self.all.deleted > 0 {
            for (of, spaces) in [("target", &self.targets), ("person", &self.people)] {
                for (name, space) in largest_first(spaces) {
                    table.row(space.cells(of, name, now));
                }
            }
            table.row(self.all.cells("all", "", now));
        }
        table.print();
    }
}

fn largest_first(spaces: &BTreeMap<String, Space>) -> Vec<(&String, &Space)> {
    let mut all: Vec<_> = spaces.iter().collect();
    all.sort_by_key(|(name, space)| (std::cmp::Reverse(space.bytes), *name));
    all
}

#[cfg(test)]
mod tests {
    use super::super::client::shaped;
    use super::*;

    fn listed(person: &str, target: &str, day: u32, bytes: u64, is_here: bool, is_stored: bool) -> Listed {
        let stored = is_stored.then(|| json!({ "location": "s3://r/x.pstn" }));
        shaped(json!({
            "session": "ses_aaaaaaaaaaaaaaaa", "person_name": person, "login": "deploy", "target": target,
            "started": format!("2030-01-{day:02}T00:00:00Z"), "ended": null, "bytes": bytes, "reason": null,
            "state": "finished", "refused": null, "held": null, "asked": null, "deleted": null, "is_here": is_here, "stored": stored,
        }))
        .unwrap()
    }

    #[test]
    fn every_recording_counts_once_for_its_target_its_person_and_all() {
        let all = [
            listed("olga", "web-1", 3, 100, true, false),
            listed("olga", "db-1", 2, 50, false, true),
            listed("erin", "web-1", 4, 7, true, true),
        ];
        let report = Report::of(&all);
        let counts = |space: &Space| (space.recordings, space.bytes, space.here_bytes, space.stored_bytes);
        assert_eq!(counts(&report.all), (3, 157, 107, 57));
        assert_eq!(counts(&report.targets["web-1"]), (2, 107, 107, 7));
        assert_eq!(counts(&report.people["olga"]), (2, 150, 100, 50));
        assert_eq!(report.people["olga"].oldest, "2030-01-02T00:00:00Z".parse().ok());
        let names: Vec<_> =
            largest_first(&report.people).into_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["olga", "erin"]);
    }
}
