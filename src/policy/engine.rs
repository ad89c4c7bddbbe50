//! The engine: one question in, one decision out; the same function at the start of a session and ever after.
//!
//! Cedar skips a rule that fails to evaluate, also a `forbid`; so any diagnostic at all is a deny here. A reload replaces
//! the whole set at once, and only with a set that loads, fits the schema and passes its own table of decisions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use cedar_policy::{Authorizer, Policy, PolicyId, PolicySet};

use super::approval::ApprovalRule;
use super::explain::{Explanation, RuleText};
use super::load::{self, PolicyError, Set};
use super::question::{Principal, Question, Resource};
use super::table::Outcome;
use crate::model::{Action, Login, Role, Target, Timestamp};

/// What the schema calls a role.
const ROLE: &str = "Role";

/// Answers questions from the policy set in force. Clones share it.
#[derive(Debug, Clone)]
pub struct Engine {
    directory: Arc<Mutex<Option<PathBuf>>>,
    in_force: Arc<RwLock<Arc<Set>>>,
}

/// What a reload put out of force, until the ledger has the new hash.
#[must_use = "note the hash in the ledger, or put it back"]
#[derive(Debug)]
pub struct Replaced {
    /// The hash of what is in force now.
    pub hash: String,
    set: Arc<Set>,
    directory: Option<PathBuf>,
}

/// What policy says. There is no third answer: whatever goes wrong is a deny.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Yes.
    Allow(Allowed),
    /// No.
    Deny(Denied),
}

/// A yes, and the rules that said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Ids of the rules that allow it.
    pub policies: Vec<String>,
}

/// A no, in words for two readers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// For the person refused: the rules' `@reason`, or that no rule allows it.
    pub reason: String,
    /// For the operator's log: which rules, and what failed.
    pub detail: String,
    /// Ids of the rules that forbid it; empty when no rule allows it.
    pub policies: Vec<String>,
}

impl Decision {
    /// Whether the answer is yes.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// The answer as a `Result`, for `?`.
    ///
    /// # Errors
    /// When the answer is no.
    pub fn allowed(self) -> Result<Allowed, Denied> {
        match self {
            Self::Allow(allowed) => Ok(allowed),
            Self::Deny(denied) => Err(denied),
        }
    }
}

impl Engine {
    /// Loads the set in `directory`, or the defaults in the binary.
    ///
    /// # Errors
    /// When the set cannot be read, does not fit the schema, or fails its own table of decisions.
    pub fn load(directory: Option<&Path>) -> Result<Self, PolicyError> {
        let set = checked(directory)?;
        Ok(Self {
            directory: Arc::new(Mutex::new(directory.map(Path::to_owned))),
            in_force: Arc::new(RwLock::new(Arc::new(set))),
        })
    }

    /// Loads its directory again and puts it in force. The caller notes the hash in the ledger, which re-asks every
    /// live session, and puts the replaced set back when that fails.
    ///
    /// # Errors
    /// As [`Self::load`]; the old set then stays in force.
    pub fn reload(&self) -> Result<Replaced, PolicyError> {
        let directory = self.directory().clone();
        self.reload_from(directory)
    }

    /// [`Self::reload`], from another directory.
    ///
    /// # Errors
    /// As [`Self::load`]; the old set and directory then stay in force.
    pub fn reload_from(&self, directory: Option<PathBuf>) -> Result<Replaced, PolicyError> {
        let set = Arc::new(checked(directory.as_deref())?);
        let hash = set.hash.clone();
        let set = std::mem::replace(&mut *self.in_force.write().unwrap_or_else(PoisonError::into_inner), set);
        let directory = std::mem::replace(&mut *self.directory(), directory);
        Ok(Replaced { hash, set, directory })
    }

    /// Puts back what was in force.
    pub fn put_back(&self, replaced: Replaced) {
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = replaced.set;
        *self.directory() = replaced.directory;
    }

    fn directory(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SHA-256 of the set in force, in lower-case hex: what the ledger records.
    #[must_use]
    pub fn hash(&self) -> String {
        self.set().hash.clone()
    }

    /// The files of the default set, as (name, text): what a site copies to begin with.
    #[must_use]
    pub const fn defaults() -> [(&'static str, &'static str); 5] {
        load::defaults()
    }

    /// Answers. Pure but for the set in force.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        self.set().decide(question)
    }

