//! Nonces for signing in: good once, for a minute, and free for us until somebody signs one.
//!
//! A nonce carries its own time and a MAC under a key that lives as long as the process, so handing them out costs no
//! memory and cannot be used to exhaust any. Only nonces that were signed are remembered, until they are too old.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use data_encoding::BASE64URL_NOPAD;

use crate::model::Clock;

/// How long a nonce is good.
const LIFETIME: Duration = Duration::from_secs(60);
/// Used nonces remembered at most; more sign-ins a minute than this are refused.
const MOST_USED: usize = 65_536;
/// Random bytes in a nonce.
const RANDOM: usize = 16;
/// Bytes of the time in a nonce.
const TIME: usize = 8;

/// Why a nonce is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeFault {
    /// Too many sign-ins in one minute.
    #[error("too many people sign in at this moment; try again in a minute")]
    Busy,
    /// No randomness or no memory for it.
    #[error("the bastion cannot make a challenge at this moment; see its log")]
    Failed,
    /// Not made by this process.
    #[error("it was not made by this bastion, or before it was restarted; sign in again")]
    Foreign,
    /// Older than a minute.
    #[error("it is older than a minute; sign in again")]
    Old,
    /// Signed in with before.
    #[error("it was used before; sign in again")]
    Used,
}

/// Makes nonces and accepts each at most once.
pub struct Challenges {
    key: hmac::Key,
    clock: Clock,
    used: Mutex<BTreeMap<Vec<u8>, Duration>>,
}

impl Challenges {
    /// A maker of nonces with a fresh key.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new(clock: Clock) -> Result<Self, ChallengeFault> {
        let mut key = [0_u8; 32];
        rand::fill(&mut key).map_err(|_| ChallengeFault::Failed)?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), clock, used: Mutex::default() })
    }

    /// A fresh nonce.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn make(&self) -> Result<String, ChallengeFault> {
        let mut bytes = vec![0_u8; RANDOM];
        rand::fill(&mut bytes).map_err(|_| ChallengeFault::Failed)?;
        let now = u64::try_from(self.clock.since_boot().as_millis()).map_err(|_| ChallengeFault::Failed)?;
        bytes.extend_from_slice(&now.to_be_bytes());
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        Ok(BASE64URL_NOPAD.encode(&bytes))
    }

    /// Whether a nonce is ours and young; looks without using it up.
    pub(super) fn look(&self, nonce: &str) -> Result<(), ChallengeFault> {
        self.made(nonce).map(|_| ())
    }

    /// Uses a nonce up: the second time it is refused.
    pub(super) fn spend(&self, nonce: &str) -> Result<(), ChallengeFault> {
        let made = self.made(nonce)?;
        let now = self.clock.since_boot();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, made| made.saturating_add(LIFETIME) > now);
        if used.len() >= MOST_USED {
            return Err(ChallengeFault::Busy);
        }
        match used.insert(nonce.as_bytes().to_vec(), made) {
            None => Ok(()),
            Some(_) => Err(ChallengeFault::Used),
        }
    }

    /// When a nonce was made, if it is ours and young.
    fn made(&self, nonce: &str) -> Result<Duration, ChallengeFault> {
        let bytes = BASE64URL_NOPAD.decode(nonce.as_bytes()).map_err(|_| ChallengeFault::Foreign)?;
        let (body, tag) = bytes.split_at_checked(RANDOM + TIME).ok_or(ChallengeFault::Foreign)?;
        hmac::verify(&self.key, body, tag).map_err(|_| ChallengeFault::Foreign)?;
        let time = body.last_chunk::<TIME>().ok_or(ChallengeFault::Foreign)?;
        let made = Duration::from_millis(u64::from_be_bytes(*time));
        if made.saturating_add(LIFETIME) <= self.clock.since_boot() {
            return Err(ChallengeFault::Old);
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_nonce_is_good_once_and_for_a_minute() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let challenges = Challenges::new(clock.clone()).unwrap();
        let (first, second) = (challenges.make().unwrap(), challenges.make().unwrap());
        assert_ne!(first, second);
        assert_eq!(challenges.spend(&first), Ok(()));
        assert_eq!(challenges.spend(&first), Err(ChallengeFault::Used));
        clock.advance(Duration::from_secs(59));
        assert_eq!(challenges.look(&second), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(challenges.spend(&second), Err(ChallengeFault::Old));
    }

    #[test]
    fn a_nonce_of_another_process_or_a_changed_one_is_foreign() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let challenges = Challenges::new(clock.clone()).unwrap();
        let other = Challenges::new(clock).unwrap().make().unwrap();
        let mut changed = challenges.make().unwrap();
        changed.replace_range(0..1, if changed.starts_with('A') { "B" } else { "A" });
        for nonce in ["", "A", "not base64!", &other, &changed] {
            assert_eq!(challenges.spend(nonce), Err(ChallengeFault::Foreign), "{nonce}");
        }
    }
}
