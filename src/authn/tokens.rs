//! Bearer tokens for the API: what `postern login` gets after a signature.
//!
//! A token is 256 random bits; only its SHA-256 is held, in memory, so a restart signs everybody out and nothing on
//! disk is worth stealing. It names an identity, not a set of rights: who that is, and whether they are enabled, is
//! looked up again at every request.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::{digest, rand};
use data_encoding::BASE64URL_NOPAD;

use super::directory::Directory;
use super::evidence::{Authenticated, Certified, Rejected};
use crate::model::{Clock, Identity, PersonId, Proof, Secret, Timestamp};

/// What every token begins with, so that secret scanners know one when they see it.
const PREFIX: &str = "pst_api_";
/// How long a token lasts at most.
const LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// How long a token lasts unused.
const IDLE: Duration = Duration::from_secs(3600);
/// Tokens alive at once, in all.
const MOST: usize = 20_000;
/// Tokens alive at once for one person; one more ends their oldest.
const MOST_PER_PERSON: usize = 32;
/// Longest text looked at as a token, in bytes.
const LONGEST: usize = 128;

type Hash = [u8; digest::SHA256_OUTPUT_LEN];

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Too many are alive.
    #[error("too many people are signed in; try again later")]
    Full,
    /// No randomness for it.
    #[error("the bastion cannot make a token at this moment; see its log")]
    Failed,
    /// Unknown, over, idle too long, taken back, or not a token.
    #[error("you are not signed in, or no longer; run 'postern login'")]
    Unknown,
}

/// A token that was just made.
#[derive(Debug)]
pub struct Issued {
    /// The token itself; shown once.
    pub token: Secret<String>,
    /// When it ends at the latest.
    pub until: Timestamp,
}

/// The tokens that are alive.
pub struct Tokens {
    clock: Clock,
    live: Mutex<BTreeMap<Hash, Live>>,
}

struct Live {
    person: PersonId,
    identity: Identity,
    proof: Proof,
    certified: Option<Certified>,
    ends: Duration,
    used: Duration,
}

impl Tokens {
    /// No tokens.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, live: Mutex::default() }
    }

    /// A token for somebody who just proved who they are.
    ///
    /// # Errors
    /// When there are too many, or no randomness.
    pub fn issue(&self, who: &Authenticated) -> Result<Issued, TokenFault> {
        let mut bytes = [0_u8; 32];
        rand::fill(&mut bytes).map_err(|_| TokenFault::Failed)?;
        let token = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes));
        let (now, boot) = (self.clock.now(), self.clock.since_boot());
        let lasts = who.certified().map_or(LIFETIME, |certified| {
            Duration::try_from(certified.until.duration_since(now)).unwrap_or(Duration::ZERO).min(LIFETIME)
        });
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|_, token| token.is_alive(boot));
        drop_oldest(&mut live, who.person());
        if live.len() >= MOST {
            return Err(TokenFault::Full);
        }
        live.insert(
            hash(&token)?,
            Live {
                person: who.person().clone(),
                identity: who.identity().clone(),
                proof: who.proof(),
                certified: who.certified(),
                ends: boot.saturating_add(lasts),
                used: boot,
            },
        );
        let until = now.checked_add(lasts).unwrap_or(Timestamp::MAX);
        Ok(Issued { token: Secret::new(token), until })
    }

    /// Who a token stands for, as the directory knows them now.
    pub(super) fn redeem(&self, token: &str, directory: &dyn Directory) -> Result<Authenticated, Rejected> {
        let key = hash(token)?;
        let boot = self.clock.since_boot();
        let (person, identity, proof, certified) = {
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            let found = live.get_mut(&key).filter(|token| token.is_alive(boot)).ok_or(TokenFault::Unknown)?;
            found.used = boot;
            (found.person.clone(), found.identity.clone(), found.proof, found.certified)
        };
        let known = directory.holder_of(&identity).filter(|known| known.person == person);
        let known = known.ok_or(Rejected::Unknown { identity: identity.clone() })?;
        Authenticated::admit(known, identity, proof, certified)
    }

    /// Takes a token back; says whether it was alive.
    pub fn take_back(&self, token: &str) -> bool {
        let Ok(key) = hash(token) else { return false };
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.remove(&key).is_some()
    }

    /// Takes back every token of a person; says how many there were.
    pub fn take_back_all(&self, person: &PersonId) -> usize {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let before = live.len();
        live.retain(|_, token| token.person != *person);
        before - live.len()
    }
}

