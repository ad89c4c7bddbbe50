//! A stand-in for a target that was removed, so that policy can still be asked about what happened there.
//!
//! It is as sensitive as a target can be: a rule that shows less of such targets also holds for those that are gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Administration, Endpoint, HostTrust, Plane, Protocol, Sensitivity, Target, TargetName};

/// The stand-in for a removed target.
pub(super) fn target(name: &TargetName) -> Target {
    Target {
        name: name.clone(),
        protocol: Protocol::Ssh,
        endpoint: Endpoint { host: "removed.invalid".to_owned(), port: 22 },
        trust: HostTrust::Unpinned,
        plane: Plane::ApplicationData,
        environment: "removed".to_owned(),
        sensitivity: Sensitivity::High,
        tenant: None,
        logins: BTreeSet::new(),
        labels: BTreeMap::new(),
        administration: Administration::default(),
    }
}
