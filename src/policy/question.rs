//! The question policy is asked, and its translation into Cedar's values.
//!
//! Values are built natively, never as policy text or JSON, so nothing a person typed is ever parsed as a rule. What the
//! schema does not know is an error, and an error is a deny. Never here: a decision. Next: `engine`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::str::FromStr;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};

use crate::model::{
    Action, Capability, GrantId, Login, PersonId, PersonName, PrincipalKind, Proof, RequestId, Role,
    SessionId, Target, TargetName, Timestamp,
};

/// May this principal do this to that, now?
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who wants to.
    pub principal: &'a Principal,
    /// What they want to do.
    pub action: &'a Action,
    /// What to.
    pub resource: Resource<'a>,
    /// The grant it would be done under; only sessions have one.
    pub grant: Option<&'a Grant>,
    /// Wall time.
    pub now: Timestamp,
    /// Where the connection comes from, when there is one.
    pub client: Option<IpAddr>,
}

/// The facts about a principal that policy sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Their id: what separation of duties compares.
    pub person: PersonId,
    /// What they are called.
    pub name: PersonName,
    /// Person or workload.
    pub kind: PrincipalKind,
    /// Who answers for a workload.
    pub owner: Option<PersonId>,
    /// Their roles.
    pub roles: BTreeSet<Role>,
    /// How they proved who they are.
    pub proof: Proof,
    /// Whether they may act at all.
    pub enabled: bool,
}

/// What an action is done to.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// The gate itself.
    Bastion,
    /// An access request, and the grant that answers it.
    Request {
        /// The request.
        request: &'a RequestId,
        /// Who made it.
        requester: &'a PersonId,
        /// Who answers for them, when a workload made it.
        requester_owner: Option<&'a PersonId>,
        /// The login asked for.
        login: &'a Login,
        /// The target asked for.
        target: &'a Target,
    },
    /// A session, and its recording.
    Session {
        /// The session.
        session: &'a SessionId,
        /// Whose it is.
        person: &'a PersonId,
        /// Where.
        target: &'a Target,
    },
    /// A target; `login` is needed for requests and sessions.
    Target {
        /// The target.
        target: &'a Target,
        /// The login on it.
        login: Option<&'a Login>,
    },
}

/// The facts about a grant that policy sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub grant: GrantId,
    /// Whose right it is.
    pub person: PersonId,
    /// On which login.
    pub login: Login,
    /// On which target.
    pub target: TargetName,
    /// What a session may do.
    pub capabilities: BTreeSet<Capability>,
    /// Who approved.
    pub approvers: BTreeSet<PersonId>,
    /// When it ends; none while a first-use window has not begun.
    pub ends: Option<Timestamp>,
}

/// A question that cannot be put to Cedar: a bug of ours or a schema that does not fit, and so a deny.
#[derive(Debug, thiserror::Error)]
#[error("the question cannot be asked: {0}")]
pub(super) struct QuestionError(String);

/// The names the schema gives to things, checked once when a policy set is loaded.
#[derive(Debug)]
pub(super) struct Vocabulary {
    bastion: EntityUid,
    person: EntityTypeName,
    request: EntityTypeName,
    role: EntityTypeName,
    session: EntityTypeName,
    target: EntityTypeName,
    workload: EntityTypeName,
    /// By name; each with the groups it is in.
    actions: BTreeMap<String, Entity>,
}

impl Vocabulary {
    /// Reads the names from the schema.
    pub(super) fn new(schema: &Schema) -> Result<Self, QuestionError> {
        Ok(Self {
            bastion: EntityUid::from_type_name_and_id(entity_type("Bastion")?, EntityId::new("bastion")),
            person: entity_type("Person")?,
            request: entity_type("Request")?,
            role: entity_type("Role")?,
            session: entity_type("Session")?,
            target: entity_type("Target")?,
            workload: entity_type("Workload")?,
            actions: schema
                .action_entities()
                .map_err(wrong)?
                .iter()
                .map(|action| (action.uid().id().unescaped().to_owned(), action.clone()))
                .collect(),
        })
    }

    /// The question as Cedar takes it.
    pub(super) fn translate(
        &self,
        question: &Question<'_>,
        schema: &Schema,
    ) -> Result<(Request, Entities), QuestionError> {
        let principal = self.principal(question.principal)?;
        let action = self
            .actions
            .get(question.action.as_str())
            .ok_or_else(|| QuestionError(format!("the schema has no action {}", question.action)))?;
        let resource = self.resource(&question.resource)?;
        let request = Request::new(
            principal.uid(),
            action.uid(),
            resource.first().map_or_else(|| self.bastion.clone(), Entity::uid),
            circumstances(question)?,
            Some(schema),
        )
        .map_err(wrong)?;
        let facts = [principal, action.clone()].into_iter().chain(resource);
        let entities = Entities::from_entities(facts, None).map_err(wrong)?;
        Ok((request, entities))
    }

    fn principal(&self, principal: &Principal) -> Result<Entity, QuestionError> {
        let kind = match principal.kind {
            PrincipalKind::Person => &self.person,
            PrincipalKind::Workload => &self.workload,
        };
        let mut facts = HashMap::from([
            fact("id", text(principal.person.as_str())),
            fact("name", text(principal.name.as_str())),
            fact("enabled", RestrictedExpression::new_bool(principal.enabled)),
        ]);
        if let (PrincipalKind::Workload, Some(owner)) = (principal.kind, &principal.owner) {
            facts.extend([fact("owner", text(owner.as_str()))]);
        }
        let roles = principal.roles.iter().map(|role| uid(&self.role, role.as_str())).collect();
        Entity::new(uid(kind, principal.person.as_str()), facts, roles).map_err(wrong)
    }

