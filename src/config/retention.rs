//! How long recordings are kept, by their target.
//!
//! The first rule that fits a target holds, as in `approvals.toml`; without one the default does, and without that they
//! are kept for ever. Of a target that is gone, or was registered anew since, only the name is known: what may have fitted
//! counts, and the longest time with it, so that neither ever shortens what its recordings are kept for.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

use crate::model::{Target, TargetName};

/// How long recordings are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// What no rule fits.
    pub keep: Keep,
    /// The rules, in order.
    pub rule: Vec<RetentionRule>,
}

/// How long recordings of some targets are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Which targets it is about; all of it must fit.
    pub when: RetentionWhen,
    /// How long.
    pub keep: Keep,
}

/// What a target must be for a rule to fit it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionWhen {
    /// Its name is one of these.
    pub target: Option<OneOrMore>,
    /// Its environment is one of these.
    pub environment: Option<OneOrMore>,
    /// Its plane is one of these.
    pub plane: Option<OneOrMore>,
    /// Its sensitivity is one of these.
    pub sensitivity: Option<OneOrMore>,
    /// It has all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// A value or a list of values.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One value.
    One(String),
    /// Any of these.
    More(Vec<String>),
}

/// A time to keep something: longer than nothing, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Default)]
#[serde(try_from = "String")]
pub enum Keep {
    /// So long from the session's end.
    For(Duration),
    /// For ever.
    #[default]
    Forever,
}

impl TryFrom<String> for Keep {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time to keep something: write 365d, 12h or forever");
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let hours = |days: &str| days.parse::<i64>().ok()?.checked_mul(24);
        let parsed = match text.strip_suffix('d') {
            Some(days) => hours(days).and_then(SignedDuration::try_from_hours).ok_or_else(wrong)?,
            None => text.parse().map_err(|_| wrong())?,
        };
        match Duration::try_from(parsed) {
            Ok(length) if !length.is_zero() => Ok(Self::For(length)),
            Ok(_) | Err(_) => Err(wrong()),
        }
    }
}

impl Retention {
    /// How long recordings of a target are kept; `known` is what was registered of it when the session began, if it is.
    #[must_use]
    pub fn of(&self, name: &TargetName, known: Option<&Target>) -> Keep {
        let mut longest = None;
        for rule in &self.rule {
            match rule.when.fits(name, known) {
                Some(true) => return longest.map_or(rule.keep, |longest: Keep| longest.max(rule.keep)),
                Some(false) => {}
                None => longest = longest.max(Some(rule.keep)),
            }
        }
        longest.map_or(self.keep, |longest| longest.max(self.keep))
    }

    /// The shortest time anything is kept for; none when everything is for ever.
    #[must_use]
    pub fn shortest(&self) -> Option<Duration> {
        let all = std::iter::once(self.keep).chain(self.rule.iter().map(|rule| rule.keep));
        let times = all.filter_map(|keep| match keep {
            Keep::For(length) => Some(length),
            Keep::Forever => None,
        });
        times.min()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let is_empty = |rule: &&RetentionRule| rule.when == RetentionWhen::default();
        match self.rule.iter().find(is_empty) {
            Some(_) => {
                Err("[recording.retention] rule: what holds for every target is keep, beside the rules"
                    .to_owned())
            }
            None => Ok(()),
        }
    }
}

impl RetentionWhen {
    /// Whether a target is meant; none when that cannot be told any more.
    fn fits(&self, name: &TargetName, known: Option<&Target>) -> Option<bool> {
        let is_one =
            |wanted: &Option<OneOrMore>, given: &str| wanted.as_ref().is_none_or(|wanted| wanted.has(given));
        if !is_one(&self.target, name.as_str()) {
            return Some(false);
        }
        let Some(target) = known else {
            let by_name = Self { target: self.target.clone(), ..Self::default() };
            return (*self == by_name).then_some(true);
        };
        let has = |(label, value): (&String, &String)| target.labels.get(label) == Some(value);
        Some(
            is_one(&self.environment, &target.environment)
                && is_one(&self.plane, target.plane.as_str())
                && is_one(&self.sensitivity, target.sensitivity.as_str())
                && self.labels.iter().all(has),
        )
    }
}

impl OneOrMore {
    fn has(&self, given: &str) -> bool {
        match self {
            Self::One(one) => one == given,
            Self::More(several) => several.iter().any(|one| one == given),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::{Administration, Endpoint, HostTrust, Plane, Protocol, Sensitivity};

    fn target(name: &str, environment: &str, team: &str) -> Target {
        Target {
            name: name.parse().unwrap(),
            protocol: Protocol::Ssh,
            endpoint: Endpoint { host: "h".to_owned(), port: 22 },
            trust: HostTrust::Unpinned,
            plane: Plane::Platform,
            environment: environment.to_owned(),
            sensitivity: Sensitivity::Normal,
            tenant: None,
            logins: std::collections::BTreeSet::new(),
            labels: BTreeMap::from([("team".to_owned(), team.to_owned())]),
            administration: Administration::default(),
        }
    }

    const TEXT: &str = "[recording.retention]\nkeep = '30d'\n\
        [[recording.retention.rule]]\nwhen = { target = ['db-1', 'db-2'] }\nkeep = 'forever'\n\
        [[recording.retention.rule]]\nwhen = { environment = 'prod', labels = { team = 'pay' } }\nkeep = '365d'\n\
        [[recording.retention.rule]]\nwhen = { target = 'tmp-1' }\nkeep = '1h'\n";

    #[test]
    fn the_first_rule_that_fits_holds_and_a_target_that_is_gone_keeps_the_longest() {
        let retention = Config::parse(TEXT).unwrap().recording.retention;
        let days = |days: u64| Keep::For(Duration::from_secs(days * 24 * 3600));
        let hour = Duration::from_secs(3600);
        let of = |target: &Target| retention.of(&target.name, Some(target));
        assert_eq!(of(&target("db-2", "prod", "pay")), Keep::Forever);
        assert_eq!(of(&target("web-1", "prod", "pay")), days(365));
        assert_eq!(of(&target("web-1", "prod", "web")), days(30));
        assert_eq!(of(&target("tmp-1", "prod", "pay")), days(365));
        assert_eq!(of(&target("tmp-1", "test", "pay")), Keep::For(hour));
        let gone = |name: &str| retention.of(&name.parse().unwrap(), None);
        assert_eq!((gone("db-1"), gone("tmp-1"), gone("web-1")), (Keep::Forever, days(365), days(365)));
        assert_eq!(retention.shortest(), Some(hour));
        let unset = Retention::default();
        assert_eq!((unset.of(&"web-1".parse().unwrap(), None), unset.shortest()), (Keep::Forever, None));
    }

    #[test]
    fn what_would_delete_by_mistake_is_refused() {
        for (text, names) in [
            ("[recording.retention]\nkeep = '0s'", "0s"),
            ("[recording.retention]\nkeep = '-1h'", "-1h"),
            ("[recording.retention]\nkeep = 'd'", "\"d\""),
            ("[recording.retention]\nkeep = '99999999999999999999d'", "99999999999999999999d"),
            ("[recording.retention]\nkept = '1h'", "kept"),
            ("[[recording.retention.rule]]\nwhen = {}\nkeep = '1h'", "every target"),
            ("[[recording.retention.rule]]\nwhen = { lable = 'x' }\nkeep = '1h'", "lable"),
            ("[[recording.retention.rule]]\nkeep = '1h'", "when"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(names), "{text}: {error}");
        }
    }
}
