//! Whose identity is it: the one question authentication asks of what is stored.
//!
//! Nothing here judges evidence. The answer is read anew each time, so that a disabled person is out at once.

use std::collections::BTreeSet;

use crate::model::{Identity, PersonId, PersonName, PrincipalKind, Role};
use crate::store::Store;

/// A stored person or workload, as authentication needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Their id.
    pub person: PersonId,
    /// What they are called.
    pub name: PersonName,
    /// Person or workload.
    pub kind: PrincipalKind,
    /// Their roles now.
    pub roles: BTreeSet<Role>,
    /// Whether they may act.
    pub enabled: bool,
}

/// Answers whose an identity is.
pub trait Directory: Send + Sync {
    /// The person an identity is linked to, if any, also when they are disabled.
    fn holder_of(&self, identity: &Identity) -> Option<Known>;
}

impl Directory for Store {
    fn holder_of(&self, identity: &Identity) -> Option<Known> {
        self.read(|state| {
            let (person, _) = state.person_by_identity(identity)?;
            Some(Known {
                person: person.facts.person.clone(),
                name: person.facts.name.clone(),
                kind: person.facts.kind,
                roles: person.facts.roles.clone(),
                enabled: state.is_active(&person.facts.person),
            })
        })
    }
}
