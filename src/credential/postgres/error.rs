//! Why the administrative side of a PostgreSQL target failed, and whose fault it was.
//!
//! A server's own words are cut to one short line before anybody sees them: the target is as untrusted as the client.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use crate::credential::KeystoreError;
use crate::model::Login;
use crate::net::{DialError, TlsError};

/// The most that is shown of what a server says.
const LONGEST: usize = 300;

/// Why something could not be done on a PostgreSQL target.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Our certificate could not be made.
    #[error(transparent)]
    Certify(#[from] KeystoreError),
    /// It could not be dialled.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection broke, or the server spoke the protocol wrongly.
    #[error("the connection to the server broke while {doing}: {words}")]
    Broken {
        /// Doing what.
        doing: &'static str,
        /// The library's words.
        words: String,
    },
    /// A name cannot be one of PostgreSQL's.
    #[error("{what} cannot be a name in PostgreSQL")]
    Name {
        /// Which.
        what: &'static str,
    },
    /// It does not offer TLS.
    #[error("the server does not offer TLS: set ssl = on there; nothing was told to it")]
    NoTls,
    /// The system has no randomness.
    #[error("the system has no randomness to make a password from")]
    Randomness(#[from] aws_lc_rs::error::Unspecified),
    /// It does not let somebody in.
    #[error("the server does not let {role} in: {words}")]
    Refused {
        /// Whom.
        role: String,
        /// Its words, and what to do.
        words: String,
    },
    /// The server refused a statement.
    #[error("the server refused {doing}: {words}")]
    Statement {
        /// Doing what.
        doing: &'static str,
        /// Its words.
        words: String,
        /// Its code.
        code: SqlState,
    },
    /// It did not answer in time.
    #[error("the server did not answer in time while {doing}")]
    TimedOut {
        /// Doing what.
        doing: &'static str,
    },
    /// TLS cannot be set up on our side.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The granted role must not be given to a session.
    #[error("{login} cannot be given to sessions: {why}")]
    Unfit {
        /// Which role.
        login: Login,
        /// Why not.
        why: String,
    },
    /// It did not prove that it is itself.
    #[error("the server did not prove that it is the registered one: {0}")]
    Untrusted(String),
}

impl PostgresError {
    /// What went wrong while a connection was opened as `role`.
    pub(super) fn opening(role: &str, error: &tokio_postgres::Error) -> Self {
        if let Some(answer) = error.as_db_error() {
            let hint = match answer.code() {
                code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                    "; 'postern targets sql' shows what has to be on the server"
                }
                _ => "",
            };
            return Self::Refused {
                role: role.to_owned(),
                words: format!("{}{hint}", shown(answer.message())),
            };
        }
        let source = error.source();
        if source.is_some_and(|source| source.to_string() == "server does not support TLS") {
            return Self::NoTls;
        }
        if source.is_some_and(|source| source.to_string() == "password missing") {
            return Self::Refused {
                role: role.to_owned(),
                words: "it asks for a password where it should ask for a certificate: its pg_hba.conf lacks the lines \
                        that 'postern targets sql' shows, or has others before them"
                    .to_owned(),
            };
        }
        let tls = source
            .and_then(|source| source.downcast_ref::<std::io::Error>())
            .and_then(std::io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(why)) => Self::Untrusted(unproved(why)),
            Some(rustls::Error::AlertReceived(alert)) => Self::Refused {
                role: role.to_owned(),
                words: format!(
                    "it does not take the bastion's certificate ({alert:?}): put the bastion's database CA into its \
                     ssl_ca_file and reload it; 'postern targets sql' shows it"
                ),
            },
            _ => Self::Broken { doing: "logging in", words: shown(&chain(error)) },
        }
    }

    /// What went wrong while a statement was run.
    pub(super) fn running(doing: &'static str, error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(answer) if answer.severity() == "FATAL" || answer.severity() == "PANIC" => {
                Self::Broken { doing, words: shown(answer.message()) }
            }
            Some(answer) => {
                let detail = answer.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
                let words = shown(&format!("{}{detail}", answer.message()));
                Self::Statement { doing, words, code: answer.code().clone() }
            }
            None => Self::Broken { doing, words: shown(&chain(error)) },
        }
    }

    /// Whether the same may go well when it is tried again at once: others were changing the same.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Statement { code, .. } if [
            SqlState::INTERNAL_ERROR, // "tuple concurrently updated" has no code of its own
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::UNIQUE_VIOLATION,
        ].contains(code))
    }
}

/// What is wrong with what a server proved.
fn unproved(why: &rustls::CertificateError) -> String {
    use rustls::CertificateError as Wrong;
    let is_name = matches!(why, Wrong::NotValidForName | Wrong::NotValidForNameContext { .. });
    if is_name {
        "its certificate does not name the registered host (as subjectAltName)".to_owned()
    } else if matches!(why, Wrong::ApplicationVerificationFailure) {
        "the key in its certificate is not a pinned one; if it was replaced on purpose: postern targets trust"
            .to_owned()
    } else if matches!(why, Wrong::UnknownIssuer | Wrong::BadSignature) {
        "the CA that is trusted for it did not issue its certificate".to_owned()
    } else {
        shown(&format!("its certificate is not valid: {why}"))
    }
}

/// An error and what is behind it, on one line.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_words = inner.to_string();
        if !words.contains(&inner_words) {
            words = format!("{words}: {inner_words}");
        }
        source = inner.source();
    }
    words
}

/// A text from elsewhere as it may be shown: short, and on one line.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || crate::model::is_invisible(c) { ' ' } else { c })
        .take(LONGEST)
        .collect()
}
