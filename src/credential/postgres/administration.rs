//! The administrative side of one PostgreSQL target: making a session's role, and cutting it off.
//!
//! The connection is kept open while there are sessions, so that cutting one off takes one round trip; one that broke is
//! made again by whoever needs it next. What may wait for locks (`ending.rs`) has connections of its own and never
//! stands before a cut.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand;
use data_encoding::BASE32_NOPAD;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use zeroize::Zeroizing;

use super::ending::Step;
use super::error::PostgresError;
use super::lease::PostgresCredential;
use super::link::{As, Link, column};
use super::note::{Note, Origin, Tenant};
use super::sql::{name, text};
use crate::credential::database_ca::DatabaseCa;
use crate::model::{Clock, Login, PersonName, RoleId, Secret, SessionId, Target, TargetName, Timestamp};
use crate::net::tls_to_target;

/// The role without rights that every session's role is a member of, so that `pg_hba.conf` can speak of them all.
pub(super) const SESSIONS: &str = "postern_sessions";
/// The oldest server that is administered.
const OLDEST: i32 = 140_000;
/// From here on a membership says whether its rights are inherited and whether `SET ROLE` may use it, and giving a
/// role away needs the ADMIN option on it.
const MEMBERSHIP_OPTIONS: i32 = 160_000;
/// What a session's password is made of.
const PASSWORD_BYTES: usize = 32;
/// How the bastion calls itself in `pg_stat_activity`.
const APPLICATION: &str = "postern";

/// What the granted role reaches by membership that would make a session more than a session.
const UNFIT: &str = "\
    WITH RECURSIVE reached(oid) AS (\
        SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1 \
        UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN reached ON m.member = reached.oid) \
    SELECT r.rolname::text, r.rolname = $1, \
        r.rolsuper OR r.rolcreaterole OR r.rolreplication OR r.rolname IN \
            ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files'), \
        r.rolbypassrls \
    FROM pg_catalog.pg_roles r JOIN reached USING (oid) ORDER BY 1";

/// Who administers: this bastion, to every target.
#[derive(Clone)]
pub struct Administrator {
    pub(super) ca: DatabaseCa,
    pub(super) origin: Origin,
    pub(super) clock: Clock,
}

/// The administrative login of one target, open.
pub struct Administration {
    pub(super) by: Administrator,
    pub(super) target: Target,
    pub(super) version: i32,
    link: Mutex<Arc<Link>>,
    /// Ends of sessions borrow the granted role for a moment: one at a time.
    pub(super) cleaning: tokio::sync::Mutex<()>,
}

/// What a session's role is made for.
pub struct Mint<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// Whose it is.
    pub person: &'a PersonName,
    /// The role whose rights it has.
    pub login: &'a Login,
    /// The database it is for, when it is known: the role must be able to connect to it.
    pub database: Option<&'a str>,
    /// After this nobody logs in with it.
    pub until: Timestamp,
    /// How many connections it may have at once.
    pub connections: u16,
    /// The tenant that row-level security binds it to.
    pub tenant: Option<&'a str>,
}

impl Administrator {
    /// This bastion, by its CA for databases and its node's public key.
    #[must_use]
    pub fn new(ca: DatabaseCa, node_key: &[u8], clock: Clock) -> Self {
        Self { ca, origin: Origin::of(node_key), clock }
    }

    /// A connection to one of the target's databases, as its administrative role.
    pub(super) async fn link(&self, target: &Target, database: &str) -> Result<Link, PostgresError> {
        let role = target.administration.role.as_str();
        let ours = self.ca.certify(role, self.clock.now())?;
        let tls = tls_to_target(&target.trust, Some(ours))?;
        let login = As { role, password: None, database, application: APPLICATION };
        Link::open(&target.endpoint, tls, &login).await
    }
}

/// The administrative logins that are open, one for each target.
pub struct Administrations {
    by: Administrator,
    open: Mutex<HashMap<TargetName, Arc<Administration>>>,
}

impl Administrations {
    /// None so far.
    #[must_use]
    pub fn new(by: Administrator) -> Self {
        Self { by, open: Mutex::default() }
    }

    /// Who administers.
    #[must_use]
    pub const fn by(&self) -> &Administrator {
        &self.by
    }

    /// The target's, as it is registered now: what was opened by other facts is not used any more.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn of(&self, target: &Target) -> Result<Arc<Administration>, PostgresError> {
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&target.name).cloned();
        if let Some(known) = known.filter(|known| known.target == *target) {
            return Ok(known);
        }
        let opened = Arc::new(Administration::connect(&self.by, target).await?);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(target.name.clone(), Arc::clone(&opened));
        Ok(opened)
    }

    /// Lets go of a target that is not registered any more; sessions that are ending keep theirs until they are done.
    pub fn forget(&self, target: &TargetName) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
    }
}