impl Live {
    fn is_alive(&self, boot: Duration) -> bool {
        boot < self.ends && boot < self.used.saturating_add(IDLE)
    }
}

/// Makes room for one more token of a person.
fn drop_oldest(live: &mut BTreeMap<Hash, Live>, person: &PersonId) {
    let theirs: Vec<(Duration, Hash)> =
        live.iter().filter(|(_, t)| t.person == *person).map(|(hash, t)| (t.used, *hash)).collect();
    if theirs.len() >= MOST_PER_PERSON
        && let Some((_, oldest)) = theirs.into_iter().min()
    {
        live.remove(&oldest);
    }
}

fn hash(token: &str) -> Result<Hash, TokenFault> {
    if token.len() > LONGEST || !token.starts_with(PREFIX) {
        return Err(TokenFault::Unknown);
    }
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().try_into().map_err(|_| TokenFault::Failed)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{World, person};
    use super::*;

    fn signed_in(world: &World, name: &str) -> Authenticated {
        let identity = Identity::ssh_key(&format!("SHA256:{name}"));
        Authenticated::admit(world.holder_of(&identity).unwrap(), identity, Proof::SshKey, None).unwrap()
    }

    #[test]
    fn a_token_lives_eight_hours_in_use_and_one_hour_unused() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let world = World::with([person("erin", ["operator"])]);
        let tokens = Tokens::new(clock.clone());
        let issued = tokens.issue(&signed_in(&world, "erin")).unwrap();
        for _ in 0..8 {
            clock.advance(Duration::from_secs(3599));
            assert_eq!(tokens.redeem(issued.token.expose(), &world).unwrap().name().as_str(), "erin");
        }
        clock.advance(Duration::from_secs(60));
        assert!(tokens.redeem(issued.token.expose(), &world).is_err());

        let idle = tokens.issue(&signed_in(&world, "erin")).unwrap();
        clock.advance(IDLE);
        assert!(tokens.redeem(idle.token.expose(), &world).is_err());
    }

    #[test]
    fn a_disabled_or_unlinked_person_is_out_at_once_and_a_token_can_be_taken_back() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let world = World::with([person("erin", ["operator"])]);
        let tokens = Tokens::new(clock);
        let issued = tokens.issue(&signed_in(&world, "erin")).unwrap();
        world.disable("erin");
        assert!(matches!(tokens.redeem(issued.token.expose(), &world), Err(Rejected::Disabled { .. })));
        world.remove("erin");
        assert!(matches!(tokens.redeem(issued.token.expose(), &world), Err(Rejected::Unknown { .. })));
        assert!(tokens.take_back(issued.token.expose()));
        assert!(!tokens.take_back(issued.token.expose()));
    }

    #[test]
    fn one_person_cannot_fill_the_table_and_junk_is_no_token() {
        let world = World::with([person("erin", ["operator"]), person("mallory", ["operator"])]);
        let tokens = Tokens::new(Clock::manual(Timestamp::UNIX_EPOCH));
        let erin = tokens.issue(&signed_in(&world, "erin")).unwrap();
        for _ in 0..MOST_PER_PERSON * 2 {
            tokens.issue(&signed_in(&world, "mallory")).unwrap();
        }
        let mallory = signed_in(&world, "mallory");
        assert_eq!(tokens.take_back_all(mallory.person()), MOST_PER_PERSON);
        assert!(tokens.redeem(erin.token.expose(), &world).is_ok());
        for junk in ["", "pst_api_", "Bearer x", &format!("pst_api_{}", "A".repeat(43)), &"p".repeat(1000)] {
            assert!(
                matches!(tokens.redeem(junk, &world), Err(Rejected::Token(TokenFault::Unknown))),
                "{junk}"
            );
        }
    }
}
