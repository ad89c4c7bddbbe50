//! What a session might try to become more than it is, or to outlive its end; all of it fails or gains nothing.
//!
//! The session here runs whatever SQL it likes, as a person with `psql` does.

use postern::net::tls_to_target;

use crate::world::{Wanted, World};

/// D-16: statements that must be refused, whatever the version.
const REFUSED: &[&str] = &[
    "SET ROLE postgres",
    "SET ROLE postern_admin",
    "SET SESSION AUTHORIZATION postgres",
    "SET SESSION AUTHORIZATION readonly",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE CURRENT_USER CREATEROLE",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "ALTER ROLE CURRENT_USER REPLICATION",
    "ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'",
    "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
    "CREATE ROLE x LOGIN",
    "CREATE ROLE x LOGIN IN ROLE readonly",
    "DROP ROLE readonly",
    "GRANT writer TO CURRENT_USER",
    "GRANT readonly TO mallory",
    "GRANT postern_admin TO CURRENT_USER",
    "REASSIGN OWNED BY writer TO CURRENT_USER",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "COPY (SELECT 1) TO '/tmp/postern-suite-x'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postern_admin'",
    "LOAD '/tmp/x'",
    "ALTER SYSTEM SET ssl = off",
    "SELECT rolpassword FROM pg_authid",
];

#[tokio::test]
async fn a_session_stays_what_it_is() {
    let world = World::shared();
    let administration = world.administration().await;
    let credential = administration.mint(&Wanted::on("readonly").mint()).await.unwrap();
    let session = world.session(&credential).await;
    let role = credential.role().as_str();
    for statement in REFUSED {
        session.refused(statement).await;
    }
    session.refused(&format!("COMMENT ON ROLE {role} IS 'nobody'")).await;
    session.refused(&format!("ALTER ROLE {role} RENAME TO pst_aaaaaaaaaaaaaaaa")).await;
    for statement in ["RESET SESSION AUTHORIZATION", "RESET ROLE", "DISCARD ALL", "SET ROLE NONE"] {
        session.ok(statement).await;
        let who = session.value("SELECT session_user || ' ' || current_user").await.unwrap();
        assert_eq!(who, format!("{role} {role}"), "{statement}");
    }
    // Before PostgreSQL 16 a member may take the granted role itself. That has the same rights, and the session stays
    // whose it is.
    let taken = session.value("SET ROLE readonly; SELECT session_user").await;
    assert_eq!(taken.is_ok(), administration.version() < 160_000);
    for statement in ["DELETE FROM public.orders", "GRANT readonly TO mallory", "ALTER ROLE readonly LOGIN"] {
        session.refused(statement).await;
    }
    assert_eq!(session.value("SELECT session_user").await.unwrap(), role);
    assert!(administration.end(credential.role()).await.is_complete());
}

/// A role may change its own password, in PostgreSQL of any version. That lets nobody in: it takes the certificate too.
#[tokio::test]
async fn a_password_of_ones_own_choice_opens_nothing_and_keeps_nothing_alive() {
    let world = World::shared();
    let administration = world.administration().await;
    let credential = administration.mint(&Wanted::on("readonly").mint()).await.unwrap();
    let session = world.session(&credential).await;
    let role = credential.role().as_str();
    session.ok("ALTER ROLE CURRENT_USER PASSWORD 'chosen'").await;
    let bare = tls_to_target(&world.target.trust, None).unwrap();
    let refused = world.log_in(role, "chosen", "postgres", bare, "psql").await.err().unwrap();
    assert!(refused.contains("certificate"), "{refused}");
    // Its own row is locked by what it has not committed: the cut is made all the same.
    session.ok("BEGIN").await;
    session.ok("ALTER ROLE CURRENT_USER PASSWORD 'chosen again'").await;
    let ending = administration.end(credential.role()).await;
    assert!(ending.is_complete() && !world.has_role(&role), "{ending:?}");
}

/// Before PostgreSQL 15 a role may give itself away. Whoever took it has nothing from the cut on.
#[tokio::test]
async fn an_accomplice_loses_what_the_session_gave_them_when_it_is_cut() {
    let world = World::shared();
    let administration = world.administration().await;
    let credential = administration.mint(&Wanted::on("readonly").mint()).await.unwrap();
    let session = world.session(&credential).await;
    let given = session.value(&format!("GRANT {} TO mallory", credential.role())).await;
    assert_eq!(given.is_ok(), administration.version() < 150_000);
    let reads = "SELECT has_table_privilege('mallory', 'public.orders', 'SELECT')";
    assert_eq!(world.superuser(reads) == "t", given.is_ok());
    administration.cut(credential.role(), credential.login()).await.unwrap();
    assert_eq!(world.superuser(reads), "f");
    assert!(administration.end(credential.role()).await.is_complete());
    assert_eq!(world.superuser(reads), "f");
}