impl Administration {
    /// Logs in to the target's maintenance database as its administrative role.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn connect(by: &Administrator, target: &Target) -> Result<Self, PostgresError> {
        let link = by.link(target, &target.administration.database).await?;
        let asked = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4, rolsuper \
                     FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER";
        let rows = link.ask("asking for its version", asked, &[]).await?;
        let row = rows.first().ok_or(PostgresError::TimedOut { doing: "asking for its version" })?;
        let (version, is_superuser): (i32, bool) = (column(row, 0)?, column(row, 1)?);
        let role = &target.administration.role;
        let unfit = |why: &str| Err(PostgresError::Refused { role: role.to_string(), words: why.to_owned() });
        if version < OLDEST {
            return unfit("its PostgreSQL is older than 14");
        }
        if is_superuser {
            return unfit("it is a superuser there, and the bastion wants none: ALTER ROLE … NOSUPERUSER");
        }
        let (by, target, link) = (by.clone(), target.clone(), Mutex::new(Arc::new(link)));
        Ok(Self { by, target, version, link, cleaning: tokio::sync::Mutex::default() })
    }

    /// The connection, made again if it has ended.
    pub(super) async fn link(&self) -> Result<Arc<Link>, PostgresError> {
        let known = Arc::clone(&self.link.lock().unwrap_or_else(PoisonError::into_inner));
        if known.is_open() {
            return Ok(known);
        }
        let link = Arc::new(self.by.link(&self.target, &self.target.administration.database).await?);
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&link);
        Ok(link)
    }

    /// The server's version, as `server_version_num` has it.
    #[must_use]
    pub const fn version(&self) -> i32 {
        self.version
    }

    /// Makes a session's role, whole or not at all.
    ///
    /// # Errors
    /// See [`PostgresError`]; then there is no such role.
    pub async fn mint(&self, wanted: &Mint<'_>) -> Result<PostgresCredential, PostgresError> {
        let unfit = |why: &str| PostgresError::Unfit { login: wanted.login.clone(), why: why.to_owned() };
        let tenant = wanted.tenant.map(str::parse::<Tenant>).transpose();
        let tenant =
            tenant.map_err(|_| unfit("its tenant's name has other characters than A-Z a-z 0-9 . _ -"))?;
        self.check(wanted.login, tenant.is_some()).await?;
        let role = RoleId::random()?;
        let password = password()?;
        let note = Note {
            origin: self.by.origin.clone(),
            session: wanted.session.clone(),
            person: wanted.person.clone(),
            login: wanted.login.clone(),
            tenant,
        };
        let (quoted, login) = (name(role.as_str())?, name(wanted.login.as_str())?);
        let verifier = text(&postgres_protocol::password::scram_sha_256(password.expose().as_bytes()))?;
        let until = text(&wanted.until.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string())?;
        let (inherits, idle, ours) = match self.version >= MEMBERSHIP_OPTIONS {
            true => (
                " WITH INHERIT TRUE, SET FALSE",
                " WITH INHERIT FALSE, SET FALSE",
                " WITH INHERIT TRUE, SET TRUE",
            ),
            false => ("", "", ""),
        };
        // One message, so one transaction. The membership of our own is what lets us end its backends, and clean.
        let statements = format!(
            "CREATE ROLE {quoted} LOGIN INHERIT PASSWORD {verifier} VALID UNTIL {until} CONNECTION LIMIT {};\
             COMMENT ON ROLE {quoted} IS {};\
             GRANT {login} TO {quoted}{inherits};\
             GRANT {SESSIONS} TO {quoted}{idle};\
             GRANT {quoted} TO CURRENT_USER{ours}",
            wanted.connections,
            text(&note.to_string())?,
        );
        self.link().await?.run("making the session's role", &statements).await?;
        let credential = PostgresCredential::new(self.by.clone(), role, password, wanted);
        if let Some(database) = wanted.database
            && let Err(error) = self.reaches(&credential, database).await
        {
            let ending = self.end(credential.role()).await;
            tracing::debug!(?ending, "a role that reaches nothing was ended");
            return Err(error);
        }
        Ok(credential)
    }

    /// Cuts a session's role off: its backends are told to end, it can log in no more and has no rights any more. One
    /// round trip; whether the backends are gone is for [`Self::end`] to see.
    ///
    /// # Errors
    /// See [`PostgresError`]; a role that is not there any more is none.
    pub async fn cut(&self, role: &RoleId, login: &Login) -> Result<Step, PostgresError> {
        match self.cut_once(role, login).await {
            // The connection had broken while nobody used it, and that was not known yet.
            Err(PostgresError::Broken { .. }) => self.cut_once(role, login).await,
            outcome => outcome,
        }
    }

    async fn cut_once(&self, role: &RoleId, login: &Login) -> Result<Step, PostgresError> {
        let (quoted, granted, known) = (name(role.as_str())?, name(login.as_str())?, text(role.as_str())?);
        let terminate = format!(
            "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a \
             JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid WHERE r.rolname = {known}"
        );
        let bar = format!("ALTER ROLE {quoted} NOLOGIN CONNECTION LIMIT 0 PASSWORD NULL");
        let take = format!("REVOKE {granted} FROM {quoted}");
        let link = self.link().await?;
        // First the backends: one that holds its own role's row (it may change its own password) would keep us from
        // barring it. Then again, for one that logged in meanwhile. All four are sent at once.
        let (first, barred, taken, again) = tokio::join!(
            link.run("ending its backends", &terminate),
            link.run("barring its role", &bar),
            link.run("taking its rights", &take),
            link.run("ending its backends", &terminate),
        );
        there(barred)?;
        there(taken)?;
        first.and(again)?;
        Ok(Step { at: self.by.clock.now(), how: format!("{role} may not log in and has no rights any more") })
    }

    /// Whether the granted role may be given to a session.
    async fn check(&self, login: &Login, is_bound: bool) -> Result<(), PostgresError> {
        let rows =
            self.link().await?.ask("looking at the role", UNFIT, &[(&login.as_str(), Type::TEXT)]).await?;
        let unfit = |why: String| Err(PostgresError::Unfit { login: login.clone(), why });
        let mut is_there = false;
        for row in &rows {
            let (reached, is_itself): (String, bool) = (column(row, 0)?, column(row, 1)?);
            is_there |= is_itself;
            if column(row, 2)? {
                return unfit(format!(
                    "it reaches {reached:?}, with which a session could become more than a session"
                ));
            }
            if is_bound && column(row, 3)? {
                return unfit(format!("it reaches {reached:?}, which row-level security does not bind"));
            }
        }
        if is_there { Ok(()) } else { unfit("there is no such role on the server".to_owned()) }
    }

    async fn reaches(&self, credential: &PostgresCredential, database: &str) -> Result<(), PostgresError> {
        let asked = "SELECT pg_catalog.has_database_privilege($1::pg_catalog.text, oid, 'CONNECT') \
                     FROM pg_catalog.pg_database WHERE datname = $2 AND datallowconn";
        let parameters = [(&credential.role().as_str() as _, Type::TEXT), (&database as _, Type::TEXT)];
        let rows = self.link().await?.ask("looking at the database", asked, &parameters).await?;
        let login = credential.login().clone();
        match rows.first() {
            Some(row) if column(row, 0)? => Ok(()),
            Some(_) => {
                Err(PostgresError::Unfit { login, why: "it may not connect to the database".to_owned() })
            }
            None => {
                Err(PostgresError::Unfit { login, why: "there is no such database on the server".to_owned() })
            }
        }
    }

    /// What is granted to ourselves for a moment, and what it is granted with.
    pub(super) const fn to_ourselves(&self) -> &'static str {
        if self.version >= MEMBERSHIP_OPTIONS { " WITH INHERIT TRUE, SET TRUE" } else { "" }
    }
}

