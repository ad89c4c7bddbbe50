//! The vocabulary every other module speaks.
//!
//! A person proves an [`Identity`], asks for `deploy@web-1` ([`Login`], [`TargetName`]) with a set of
//! [`Capability`]s, and gets a grant; a session under it ends for exactly one [`EndReason`]. Nothing here does I/O
//! (the clock aside), nothing is async, and nothing imports another module of ours: this is the shared language.

mod action;
mod capability;
pub mod clock;
mod end;
mod id;
mod name;
mod policy_changes;
mod principal;
mod secret;
pub mod signer;
mod target;
mod text;
mod window;

pub use action::Action;
pub use capability::{Capability, CapabilityError};
pub use clock::{Clock, Timestamp};
pub use end::EndReason;
pub use id::{GrantId, IdError, PersonId, RequestId, RoleId, SessionId};
pub use name::{Login, NameError, PersonName, Role, TargetName};
pub use policy_changes::PolicyChanges;
pub use principal::{Identity, PrincipalKind, Proof};
pub use secret::Secret;
pub use signer::{PUBLIC_KEY_BYTES, SignError, Signer, SigningKey};
pub use target::{Administration, Endpoint, HostTrust, Plane, Protocol, Sensitivity, Target};
pub use text::is_invisible;
pub use window::WindowClock;
