//! How a request becomes a grant: ordered rules from `approvals.toml`, the first that fits holds.
//!
//! A set of rules always answers, because its last rule has no condition. Never here: who may approve *this* request;
//! that is a question to the engine, and the counting is the access module's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use crate::model::{Login, Role, Target, WindowClock};

/// Most approvals a rule may ask for.
const MOST_APPROVALS: u32 = 16;
/// Most rules in one file.
const MOST_RULES: usize = 1000;
/// Longest time any rule may name: a window of a month is already standing access.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// What a request for one login on one target must get before it is a grant, and how long that is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRule {
    /// The rule's name, for people.
    pub name: String,
    /// How many different people must approve.
    pub approvals: u32,
    /// Roles whose members may approve.
    pub roles: BTreeSet<Role>,
    /// The longest window that may be asked for.
    pub longest: Duration,
    /// The window when none is asked for.
    pub default: Duration,
    /// When the window begins.
    pub clock: WindowClock,
    /// How long an unused grant stays good, for a window that begins at first use.
    pub use_within: Duration,
    /// How long a request waits for an answer.
    pub lapses: Duration,
}

/// A file of approval rules that cannot be used; the operator who wrote it can mend it.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// It is not TOML of the right shape.
    #[error("approvals.toml: {0}")]
    Syntax(Box<toml::de::Error>),
    /// There is no rule, or far too many.
    #[error("approvals.toml has {0} rules: give between 1 and {MOST_RULES}")]
    Count(usize),
    /// The last rule has a condition, so some requests would have no rule.
    #[error(
        "approvals.toml: the last rule, {0:?}, has a `when`: end with a rule that has none, so that every request has one"
    )]
    NoLast(String),
    /// A rule before the last catches everything, so those after it never hold.
    #[error(
        "approvals.toml: rule {0:?} has no `when`, so the rules after it would never hold: move it to the end"
    )]
    Shadowed(String),
    /// A value in a rule is out of bounds.
    #[error("approvals.toml: rule {rule:?}: {what}")]
    Value {
        /// The rule.
        rule: String,
        /// What is wrong and what to write.
        what: String,
    },
}

/// Rules in order; the last fits everything.
#[derive(Debug)]
pub(super) struct Rules {
    conditional: Vec<(Condition, ApprovalRule)>,
    last: ApprovalRule,
}

impl Rules {
    /// Reads and checks a file's text.
    pub(super) fn parse(text: &str) -> Result<Self, ApprovalError> {
        let file: File = toml::from_str(text).map_err(|e| ApprovalError::Syntax(Box::new(e)))?;
        let count = file.rule.len();
        if count > MOST_RULES {
            return Err(ApprovalError::Count(count));
        }
        let mut rules = Vec::with_capacity(count);
        for written in file.rule {
            rules.push(written.check()?);
        }
        let Some((condition, last)) = rules.pop() else { return Err(ApprovalError::Count(0)) };
        if condition != Condition::default() {
            return Err(ApprovalError::NoLast(last.name));
        }
        if let Some((_, rule)) = rules.iter().find(|(condition, _)| *condition == Condition::default()) {
            return Err(ApprovalError::Shadowed(rule.name.clone()));
        }
        Ok(Self { conditional: rules, last })
    }

    /// The rule for one login on one target.
    pub(super) fn rule_for(&self, target: &Target, login: &Login) -> &ApprovalRule {
        self.conditional
            .iter()
            .find(|(condition, _)| condition.fits(target, login))
            .map_or(&self.last, |(_, rule)| rule)
    }

    /// Every role that may approve something.
    pub(super) fn roles(&self) -> BTreeSet<&Role> {
        self.conditional.iter().map(|(_, rule)| rule).chain([&self.last]).flat_map(|r| &r.roles).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Written>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    when: Condition,
    approvals: u32,
    approvers: BTreeSet<Role>,
    longest: String,
    default: String,
    clock: WindowClock,
    use_within: Option<String>,
    lapses: String,
}

/// All that is given must fit; nothing given fits everything.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    plane: Option<OneOrMore>,
    environment: Option<OneOrMore>,
    sensitivity: Option<OneOrMore>,
    login: Option<OneOrMore>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(BTreeSet<String>),
}