/// What is not there any more needs no barring.
fn there(outcome: Result<(), PostgresError>) -> Result<(), PostgresError> {
    match outcome {
        Err(PostgresError::Statement { code, .. }) if code == SqlState::UNDEFINED_OBJECT => Ok(()),
        other => other,
    }
}

/// A password that nobody types and nobody sees.
fn password() -> Result<Secret<String>, PostgresError> {
    let mut bytes = Zeroizing::new([0_u8; PASSWORD_BYTES]);
    rand::fill(&mut *bytes)?;
    Ok(Secret::new(BASE32_NOPAD.encode(&*bytes)))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{digest, hmac, pbkdf2};
    use data_encoding::BASE64;

    use super::*;

    /// The verifier as RFC 5803 says it is, by another library: what the server gets fits the password and is not it.
    #[test]
    fn the_verifier_is_the_passwords_and_tells_nothing_of_it() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert!(one.expose().len() == 52 && one.expose() != other.expose());
        let verifier = postgres_protocol::password::scram_sha_256(one.expose().as_bytes());
        assert!(!verifier.contains(one.expose()));
        let (head, keys) = verifier.rsplit_once('$').unwrap();
        let (rounds, salt) = head.strip_prefix("SCRAM-SHA-256$").unwrap().split_once(':').unwrap();
        let salt = BASE64.decode(salt.as_bytes()).unwrap();
        let mut salted = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            rounds.parse().unwrap(),
            &salt,
            one.expose().as_bytes(),
            &mut salted,
        );
        let keyed = |label: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salted), label);
        let stored = digest::digest(&digest::SHA256, keyed(b"Client Key").as_ref());
        let server = keyed(b"Server Key");
        let expected = format!("{}:{}", BASE64.encode(stored.as_ref()), BASE64.encode(server.as_ref()));
        assert_eq!(keys, expected);
        assert!(rounds.parse::<u32>().unwrap() >= 4096);
    }
}
