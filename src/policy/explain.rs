//! Why the answer is what it is: the rules that decided, as their authors wrote them.
//!
//! For `postern policy explain` and the API. Never here: deciding; an explanation is made from a decision.

use super::engine::Decision;

/// A decision with the rules behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The answer.
    pub decision: Decision,
    /// The rules that decided; empty when no rule allows it.
    pub rules: Vec<RuleText>,
    /// Hash of the policy set asked.
    pub set: String,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleText {
    /// Its `@id`.
    pub id: String,
    /// What it does.
    pub effect: Effect,
    /// Its `@reason`, where it has one.
    pub reason: Option<String>,
    /// Its Cedar text.
    pub text: String,
}

/// What a rule does when it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It forbids; that always wins.
    Forbid,
    /// It permits.
    Permit,
}

impl RuleText {
    pub(super) fn of(policy: &cedar_policy::Policy) -> Self {
        Self {
            id: policy.id().to_string(),
            effect: match policy.effect() {
                cedar_policy::Effect::Forbid => Effect::Forbid,
                cedar_policy::Effect::Permit => Effect::Permit,
            },
            reason: policy.annotation("reason").map(str::to_owned),
            text: policy.to_cedar().unwrap_or_default(),
        }
    }
}
