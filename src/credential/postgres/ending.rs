//! Ending a session's role: its backends, what it owns in every database, the role itself; and the roles a crash left.
//!
//! Nothing is given up silently: what could not be done is put into words, the role stays barred, and the same may be
//! tried again at any time. What the session made is not thrown away, it becomes the granted role's.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::administration::Administration;
use super::error::PostgresError;
use super::link::{Link, column};
use super::note::Note;
use super::sql::{name, text};
use crate::model::{RoleId, SessionId, Timestamp};

/// How often backends that were told to end are looked for at first, and at most.
const LOOK: Duration = Duration::from_millis(2);
const LOOK_SELDOM: Duration = Duration::from_millis(100);
/// How long they may take: the longest a backend may be busy with what cannot be interrupted.
const GONE: Duration = Duration::from_secs(10);
/// How often something is tried that others were in the way of.
const TRIES: u32 = 4;
/// And how long after each time.
const PAUSE: Duration = Duration::from_millis(100);

/// Something that was done, and how it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When it was seen.
    pub at: Timestamp,
    /// How.
    pub how: String,
}

/// How far a role's end came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleEnding {
    /// None of its backends is left.
    pub backends_ended: Option<Step>,
    /// Nobody can log in with it any more.
    pub credential_dead: Option<Step>,
    /// What could not be cleaned, in words; empty when the role is gone.
    pub left_over: Vec<String>,
}

/// A role that a crash had left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Whose it was.
    pub session: SessionId,
    /// Which.
    pub role: RoleId,
    /// How far its end came.
    pub ending: RoleEnding,
}

/// A role as the server has it.
struct Found {
    oid: u32,
    note: Note,
}

impl Administration {
    /// Ends a role of this bastion. It may be asked again for one whose end did not come all the way.
    pub async fn end(&self, role: &RoleId) -> RoleEnding {
        let mut ending = RoleEnding::default();
        let mut outcome = self.go_through(role, &mut ending).await;
        if matches!(outcome, Err(PostgresError::Broken { .. })) {
            // The connection had broken while nobody used it, and that was not known yet.
            outcome = self.go_through(role, &mut ending).await;
        }
        if let Err(error) = outcome {
            ending.left_over.push(format!("the role {role} on {}: {error}", self.target.name));
        }
        ending
    }

    /// Ends every role of this bastion whose session is not alive. The roles of other bastions, and whatever else is
    /// called `pst_…`, are left alone.
    ///
    /// # Errors
    /// When the server cannot be asked which there are.
    pub async fn sweep(
        &self,
        is_alive: impl Fn(&SessionId) -> bool + Send,
    ) -> Result<Vec<Swept>, PostgresError> {
        let asked = "SELECT rolname::text, pg_catalog.shobj_description(oid, 'pg_authid') FROM pg_catalog.pg_roles \
                     WHERE rolname LIKE 'pst\\_%'";
        let mut left = Vec::new();
        for row in self.link().await?.ask("looking for roles that were left", asked, &[]).await? {
            let (role, comment): (String, Option<String>) = (column(&row, 0)?, column(&row, 1)?);
            let (Ok(role), Some(Ok(note))) =
                (role.parse::<RoleId>(), comment.map(|text| text.parse::<Note>()))
            else {
                continue;
            };
            if note.origin == self.by.origin && !is_alive(&note.session) {
                left.push((note.session, role));
            }
        }
        let mut swept = Vec::new();
        for (session, role) in left {
            let ending = self.end(&role).await;
            swept.push(Swept { session, role, ending });
        }
        Ok(swept)
    }

    async fn go_through(&self, role: &RoleId, ending: &mut RoleEnding) -> Result<(), PostgresError> {
        let Some(Found { oid, note }) = self.find(role).await? else {
            let gone =
                Step { at: self.by.clock.now(), how: format!("there is no role {role} on the server") };
            (ending.backends_ended, ending.credential_dead) = (Some(gone.clone()), Some(gone));
            return Ok(());
        };
        let mut barred = self.cut(role, &note.login).await;
        // Its own backends may have been in the way, and are gone by now.
        ending.backends_ended = Some(self.gone(oid).await?);
        for _ in 1..TRIES {
            if barred.is_ok() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            barred = self.cut(role, &note.login).await;
        }
        ending.credential_dead = Some(barred?);
        ending.backends_ended = Some(self.gone(oid).await?);
        let _one_at_a_time = self.cleaning.lock().await;
        ending.left_over = self.clean(role, oid, &note).await?;
        if ending.left_over.is_empty() {
            self.drop_role(role).await?;
            let at = self.by.clock.now();
            ending.credential_dead = Some(Step { at, how: format!("the role {role} was dropped") });
        }
        Ok(())
    }

