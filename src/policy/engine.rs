//! The engine: one question in, one decision out; the same function at the start of a session and ever after.
//!
//! Cedar skips a rule that fails to evaluate, also a `forbid`; so any diagnostic at all is a deny here. A reload replaces
//! the whole set at once, and only with a set that loads, fits the schema and passes its own table of decisions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use cedar_policy::{Authorizer, Policy, PolicyId, PolicySet};

use super::approval::ApprovalRule;
use super::load::{self, PolicyError, Set};
use super::question::{Principal, Question, Resource};
use super::table::Outcome;
use crate::model::{Action, Login, PolicyChanges, Target, Timestamp};

/// What the schema calls a role.
const ROLE: &str = "Role";

/// Answers questions from the policy set in force. Clones share it.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Where the next reload looks; held while one is under way, so that none overtakes another.
    directory: Arc<Mutex<Option<PathBuf>>>,
    in_force: Arc<RwLock<Arc<Set>>>,
}

/// What a reload put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Its hash.
    pub hash: String,
    /// What it has that the set before had not, and the other way round.
    pub rules: PolicyChanges,
}

/// Why a reload changed nothing: what was in force before is in force again.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError<E> {
    /// It could not be noted.
    #[error("{0}")]
    Unnoted(E),
    /// The set cannot be used.
    #[error(transparent)]
    Unusable(#[from] PolicyError),
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

    /// Loads its directory again, puts it in force and has it noted; the entry in the ledger re-asks every live session.
    /// One reload at a time, from its beginning to its end; where the caller may be given up, run it where that cannot
    /// be (`spawn_blocking`).
    ///
    /// # Errors
    /// As [`Self::load`], or when `note` fails; the old set then stays in force.
    pub fn reload<E>(
        &self,
        note: impl FnOnce(&Reloaded) -> Result<(), E>,
    ) -> Result<Reloaded, ReloadError<E>> {
        let mut held = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = held.clone();
        self.replace(&mut held, directory, note)
    }

    /// [`Self::reload`], from now on from another directory.
    ///
    /// # Errors
    /// As [`Self::reload`]; the old directory then stays, too.
    pub fn reload_from<E>(
        &self,
        directory: Option<PathBuf>,
        note: impl FnOnce(&Reloaded) -> Result<(), E>,
    ) -> Result<Reloaded, ReloadError<E>> {
        let mut held = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&mut held, directory, note)
    }

    fn replace<E>(
        &self,
        held: &mut Option<PathBuf>,
        directory: Option<PathBuf>,
        note: impl FnOnce(&Reloaded) -> Result<(), E>,
    ) -> Result<Reloaded, ReloadError<E>> {
        let set = Arc::new(checked(directory.as_deref())?);
        let before = self.put_in_force(Arc::clone(&set));
        let rules = PolicyChanges::between(&before.texts(), &set.texts());
        let reloaded = Reloaded { hash: set.hash.clone(), rules };
        if let Err(error) = note(&reloaded) {
            drop(self.put_in_force(before));
            return Err(ReloadError::Unnoted(error));
        }
        *held = directory;
        Ok(reloaded)
    }

    /// Gives what was in force.
    fn put_in_force(&self, set: Arc<Set>) -> Arc<Set> {
        std::mem::replace(&mut *self.in_force.write().unwrap_or_else(PoisonError::into_inner), set)
    }

    /// The files of the set in force, as (name, text), and its hash.
    #[must_use]
    pub fn files(&self) -> (String, Vec<(String, String)>) {
        let set = self.set();
        (set.hash.clone(), set.files.clone().into_iter().collect())
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

    /// Every role that any rule speaks of; a person with another one could do nothing by it.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<String> {
        let set = self.set();
        let named = set.policies.policies().flat_map(Policy::entity_literals);
        let named = named.filter(|uid| uid.type_name().basename() == ROLE);
        let counted = set.rules.roles().into_iter().map(ToString::to_string);
        named.map(|uid| uid.id().unescaped().to_owned()).chain(counted).collect()
    }

    /// Runs the table of decisions of the set in `directory`, or of the defaults, whatever comes out; `None` when it
    /// has no `decisions.toml`.
    ///
    /// # Errors
    /// When the set cannot be read or does not fit the schema.
    pub fn test(directory: Option<&Path>) -> Result<Option<Vec<Outcome>>, PolicyError> {
        let set = load::load(directory)?;
        Ok(set.table.as_ref().map(|table| table.run(&set)))
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