    /// The resource first, then what it refers to. Empty for the bastion, which has no facts.
    fn resource(&self, resource: &Resource<'_>) -> Result<Vec<Entity>, QuestionError> {
        match *resource {
            Resource::Bastion => Ok(Vec::new()),
            Resource::Request { request, requester, requester_owner, login, target } => {
                let target = self.target(target)?;
                let mut facts = HashMap::from([
                    fact("requester", text(requester.as_str())),
                    fact("login", text(login.as_str())),
                    fact("target", RestrictedExpression::new_entity_uid(target.uid())),
                ]);
                if let Some(owner) = requester_owner {
                    facts.extend([fact("requester_owner", text(owner.as_str()))]);
                }
                Ok(vec![self.entity(&self.request, request.as_str(), facts)?, target])
            }
            Resource::Session { session, person, target } => {
                let target = self.target(target)?;
                let facts = HashMap::from([
                    fact("person", text(person.as_str())),
                    fact("target", RestrictedExpression::new_entity_uid(target.uid())),
                ]);
                Ok(vec![self.entity(&self.session, session.as_str(), facts)?, target])
            }
            Resource::Target { target, .. } => Ok(vec![self.target(target)?]),
        }
    }

    fn target(&self, target: &Target) -> Result<Entity, QuestionError> {
        let mut facts = vec![
            fact("name", text(target.name.as_str())),
            fact("protocol", text(&target.protocol.to_string())),
            fact("plane", text(target.plane.as_str())),
            fact("environment", text(&target.environment)),
            fact("sensitivity", text(target.sensitivity.as_str())),
        ];
        if let Some(tenant) = &target.tenant {
            facts.push(fact("tenant", text(tenant)));
        }
        let labels = target.labels.iter().map(|(key, value)| fact(key, text(value)));
        Entity::new_with_tags(uid(&self.target, target.name.as_str()), facts, [], labels).map_err(wrong)
    }

    #[expect(clippy::unused_self, reason = "reads like its siblings, which need the names")]
    fn entity(
        &self,
        kind: &EntityTypeName,
        id: &str,
        facts: HashMap<String, RestrictedExpression>,
    ) -> Result<Entity, QuestionError> {
        Entity::new(uid(kind, id), facts, std::collections::HashSet::new()).map_err(wrong)
    }
}

fn circumstances(question: &Question<'_>) -> Result<Context, QuestionError> {
    let mut facts = vec![
        fact("now", time(question.now)),
        fact("weekday", text(weekday(question.now))),
        fact("proof", text(question.principal.proof.as_str())),
    ];
    if let Some(client) = question.client {
        facts.push(fact("client", RestrictedExpression::new_ip(client.to_canonical().to_string())));
    }
    let is_in_session = matches!(question.action, Action::SessionOpen | Action::Use(_));
    if (is_in_session || matches!(question.action, Action::RequestMake))
        && let Resource::Target { login: Some(login), .. } = question.resource
    {
        facts.push(fact("login", text(login.as_str())));
    }
    if let (true, Some(grant)) = (is_in_session, question.grant) {
        facts.push(fact("grant", grant_facts(grant)?));
    }
    if let Action::Use(capability) = question.action {
        facts.push(fact("capability", text(&capability.to_string())));
        if let Capability::Forward { host, port } = capability {
            facts.push(fact("forward_host", text(host)));
            facts.push(fact("forward_port", RestrictedExpression::new_long(i64::from(*port))));
        }
    }
    Context::from_pairs(facts).map_err(wrong)
}

fn grant_facts(grant: &Grant) -> Result<RestrictedExpression, QuestionError> {
    let mut facts = vec![
        fact("person", text(grant.person.as_str())),
        fact("login", text(grant.login.as_str())),
        fact("target", text(grant.target.as_str())),
        fact("capabilities", set(grant.capabilities.iter().map(ToString::to_string))),
        fact("approvers", set(grant.approvers.iter().map(|person| person.as_str().to_owned()))),
    ];
    if let Some(ends) = grant.ends {
        facts.push(fact("ends", time(ends)));
    }
    RestrictedExpression::new_record(facts).map_err(wrong)
}

fn entity_type(name: &str) -> Result<EntityTypeName, QuestionError> {
    EntityTypeName::from_str(name).map_err(wrong)
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn fact(name: &str, value: RestrictedExpression) -> (String, RestrictedExpression) {
    (name.to_owned(), value)
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn set(values: impl Iterator<Item = String>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.map(RestrictedExpression::new_string))
}

/// To the millisecond, which is as fine as Cedar's times go; a window so ends up to one millisecond early.
fn time(at: Timestamp) -> RestrictedExpression {
    RestrictedExpression::new_datetime(at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

fn weekday(at: Timestamp) -> &'static str {
    match at.to_zoned(jiff::tz::TimeZone::UTC).weekday() {
        jiff::civil::Weekday::Monday => "monday",
        jiff::civil::Weekday::Tuesday => "tuesday",
        jiff::civil::Weekday::Wednesday => "wednesday",
        jiff::civil::Weekday::Thursday => "thursday",
        jiff::civil::Weekday::Friday => "friday",
        jiff::civil::Weekday::Saturday => "saturday",
        jiff::civil::Weekday::Sunday => "sunday",
    }
}

fn wrong(error: impl std::error::Error) -> QuestionError {
    QuestionError(error.to_string())
}