    /// The role, if it is there and ours.
    async fn find(&self, role: &RoleId) -> Result<Option<Found>, PostgresError> {
        let asked = "SELECT oid, pg_catalog.shobj_description(oid, 'pg_authid') FROM pg_catalog.pg_roles WHERE rolname = $1";
        let rows =
            self.link().await?.ask("looking for the role", asked, &[(&role.as_str(), Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let comment: Option<String> = column(row, 1)?;
        let note =
            comment.and_then(|text| text.parse::<Note>().ok()).filter(|note| note.origin == self.by.origin);
        let note = note.ok_or(PostgresError::Name { what: "a role that this bastion did not make" })?;
        Ok(Some(Found { oid: column(row, 0)?, note }))
    }

    /// Waits until none of its backends is left, telling them to end again meanwhile.
    async fn gone(&self, oid: u32) -> Result<Step, PostgresError> {
        let asked = "SELECT pg_catalog.count(*), pg_catalog.bool_and(pg_catalog.pg_terminate_backend(pid)) \
                     FROM pg_catalog.pg_stat_activity WHERE usesysid = $1";
        let (mut pause, mut waited) = (LOOK, Duration::ZERO);
        loop {
            let rows =
                self.link().await?.ask("looking for its backends", asked, &[(&oid, Type::OID)]).await?;
            let left: i64 = rows.first().map(|row| column(row, 0)).transpose()?.unwrap_or_default();
            if left == 0 {
                let how = "pg_stat_activity shows no backend of the session's role".to_owned();
                return Ok(Step { at: self.by.clock.now(), how });
            }
            if waited >= GONE {
                return Err(PostgresError::TimedOut { doing: "waiting for the session's backends to end" });
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LOOK_SELDOM);
        }
    }

    /// Gives what the role owns to the granted role, in every database; says what could not be given.
    async fn clean(&self, role: &RoleId, oid: u32, note: &Note) -> Result<Vec<String>, PostgresError> {
        let maintenance = &self.target.administration.database;
        let mut left_over = Vec::new();
        for (database, gid) in self.prepared(oid).await? {
            if let Err(error) = self.roll_back(role, &database, &gid).await {
                left_over
                    .push(format!("a prepared transaction of {role} in the database {database}: {error}"));
            }
        }
        for database in self.databases(oid, maintenance).await? {
            if let Err(error) = self.reassign(role, note, &database).await {
                left_over.push(format!("what {role} owns in the database {database}: {error}"));
            }
        }
        Ok(left_over)
    }

    /// Where something depends on the role. What belongs to no database can be seen to in any.
    async fn databases(&self, oid: u32, maintenance: &str) -> Result<Vec<String>, PostgresError> {
        let asked = "SELECT DISTINCT COALESCE(d.datname::text, $2) FROM pg_catalog.pg_shdepend s \
                     LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid \
                     WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = $1";
        let parameters = [(&oid as _, Type::OID), (&maintenance as _, Type::TEXT)];
        let rows = self.link().await?.ask("looking for what it owns", asked, &parameters).await?;
        rows.iter().map(|row| column(row, 0)).collect()
    }

    async fn reassign(&self, role: &RoleId, note: &Note, database: &str) -> Result<(), PostgresError> {
        let link = self.by.link(&self.target, database).await?;
        let (quoted, granted) = (name(role.as_str())?, name(note.login.as_str())?);
        // Who is a member already, stays one; otherwise only for as long as the transaction lasts, unseen by others.
        let asked = "SELECT 1 FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid \
                     JOIN pg_catalog.pg_roles u ON u.oid = m.member JOIN pg_catalog.pg_roles g ON g.oid = m.grantor \
                     WHERE r.rolname = $1 AND u.rolname = CURRENT_USER AND ($2 OR g.rolname = CURRENT_USER)";
        let is_old = self.to_ourselves().is_empty();
        let parameters = [(&note.login.as_str() as _, Type::TEXT), (&is_old as _, Type::BOOL)];
        let is_member = !link.ask("looking at our own memberships", asked, &parameters).await?.is_empty();
        let (before, after) = match is_member {
            true => (String::new(), String::new()),
            false => (
                format!("GRANT {granted} TO CURRENT_USER{};", self.to_ourselves()),
                format!("REVOKE {granted} FROM CURRENT_USER;"),
            ),
        };
        let statements =
            format!("{before} REASSIGN OWNED BY {quoted} TO {granted}; DROP OWNED BY {quoted}; {after}");
        again(|| link.run("giving away what it owns", &statements)).await
    }

    async fn drop_role(&self, role: &RoleId) -> Result<(), PostgresError> {
        let link = self.by.link(&self.target, &self.target.administration.database).await?;
        let statement = format!("DROP ROLE IF EXISTS {}", name(role.as_str())?);
        again(|| link.run("dropping the role", &statement)).await
    }

    /// Transactions that outlive their backend, and keep their locks.
    async fn prepared(&self, oid: u32) -> Result<Vec<(String, String)>, PostgresError> {
        let asked = "SELECT p.database::text, p.gid FROM pg_catalog.pg_prepared_xacts p \
                     JOIN pg_catalog.pg_roles r ON r.rolname = p.owner WHERE r.oid = $1";
        let rows =
            self.link().await?.ask("looking for prepared transactions", asked, &[(&oid, Type::OID)]).await?;
        rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
    }

    /// Only who prepared a transaction may roll it back, so we are its role for one statement, on a connection that does
    /// nothing else.
    async fn roll_back(&self, role: &RoleId, database: &str, gid: &str) -> Result<(), PostgresError> {
        let link: Link = self.by.link(&self.target, database).await?;
        link.run("becoming the role", &format!("SET ROLE {}", name(role.as_str())?)).await?;
        link.run("rolling back", &format!("ROLLBACK PREPARED {}", text(gid)?)).await
    }
}

impl RoleEnding {
    /// Whether nothing of it is left.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.backends_ended.is_some() && self.credential_dead.is_some() && self.left_over.is_empty()
    }
}

/// Tries again what others were in the way of.
async fn again<F: Future<Output = Result<(), PostgresError>>>(
    run: impl Fn() -> F,
) -> Result<(), PostgresError> {
    for _ in 1..TRIES {
        match run().await {
            Err(error) if error.is_passing() => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
    run().await
}
