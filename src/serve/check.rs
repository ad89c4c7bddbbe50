//! What of a configuration is known to be unusable before anything is opened: at a start, at a reload, and by `doctor`.
//!
//! Nothing is read and nobody is asked here: what a store or a witness says shows later, and keeps nothing from
//! starting.

use super::node::ServeError;
use super::witnesses;
use crate::authn::{Authorities, UserCa};
use crate::config::Config;
use crate::keeping::Address;
use crate::model::Clock;

/// Whether a bastion could start with a configuration, as far as the configuration alone says.
///
/// # Errors
/// What in it cannot be used.
pub fn check(config: &Config) -> Result<(), ServeError> {
    if let Some(store) = &config.recording.store {
        store.url.parse::<Address>().map_err(|error| ServeError::Keeping(error.to_string()))?;
    }
    witnesses::standing(&config.ledger, &Clock::system())?;
    authorities(config)?;
    Ok(())
}

/// The user CAs that are configured.
pub(super) fn authorities(config: &Config) -> Result<Authorities, ServeError> {
    let mut cas = Vec::new();
    for (name, ca) in &config.authn.user_cas {
        let key = crate::authn::parse_public_key(&ca.public_key)
            .map_err(|fault| ServeError::Authority(format!("{name}: {fault}")))?;
        let mut authority = UserCa::new(name, key);
        authority.principals.clone_from(&ca.principals);
        authority.revoked_serials.clone_from(&ca.revoked_serials);
        authority.revoked_key_ids.clone_from(&ca.revoked_key_ids);
        authority.revoked = ca.revoked;
        cas.push(authority);
    }
    Authorities::new(cas).map_err(|fault| ServeError::Authority(fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RecordingStore, Witness};

    #[test]
    fn what_cannot_be_used_is_found_and_named() {
        assert!(check(&Config::default()).is_ok());
        let mut store = Config::default();
        store.recording.store = Some(RecordingStore { url: "/srv".into(), ..RecordingStore::default() });
        let mut witnessed = Config::default();
        witnessed.ledger.witnesses = vec![Witness { url: "https://w".into(), key: "none".into() }];
        let mut hasty = Config::default();
        hasty.ledger.cosigned_within = std::time::Duration::from_secs(1);
        let mut trusting = Config::default();
        let ca = r#"{ "public_key": "ssh-none" }"#;
        trusting.authn.user_cas.insert("corp".into(), serde_json::from_str(ca).unwrap());
        for (config, named) in [
            (store, "[recording.store] url"),
            (witnessed, "[ledger] witnesses"),
            (hasty, "at least 5 s"),
            (trusting, "corp"),
        ] {
            let error = check(&config).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