    /// Answers, and shows the text of the rules that decided.
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        let set = self.set();
        let decision = set.decide(question);
        let ids = match &decision {
            Decision::Allow(allowed) => &allowed.policies,
            Decision::Deny(denied) => &denied.policies,
        };
        let rules = ids.iter().filter_map(|id| set.policies.policy(&PolicyId::new(id))).map(RuleText::of);
        Explanation { rules: rules.collect(), decision, set: set.hash.clone() }
    }

    /// Asks the same for everybody: who could do this?
    pub fn who_could<'p>(
        &self,
        people: impl IntoIterator<Item = &'p Principal>,
        action: &Action,
        resource: Resource<'_>,
        now: Timestamp,
    ) -> Vec<(&'p Principal, Decision)> {
        let set = self.set();
        let ask = |principal| {
            let question = Question { principal, action, resource, grant: None, now, client: None };
            (principal, set.decide(&question))
        };
        people.into_iter().map(ask).collect()
    }

    /// What a request for `login` on `target` must get before it is a grant.
    #[must_use]
    pub fn rule_for(&self, target: &Target, login: &Login) -> ApprovalRule {
        self.set().rules.rule_for(target, login).clone()
    }

    /// Every role that some approval rule counts.
    #[must_use]
    pub fn approver_roles(&self) -> Vec<Role> {
        self.set().rules.roles().into_iter().cloned().collect()
    }

    /// Every role that any rule speaks of; a person with another one could do nothing by it.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<String> {
        let set = self.set();
        let named = set.policies.policies().flat_map(Policy::entity_literals);
        let named = named.filter(|uid| uid.type_name().basename() == ROLE);
        let counted = set.rules.roles().into_iter().map(ToString::to_string);
        named.map(|uid| uid.id().unescaped().to_owned()).chain(counted).collect()
    }

    /// Runs the set's own table of decisions; `None` when it has no `decisions.toml`.
    #[must_use]
    pub fn test(&self) -> Option<Vec<Outcome>> {
        let set = self.set();
        set.table.as_ref().map(|table| table.run(&set))
    }

    pub(super) fn set(&self) -> Arc<Set> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Set {
    pub(super) fn decide(&self, question: &Question<'_>) -> Decision {
        let (request, entities) = match self.vocabulary.translate(question, &self.schema) {
            Ok(translated) => translated,
            Err(error) => return refused(question, error.to_string()),
        };
        let response = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        let errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
        if !errors.is_empty() {
            return refused(question, errors.join("; "));
        }
        let policies = ids(response.diagnostics().reason());
        match response.decision() {
            cedar_policy::Decision::Allow if !policies.is_empty() => Decision::Allow(Allowed { policies }),
            cedar_policy::Decision::Allow => refused(question, "allowed by no rule".to_owned()),
            cedar_policy::Decision::Deny if policies.is_empty() => Decision::Deny(Denied {
                reason: format!("no policy allows {} here", question.action),
                detail: "no permit holds".to_owned(),
                policies,
            }),
            cedar_policy::Decision::Deny => Decision::Deny(Denied {
                reason: reasons(&self.policies, &policies),
                detail: format!("forbidden by {}", policies.join(", ")),
                policies,
            }),
        }
    }
}

/// Reads a set and holds it to its own table.
fn checked(directory: Option<&Path>) -> Result<Set, PolicyError> {
    let set = load::load(directory)?;
    if let Some(table) = &set.table {
        Outcome::all_as_expected(&table.run(&set))?;
    }
    Ok(set)
}

/// The answer when policy could not be asked: the person learns no internals.
fn refused(question: &Question<'_>, detail: String) -> Decision {
    let reason = format!("policy could not decide {}; tell the bastion's administrators", question.action);
    Decision::Deny(Denied { reason, detail, policies: Vec::new() })
}

/// Sorted, so that the same answer is always the same text.
fn ids<'p>(found: impl Iterator<Item = &'p PolicyId>) -> Vec<String> {
    let mut ids: Vec<String> = found.map(ToString::to_string).collect();
    ids.sort();
    ids
}

fn reasons(policies: &PolicySet, ids: &[String]) -> String {
    let mut said: Vec<&str> =
        ids.iter().filter_map(|id| policies.annotation(&PolicyId::new(id), "reason")).collect();
    said.dedup();
    said.join("; ")
}
