//! From what people type to the thing they mean: whole ids, the beginning of an id, or a person's name.
//!
//! A beginning that fits several things the caller may see is answered with them; what the caller may not see takes no
//! part, so that no answer says what else exists. Whether they may do something to what was found is asked later.

use super::call::Call;
use super::error::ApiError;
use crate::access::{Grant, GrantEnd, Request, RequestEnd, Session};
use crate::model::{GrantId, PersonId, PersonName, RequestId, SessionId, TargetName, Timestamp};
use crate::store::{Filter, SessionEnd};

/// The fewest characters that stand for an id, beside its prefix.
const FEWEST: usize = 4;
/// The most ids an answer names when a beginning fits several.
const MOST_NAMED: usize = 10;

/// A request, open or over.
pub(super) struct FoundRequest {
    pub(super) request: Request,
    pub(super) end: Option<(RequestEnd, Timestamp)>,
}

/// A session, live or over.
pub(super) struct FoundSession {
    pub(super) session: Session,
    pub(super) end: Option<SessionEnd>,
}

/// A person by id, name, or the beginning of an id.
pub(super) fn person(call: &Call, text: &str) -> Result<PersonId, ApiError> {
    let found = call.look(|state| {
        if let Some(known) = text.parse::<PersonId>().ok().filter(|id| state.person(id).is_some()) {
            return Some(known);
        }
        if let Some(named) = text.parse::<PersonName>().ok().and_then(|name| state.person_named(&name)) {
            return Some(named.facts.person.clone());
        }
        let prefix = prefix(text, PersonId::PREFIX)?;
        only(state.people().map(|p| &p.facts.person).filter(|id| id.as_str().starts_with(&prefix))).cloned()
    });
    found.ok_or_else(|| ApiError::not_found("person"))
}

/// A request by id or the beginning of one; `sees` says which ones the caller may know of.
pub(super) async fn request(
    call: &Call,
    text: &str,
    sees: impl Fn(&FoundRequest) -> bool,
) -> Result<FoundRequest, ApiError> {
    let prefix = prefix(text, RequestId::PREFIX).ok_or_else(|| ApiError::not_found("request"))?;
    let found = call.history(move |store| store.request_history(&Filter::by_prefix(&prefix))).await?;
    let found = found.into_iter().map(|record| FoundRequest { request: record.request, end: record.over });
    one_seen("request", text, found, |found| found.request.facts.request.as_str(), sees)
}

/// A grant by id or the beginning of one, and how it ended: one in force before those that are over.
pub(super) async fn grant(
    call: &Call,
    text: &str,
    sees: impl Fn(&Grant) -> bool,
) -> Result<(Grant, Option<(GrantEnd, Timestamp)>), ApiError> {
    let prefix = prefix(text, GrantId::PREFIX).ok_or_else(|| ApiError::not_found("grant"))?;
    let mut found: Vec<(Grant, Option<(GrantEnd, Timestamp)>)> = call.look(|state| {
        let fits = state.grants().filter(|grant| grant.facts.grant.as_str().starts_with(&prefix));
        fits.map(|grant| (grant.clone(), None)).collect()
    });
    if found.is_empty() {
        let past = call.history(move |store| store.grant_history(&Filter::by_prefix(&prefix))).await?;
        found = past.into_iter().map(|record| (record.grant, record.over)).collect();
    }
    let sees = |(grant, _): &(Grant, _)| sees(grant);
    one_seen("grant", text, found.into_iter(), |(grant, _)| grant.facts.grant.as_str(), sees)
}

/// A session by id or the beginning of one; `sees` says which ones the caller may know of.
pub(super) async fn session(
    call: &Call,
    text: &str,
    sees: impl Fn(&FoundSession) -> bool,
) -> Result<FoundSession, ApiError> {
    let prefix = prefix(text, SessionId::PREFIX).ok_or_else(|| ApiError::not_found("session"))?;
    let found = call.history(move |store| store.session_history(&Filter::by_prefix(&prefix))).await?;
    let found = found.into_iter().map(|record| FoundSession { session: record.session, end: record.end });
    one_seen("session", text, found, |found| found.session.facts.session.as_str(), sees)
}

/// Requests that are over, newest first, and where the next page begins.
pub(super) async fn past_requests(call: &Call) -> Result<(Vec<FoundRequest>, Option<String>), ApiError> {
    let filter = past(call)?;
    let found = call.history(move |store| store.request_history(&filter)).await?;
    let next = next(&found, |record| (record.request.facts.asked, record.request.facts.request.as_str()));
    let over = found
        .into_iter()
        .filter_map(|record| record.over.map(|end| FoundRequest { request: record.request, end: Some(end) }));
    Ok((over.collect(), next))
}

/// Grants that are over, newest first, and where the next page begins.
pub(super) async fn past_grants(
    call: &Call,
) -> Result<(Vec<(Grant, (GrantEnd, Timestamp))>, Option<String>), ApiError> {
    let filter = past(call)?;
    let found = call.history(move |store| store.grant_history(&filter)).await?;
    let next = next(&found, |record| (record.grant.issued, record.grant.facts.grant.as_str()));
    let over = found.into_iter().filter_map(|record| record.over.map(|end| (record.grant, end)));
    Ok((over.collect(), next))
}

