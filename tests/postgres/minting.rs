//! A role is made for one session, with the granted role's rights and no more, and lets in who holds its credential.
//!
//! The server's own catalogues say what the role is; nothing of ours is believed.

use std::time::Duration;

use postern::credential::postgres::{Administration, Mint, PostgresError, PostgresLease, look};
use postern::model::{Clock, HostTrust, Target};
use postern::net::tls_to_target;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::server::Server;
use crate::world::{Wanted, World};

#[tokio::test]
async fn a_role_is_one_sessions_and_says_so_and_its_password_is_nowhere() {
    let world = World::shared();
    let administration = world.administration().await;
    let wanted = Wanted::on("readonly");
    let lease = PostgresLease::mint(administration, &wanted.mint()).await.unwrap();
    let credential = lease.credential().unwrap();
    let role = lease.role();
    let asked = format!(
        "SELECT rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolconnlimit, \
         rolvaliduntil > now() + interval '9 min' AND rolvaliduntil < now() + interval '11 min' \
         FROM pg_roles WHERE rolname = '{role}'"
    );
    assert_eq!(world.superuser(&asked), "t|t|f|f|f|f|f|4|t");
    let comment =
        format!("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{role}'");
    let comment = world.superuser(&comment);
    assert!(
        comment.contains(wanted.session.as_str()) && comment.contains("person=alice login=readonly"),
        "{comment}"
    );
    let verifier = world.superuser(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"));
    assert!(verifier.starts_with("SCRAM-SHA-256$4096:"), "{verifier}");
    assert!(!world.server.log().contains(credential.password().expose()));

    let session = world.session(&credential).await;
    assert_eq!(session.value("SELECT session_user || current_user").await.unwrap(), format!("{role}{role}"));
    assert_eq!(session.value("SELECT count(*) FROM public.orders").await.unwrap(), "2");
    session.refused("DELETE FROM public.orders").await;
    let listed = format!("SELECT application_name FROM pg_stat_activity WHERE usename = '{role}'");
    assert_eq!(world.superuser(&listed), format!("postern {}", wanted.session));

    let ending = lease.take_back().await;
    assert!(ending.is_complete() && !world.has_role(role), "{ending:?}");
    assert!(lease.credential().is_none() && session.value("SELECT 1").await.is_err());
    assert!(lease.take_back().await.is_complete(), "again changes nothing");
}

/// The bastion's own rights are no rights: it cannot read what it gives sessions the right to read.
#[tokio::test]
async fn the_administrative_role_is_no_superuser_and_reads_nothing() {
    let world = World::shared();
    let asked = "SELECT rolsuper, rolcreatedb, rolreplication, rolbypassrls, rolpassword IS NULL FROM pg_authid \
                 WHERE rolname = 'postern_admin'";
    assert_eq!(world.superuser(asked), "f|f|f|f|t");
    // While a session lives, its role is the administrative one's too; of itself that has nothing.
    let granted = "SELECT count(*) FROM pg_class WHERE relacl::text LIKE '%postern_admin%'";
    assert_eq!(world.superuser(granted), "0");
}

#[tokio::test]
async fn nobody_logs_in_after_the_window_or_without_the_certificate() {
    let world = World::shared();
    let administration = world.administration().await;
    let mut wanted = Wanted::on("readonly");
    wanted.until = Clock::system().now() - Duration::from_secs(1);
    let late = administration.mint(&wanted.mint()).await.unwrap();
    let refused = world.session_in(&late, "postgres").await.err().unwrap();
    assert!(refused.contains("password authentication failed"), "{refused}");
    assert!(world.server.log().contains("has an expired password"));

    let credential = administration.mint(&Wanted::on("readonly").mint()).await.unwrap();
    let role = credential.role().as_str();
    let bare = tls_to_target(&world.target.trust, None).unwrap();
    let password = credential.password().expose();
    assert!(world.log_in(role, password, "postgres", bare, "x").await.is_err(), "no certificate");
    let others = late.tls(&world.target.trust).unwrap();
    assert!(
        world.log_in(role, password, "postgres", others, "x").await.is_err(),
        "another role's certificate"
    );
    let own = credential.tls(&world.target.trust).unwrap();
    assert!(world.log_in(role, "guessed", "postgres", own, "x").await.is_err(), "no password");
    assert!(world.session_in(&credential, "postgres").await.is_ok());
    for credential in [late, credential] {
        assert!(administration.end(credential.role()).await.is_complete());
    }
}

#[tokio::test]
async fn what_would_make_a_session_more_than_a_session_is_not_granted() {
    let world = World::shared();
    let administration = world.administration().await;
    world.superuser("CREATE ROLE indirect NOLOGIN; GRANT programs TO indirect");
    for login in ["risky", "programs", "indirect", "postgres", "postern_admin", "nobody"] {
        let wanted = Wanted::on(login);
        let refused = administration.mint(&wanted.mint()).await.err().unwrap();
        assert!(matches!(refused, PostgresError::Unfit { .. }), "{login}: {refused}");
    }
    let mut bound = Wanted::on("unbound");
    bound.tenant = Some("acme");
    assert!(matches!(administration.mint(&bound.mint()).await, Err(PostgresError::Unfit { .. })));
    let mut hostile = Wanted::on("readonly");
    hostile.tenant = Some("acme' tenant=globex");
    assert!(matches!(administration.mint(&hostile.mint()).await, Err(PostgresError::Unfit { .. })));
    let wanted = Wanted::on("readonly");
    // D-20: a database is named by whoever connects.
    let elsewhere = Mint { database: Some("\"; DROP ROLE x; --"), ..wanted.mint() };
    assert!(matches!(administration.mint(&elsewhere).await, Err(PostgresError::Unfit { .. })));
    let left = format!("SELECT count(*) FROM pg_shdescription WHERE description LIKE '%{}%'", wanted.session);
    assert_eq!(world.superuser(&left), "0", "it was made and ended again");
}

/// D-24.
#[tokio::test]
async fn a_server_that_does_not_prove_itself_gets_nothing() {
    let world = World::shared();
    let bastion = world.bastion("node");
    let mut target = world.target.clone();
    let connected = async |target: &Target| Administration::connect(&bastion, target).await.err();
    let other = Server::with("ssl = off\nlog_statement = all\n");
    let other_ca = CertificateDer::from_pem_slice(&std::fs::read(&other.ca).unwrap()).unwrap();
    target.trust = HostTrust::TlsAuthority(vec![data_encoding::BASE64.encode(&other_ca)]);
    assert!(matches!(connected(&target).await, Some(PostgresError::Untrusted(_))), "another CA");
    target.trust = HostTrust::TlsKeys(vec![format!("sha256/{}=", "A".repeat(43))]);
    assert!(matches!(connected(&target).await, Some(PostgresError::Untrusted(_))), "another key");
    for trust in [HostTrust::Unpinned, HostTrust::Keys(vec!["ssh-ed25519 AAAA".to_owned()])] {
        target.trust = trust;
        assert!(matches!(connected(&target).await, Some(PostgresError::Tls(_))), "nothing it could prove");
    }
    let pin = look(&target.endpoint).await.unwrap();
    target.trust = HostTrust::TlsKeys(vec![pin]);
    assert!(connected(&target).await.is_none(), "its own key");
    target.trust = world.target.trust.clone();
    target.endpoint.port = other.port;
    assert!(matches!(connected(&target).await, Some(PostgresError::NoTls)), "no TLS");
    assert!(look(&target.endpoint).await.unwrap_err().contains("TLS"));
    assert!(!other.log().contains("postern_admin"), "nothing was told to it");
}
