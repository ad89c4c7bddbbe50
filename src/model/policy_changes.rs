//! What a policy set has that the one before it had not, and the other way round, by the names of the rules.
//!
//! For people: a hash says that something changed, this says what. A `forbid` that is gone is access that is wider,
//! and nothing else would show it. Whether a change is right is nobody's business here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most names told of each kind.
const MOST: usize = 64;
/// Longest name told, in characters.
const LONGEST: usize = 64;

/// The difference between two policy sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyChanges {
    /// Rules that are new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Rules that say something else than before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub altered: Vec<String>,
    /// Rules that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

impl PolicyChanges {
    /// The difference between what rules said by their names, and what they say now.
    #[must_use]
    pub fn between(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Self {
        let lacks = |of: &BTreeMap<String, String>, name: &String| !of.contains_key(name);
        let differs = |name: &&String| before.get(*name).is_some_and(|text| now.get(*name) != Some(text));
        Self {
            added: told(now.keys().filter(|name| lacks(before, name))),
            altered: told(before.keys().filter(|name| now.contains_key(*name)).filter(differs)),
            removed: told(before.keys().filter(|name| lacks(now, name))),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.altered.is_empty() && self.removed.is_empty()
    }
}

/// So many names that an entry can hold them, and how many more there are.
fn told<'n>(names: impl Iterator<Item = &'n String>) -> Vec<String> {
    let names: Vec<String> = names.map(|name| name.chars().take(LONGEST).collect()).collect();
    let more = names.len().saturating_sub(MOST);
    let mut told: Vec<String> = names.into_iter().take(MOST).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rules: &[(&str, &str)]) -> BTreeMap<String, String> {
        rules.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect()
    }

    #[test]
    fn each_rule_that_changed_is_named_once() {
        let before = set(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let now = set(&[("b", "1"), ("c", "2"), ("d", "1")]);
        let changes = PolicyChanges::between(&before, &now);
        assert_eq!(
            (changes.added, changes.altered, changes.removed),
            (vec!["d".to_owned()], vec!["c".to_owned()], vec!["a".to_owned()])
        );
        assert!(PolicyChanges::between(&before, &before).is_empty());
    }

    #[test]
    fn a_whole_set_that_changed_still_fits() {
        let many: Vec<String> = (0..2000).map(|n| format!("{n:0>1000}")).collect();
        let many = many.iter().map(|name| (name.clone(), String::new())).collect();
        let removed = PolicyChanges::between(&many, &BTreeMap::new()).removed;
        assert_eq!((removed.len(), removed.last().unwrap().as_str()), (65, "and 1936 more"));
        assert!(removed.iter().all(|name| name.len() <= 64));
    }
}
