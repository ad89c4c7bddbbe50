//! Trying a PostgreSQL target the way a session would use it, step by step; and looking at the key it shows.
//!
//! The trial makes a role, logs in with it, and ends it again: what it says of each step is what an administrator needs
//! to know to mend the server. It runs no statement of anybody's.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::administration::{Administration, Administrator, Mint};
use super::error::{PostgresError, shown};
use super::lease::PostgresCredential;
use super::link::{As, Link, column};
use crate::model::{Endpoint, Login, PersonName, SessionId, Target};
use crate::net::{dial, key_pin, tls_to_look};

/// How long the key may take to be shown.
const LOOKING: Duration = Duration::from_secs(15);
/// `SSLRequest`: its length, and the number that asks for TLS.
const TLS_PLEASE: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// How long the role of a trial may be logged in with.
const TRIAL: Duration = Duration::from_secs(120);

/// One step of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// What was tried.
    pub name: &'static str,
    /// What was seen, or what is wrong and what to do about it.
    pub outcome: Result<String, String>,
}

/// Makes a role for `login`, logs in with it, ends it. The last step is the one that failed, if one did.
pub async fn probe(by: &Administrator, target: &Target, login: &Login, who: &PersonName) -> Vec<Tried> {
    let mut steps = Vec::new();
    let mut step = |name, outcome: Result<String, String>| {
        let is_fine = outcome.is_ok();
        steps.push(Tried { name, outcome });
        is_fine
    };
    if !step("reach", reach(target).await) {
        return steps;
    }
    let administration = match Administration::connect(by, target).await {
        Ok(administration) => administration,
        Err(error @ (PostgresError::NoTls | PostgresError::Untrusted(_) | PostgresError::Tls(_))) => {
            step("trust", Err(error.to_string()));
            return steps;
        }
        Err(error) => {
            step("trust", Ok("it proved itself over TLS".to_owned()));
            step("administer", Err(error.to_string()));
            return steps;
        }
    };
    step("trust", Ok("it proved itself over TLS".to_owned()));
    let role = &target.administration.role;
    let version = administration.version();
    step(
        "administer",
        Ok(format!(
            "{role} is let in with a certificate of the database CA (PostgreSQL {})",
            version / 10_000
        )),
    );
    let credential = match mint(&administration, login, who).await {
        Ok(credential) => credential,
        Err(error) => {
            step("mint", Err(error.to_string()));
            return steps;
        }
    };
    let name = credential.role().clone();
    step("mint", Ok(format!("{name} was made, a member of {login}")));
    let entered = enter(target, &credential).await;
    step("log in", entered);
    let ending = administration.end(&name).await;
    step(
        "end",
        if ending.is_complete() {
            Ok(format!("{name} is gone, and so are its backends"))
        } else {
            Err(ending.left_over.join("; "))
        },
    );
    steps
}

async fn mint(
    administration: &Administration,
    login: &Login,
    who: &PersonName,
) -> Result<PostgresCredential, PostgresError> {
    let session = SessionId::random()?;
    let wanted = Mint {
        session: &session,
        person: who,
        login,
        database: Some(&administration.target.administration.database),
        until: administration.by.clock.now() + TRIAL,
        connections: 1,
        tenant: None,
    };
    administration.mint(&wanted).await
}

async fn reach(target: &Target) -> Result<String, String> {
    let reached = dial(&target.endpoint).await;
    reached.map(|_| format!("{} answers", target.endpoint)).map_err(|error| error.to_string())
}

/// Logs in with the minted role; and finds out that nobody does without its password.
async fn enter(target: &Target, credential: &PostgresCredential) -> Result<String, String> {
    let attempt = async |password: &str| -> Result<Link, PostgresError> {
        let login = As {
            role: credential.role().as_str(),
            password: Some(password),
            database: &target.administration.database,
            application: &credential.application(),
        };
        Link::open(&target.endpoint, credential.tls(&target.trust)?, &login).await
    };
    match attempt("not its password").await {
        Err(PostgresError::Refused { .. }) => {}
        Err(other) => return Err(other.to_string()),
        Ok(_) => {
            return Err(
                "the server lets the role in with a wrong password: what comes before the lines of 'postern \
                        targets sql' in its pg_hba.conf? Nothing may trust it"
                    .to_owned(),
            );
        }
    }
    let link = attempt(credential.password().expose()).await.map_err(|error| error.to_string())?;
    let asked =
        "SELECT session_user::text, pg_catalog.pg_has_role(session_user, $1::pg_catalog.name, 'USAGE')";
    let parameters = [(&credential.login().as_str() as _, tokio_postgres::types::Type::TEXT)];
    let rows = link.ask("asking who it is", asked, &parameters).await.map_err(|error| error.to_string())?;
    let row = rows.first().ok_or("the server does not say who it is")?;
    let read = || Ok::<(String, bool), PostgresError>((column(row, 0)?, column(row, 1)?));
    let (who, has_rights) = read().map_err(|error| error.to_string())?;
    if who != credential.role().as_str() || !has_rights {
        return Err(format!("the server takes the role for {}, or gives it no rights", shown(&who)));
    }
    Ok(format!("{who} is let in by SCRAM-SHA-256 over TLS, with the rights of {}", credential.login()))
}

/// The key in the certificate that a server shows, as it is pinned.
///
/// # Errors
/// In words, when it cannot be reached, offers no TLS, or is no PostgreSQL server.
pub async fn look(endpoint: &Endpoint) -> Result<String, String> {
    let looking = async {
        let mut socket = dial(endpoint).await.map_err(|error| error.to_string())?;
        let broken = |error: std::io::Error| format!("{endpoint} hung up: {error}");
        socket.write_all(&TLS_PLEASE).await.map_err(broken)?;
        let mut answer = [0];
        socket.read_exact(&mut answer).await.map_err(broken)?;
        if answer != *b"S" {
            return Err(PostgresError::NoTls.to_string());
        }
        let tls = tls_to_look().map_err(|error| error.to_string())?;
        let name =
            ServerName::try_from(endpoint.host.clone()).map_err(|_| format!("{endpoint} is no host"))?;
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, socket).await.map_err(broken)?;
        let (_, connection) = stream.get_ref();
        let shown = connection.peer_certificates().and_then(|chain| chain.first()).and_then(key_pin);
        shown.ok_or_else(|| format!("{endpoint} shows no certificate"))
    };
    let looked = tokio::time::timeout(LOOKING, looking).await;
    looked.map_err(|_| format!("no answer from {endpoint} within {} s", LOOKING.as_secs()))?
}