/// Sessions that are over, newest first, and where the next page begins.
pub(super) async fn past_sessions(call: &Call) -> Result<(Vec<FoundSession>, Option<String>), ApiError> {
    let filter = past(call)?;
    let found = call.history(move |store| store.session_history(&filter)).await?;
    let next = next(&found, |record| (record.session.started, record.session.facts.session.as_str()));
    let over = found.into_iter().filter(|record| record.end.is_some());
    Ok((over.map(|record| FoundSession { session: record.session, end: record.end }).collect(), next))
}

/// Whether something of a person's on a target is wanted, by the query's `person` and `target`.
pub(super) fn wanted(call: &Call) -> Result<impl Fn(&PersonId, &TargetName) -> bool + use<>, ApiError> {
    let Filter { person, target, .. } = past(call)?;
    Ok(move |of: &PersonId, on: &TargetName| {
        person.as_ref().is_none_or(|person| person == of) && target.as_ref().is_none_or(|target| target == on)
    })
}

/// What the query says about the past: `person`, `target`, and `before`: a time, or what the page before gave as `next`.
fn past(call: &Call) -> Result<Filter, ApiError> {
    let (before, after) = match call.query.get("before").and_then(|text| text.split_once(',')) {
        Some((at, id)) => {
            let at = at
                .parse()
                .map_err(|_| ApiError::bad_input("before is a time, or what a page gave as next"))?;
            (None, Some((at, id.to_owned())))
        }
        None => (call.query("before")?, None),
    };
    Ok(Filter {
        after,
        before,
        person: call.query.get("person").map(|text| person(call, text)).transpose()?,
        target: call.query("target")?,
        ..Filter::default()
    })
}

/// Where the next page begins: after the last of a full one.
fn next<T>(found: &[T], place: impl Fn(&T) -> (Timestamp, &str)) -> Option<String> {
    let is_full = u32::try_from(found.len()).is_ok_and(|count| count >= Filter::MOST);
    found.last().filter(|_| is_full).map(|last| {
        let (at, id) = place(last);
        format!("{at},{id}")
    })
}

/// Whether a list is asked for with what is over, by `?state=all`; `now` is the word for what is not.
pub(super) fn wants_all(call: &Call, now: &str) -> Result<bool, ApiError> {
    match call.query.get("state").map(String::as_str) {
        None => Ok(false),
        Some("all") => Ok(true),
        Some(given) if given == now => Ok(false),
        Some(_) => Err(ApiError::bad_input(format!("state is {now} or all"))),
    }
}

/// A beginning long enough to mean something, with its kind in front; only what an id can hold.
fn prefix(text: &str, kind: &str) -> Option<String> {
    let body = text.strip_prefix(kind).unwrap_or(text);
    let is_body =
        (FEWEST..=16).contains(&body.len()) && body.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
    is_body.then(|| format!("{kind}{body}"))
}

/// The one of what fits a beginning that the caller may know of. A single one is left for the handler to judge.
fn one_seen<T>(
    what: &str,
    text: &str,
    found: impl Iterator<Item = T>,
    id: impl Fn(&T) -> &str,
    sees: impl Fn(&T) -> bool,
) -> Result<T, ApiError> {
    let mut found: Vec<T> = found.collect();
    if found.len() > 1 {
        found.retain(sees);
    }
    if found.len() > 1 {
        let mut names: Vec<&str> = found.iter().take(MOST_NAMED).map(id).collect();
        names.sort_unstable();
        let (count, names) = (found.len(), names.join(", "));
        let more = if count > MOST_NAMED { ", …" } else { "" };
        let words = format!("{text} is the beginning of {count} {what}s: {names}{more}");
        return Err(ApiError::conflict("ambiguous", words).hint("give more of the one you mean"));
    }
    found.pop().ok_or_else(|| ApiError::not_found(what))
}

/// The only item there is.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_long_enough_and_holds_what_an_id_holds() {
        assert_eq!(prefix("ses_abcd", "ses_").unwrap(), "ses_abcd");
        assert_eq!(prefix("abcd", "ses_").unwrap(), "ses_abcd");
        for bad in ["", "ses_", "abc", "ses_abc", "abcd%", "../../x", "ABCD", "grn_abcd", &"a".repeat(17)] {
            assert_eq!(prefix(bad, "ses_"), None, "{bad}");
        }
    }

    #[test]
    fn a_beginning_of_several_names_those_the_caller_may_see() {
        let found = |sees: fn(&&str) -> bool| {
            let all = ["req_abcdaa", "req_abcdbb", "req_abcdcc"];
            one_seen("request", "abcd", all.into_iter(), |id| id, sees)
        };
        let words = |error: ApiError| format!("{error:?}");
        let several = words(found(|id| !id.ends_with("cc")).unwrap_err());
        assert!(several.contains("abcd is the beginning of 2 requests: req_abcdaa, req_abcdbb"), "{several}");
        assert!(!several.contains("req_abcdcc"), "{several}");
        assert_eq!(found(|id| id.ends_with("cc")).unwrap(), "req_abcdcc");
        assert!(!words(found(|_| false).unwrap_err()).contains("req_"), "nothing seen, nothing named");
        // One alone is for the handler to judge, who hides what may not be seen.
        let alone = one_seen("request", "abcd", ["req_abcdaa"].into_iter(), |id| id, |_| false);
        assert_eq!(alone.unwrap(), "req_abcdaa");
    }

    #[test]
    fn several_are_none() {
        assert_eq!(only([1].into_iter()), Some(1));
        assert_eq!(only([1, 2].into_iter()), None);
        assert_eq!(only(std::iter::empty::<u8>()), None);
    }
}