impl Condition {
    fn fits(&self, target: &Target, login: &Login) -> bool {
        let fits = |wanted: &Option<OneOrMore>, is: &str| wanted.as_ref().is_none_or(|w| w.contains(is));
        fits(&self.plane, target.plane.as_str())
            && fits(&self.environment, &target.environment)
            && fits(&self.sensitivity, target.sensitivity.as_str())
            && fits(&self.login, login.as_str())
            && self.labels.iter().all(|(key, value)| target.labels.get(key) == Some(value))
    }

    /// Names that no target can have, which would make a rule silently never hold.
    fn impossible(&self) -> Option<String> {
        let known = |field: &str, given: &Option<OneOrMore>, all: &[&str]| {
            let unknown = given.iter().flat_map(OneOrMore::values).find(|value| !all.contains(value))?;
            Some(format!("{field} {unknown:?} does not exist: use {}", all.join(" or ")))
        };
        known("plane", &self.plane, &["platform", "application_data"])
            .or_else(|| known("sensitivity", &self.sensitivity, &["normal", "high"]))
            .or_else(|| {
                let bad =
                    self.login.iter().flat_map(OneOrMore::values).find_map(|v| v.parse::<Login>().err())?;
                Some(bad.to_string())
            })
    }
}

impl OneOrMore {
    fn contains(&self, is: &str) -> bool {
        self.values().any(|value| value == is)
    }

    fn values(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::One(value) => Box::new(std::iter::once(value.as_str())),
            Self::More(values) => Box::new(values.iter().map(String::as_str)),
        }
    }
}

impl Written {
    fn check(self) -> Result<(Condition, ApprovalRule), ApprovalError> {
        let name = self.name;
        let wrong = |what: String| ApprovalError::Value { rule: name.clone(), what };
        let time = |field: &str, given: &str| span(given).map_err(|why| wrong(format!("`{field}`: {why}")));
        if let Some(what) = self.when.impossible() {
            return Err(wrong(format!("`when`: {what}")));
        }
        if !(1..=MOST_APPROVALS).contains(&self.approvals) {
            let words = "no session begins without an approved grant";
            return Err(wrong(format!("`approvals` is from 1 to {MOST_APPROVALS}: {words}")));
        }
        if self.approvers.is_empty() {
            return Err(wrong("`approvers` is empty, so nobody could ever approve: name a role".to_owned()));
        }
        let longest = time("longest", &self.longest)?;
        let default = time("default", &self.default)?;
        let lapses = time("lapses", &self.lapses)?;
        if default > longest {
            return Err(wrong("`default` is longer than `longest`".to_owned()));
        }
        let use_within = match (&self.use_within, self.clock) {
            (Some(given), WindowClock::FirstUse) => time("use_within", given)?,
            (None, WindowClock::Approval) => Duration::ZERO,
            (None, WindowClock::FirstUse) => {
                return Err(wrong(
                    "a `first_use` clock needs `use_within`: how long the unused grant stays good".to_owned(),
                ));
            }
            (Some(_), WindowClock::Approval) => {
                return Err(wrong(
                    "`use_within` has no meaning with an `approval` clock: remove one".to_owned(),
                ));
            }
        };
        let rule = ApprovalRule {
            name: name.clone(),
            approvals: self.approvals,
            roles: self.approvers,
            longest,
            default,
            clock: self.clock,
            use_within,
            lapses,
        };
        Ok((self.when, rule))
    }
}

fn span(given: &str) -> Result<Duration, String> {
    let written = || format!("{given:?} is no length of time: write it like \"30m\", \"8h\" or \"1h 30m\"");
    let span: jiff::SignedDuration = given.parse().map_err(|_| written())?;
    let span = Duration::try_from(span).map_err(|_| written())?;
    if span < Duration::from_secs(1) || span > LONGEST {
        return Err(format!(
            "{given:?} is out of bounds: give between 1s and {} days",
            LONGEST.as_secs() / 86_400
        ));
    }
    Ok(span)
}

#[cfg(test)]
#[path = "approval_tests.rs"]
mod tests;
