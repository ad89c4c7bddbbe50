//! How it stands with a place: whether to try now, what waits, what will not be tried again and why.
//!
//! Pure: time comes in. What may be better later is tried again for ever, ever more rarely; what a person has to see to
//! is tried again when somebody says so. Read next: `fault.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::Fault;
use crate::model::SessionId;

/// The first pause after something that may be better later…
const SHORTEST: Duration = Duration::from_secs(1);
/// …and the longest.
const LONGEST: Duration = Duration::from_secs(60);

/// How it stands.
#[derive(Debug, Default)]
pub struct Standing {
    barred: Option<String>,
    trouble: Option<String>,
    pause: Duration,
    rests: Duration,
    refused: BTreeMap<SessionId, String>,
    /// Deleted recordings whose files here cannot be removed.
    here: BTreeMap<SessionId, String>,
    waiting: u64,
    waiting_bytes: u64,
}

/// A recording that the place does not take, or that is deleted and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose recording.
    pub session: SessionId,
    /// Why.
    pub why: String,
}

/// How it stands, for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Finished recordings that are only here, those refused among them.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// What keeps recordings from being moved, if something does.
    pub trouble: Option<String>,
    /// Whether somebody has to see to it: it is not tried again by itself.
    pub needs_somebody: bool,
    /// Recordings that are not taken, and deleted ones that stay.
    pub refused: Vec<Refusal>,
}

impl Standing {
    /// Whether anything is to be tried now.
    #[must_use]
    pub fn may_try(&self, now: Duration) -> bool {
        self.barred.is_none() && now >= self.rests
    }

    /// Whether this recording is to be tried.
    #[must_use]
    pub fn may_send(&self, session: &SessionId) -> bool {
        !self.refused.contains_key(session)
    }

    /// What is to be moved, as just counted.
    pub fn counted(&mut self, waiting: u64, bytes: u64) {
        (self.waiting, self.waiting_bytes) = (waiting, bytes);
    }

    /// Something was done: the place is well. Whether that is news.
    pub fn went_well(&mut self) -> bool {
        (self.pause, self.rests) = (Duration::ZERO, Duration::ZERO);
        self.trouble.take().is_some()
    }

    /// Something was not done; whether that is news.
    pub fn failed(&mut self, session: &SessionId, fault: &Fault, now: Duration) -> bool {
        match fault {
            Fault::Barred(why) => self.barred.replace(why.clone()).is_none(),
            Fault::Refused(why) => self.refused.insert(session.clone(), why.clone()).is_none(),
            Fault::Exists | Fault::Missing(_) | Fault::Transient(_) => {
                self.pause = (self.pause * 2).clamp(SHORTEST, LONGEST);
                self.rests = now + self.pause;
                self.trouble.replace(fault.to_string()).is_none()
            }
        }
    }

    /// A deleted recording's file here cannot be removed; whether that is news. The place has no part in it.
    pub fn stays_here(&mut self, session: &SessionId, why: String) -> bool {
        self.here.insert(session.clone(), why).is_none()
    }

    /// A deleted recording's file is not here, or not any more.
    pub fn gone_here(&mut self, session: &SessionId) {
        self.here.remove(session);
    }

    /// The place cannot even be opened.
    pub fn bar(&mut self, why: String) {
        self.barred = Some(why);
    }

    /// Somebody says that it is to be tried again.
    pub fn again(&mut self) {
        self.refused.clear();
        (self.barred, self.pause, self.rests) = (None, Duration::ZERO, Duration::ZERO);
    }

    /// For whoever asks.
    #[must_use]
    pub fn status(&self) -> Status {
        let refusal =
            |(session, why): (&SessionId, &String)| Refusal { session: session.clone(), why: why.clone() };
        Status {
            waiting: self.waiting,
            waiting_bytes: self.waiting_bytes,
            trouble: self.barred.clone().or_else(|| self.trouble.clone()),
            needs_somebody: self.barred.is_some() || !self.refused.is_empty() || !self.here.is_empty(),
            refused: self.here.iter().chain(&self.refused).map(refusal).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end_when_it_goes_well() {
        let session = SessionId::random().unwrap();
        let (mut standing, mut now) = (Standing::default(), Duration::ZERO);
        let down = Fault::Transient("connection refused".to_owned());
        assert!(standing.failed(&session, &down, now), "the first time is news");
        for _ in 0..20 {
            assert!(!standing.may_try(now));
            now += LONGEST;
            assert!(standing.may_try(now), "for ever");
            assert!(!standing.failed(&session, &down, now), "and only the first");
        }
        assert!(standing.status().trouble.is_some() && !standing.status().needs_somebody);
        assert!(standing.went_well() && !standing.went_well(), "that is news once");
        assert!(standing.may_try(now) && standing.status().trouble.is_none());
    }

    #[test]
    fn what_is_refused_waits_for_somebody() {
        let (one, other) = (SessionId::random().unwrap(), SessionId::random().unwrap());
        let (mut standing, now) = (Standing::default(), Duration::from_secs(1_000_000));
        assert!(standing.failed(&one, &Fault::Refused("taken".to_owned()), now));
        assert!(standing.may_try(now) && standing.may_send(&other) && !standing.may_send(&one));
        assert!(standing.failed(&other, &Fault::Barred("403".to_owned()), now));
        assert!(!standing.may_try(now + LONGEST) && standing.status().needs_somebody);
        for session in std::iter::repeat_with(|| SessionId::random().unwrap()).take(50) {
            standing.failed(&session, &Fault::Refused("taken".to_owned()), now);
        }
        assert_eq!(standing.status().refused.len(), 51, "each says why it was not taken");
        standing.again();
        assert!(standing.may_try(now) && standing.may_send(&one) && !standing.status().needs_somebody);
    }
    #[test]
    fn a_file_that_stays_here_holds_up_nothing_else_and_is_shown_until_it_is_gone() {
        let session = SessionId::random().unwrap();
        let mut standing = Standing::default();
        assert!(standing.stays_here(&session, "busy".to_owned()), "the first time is news");
        assert!(!standing.stays_here(&session, "busy".to_owned()), "and only the first");
        let status = standing.status();
        assert!(standing.may_try(Duration::ZERO) && standing.may_send(&session) && status.trouble.is_none());
        assert!(status.needs_somebody && status.refused.iter().any(|refusal| refusal.why == "busy"));
        standing.gone_here(&session);
        assert_eq!(standing.status(), Status::default());
    }
}
