//! A role's end: whatever its backends are doing, whatever it made, wherever; and what a crash left.
//!
//! That a backend is gone is read from the server by a superuser, and never from what the library says.

use std::time::Duration;

use postern::credential::postgres::{Administration, Administrations, Administrator, Mint, PostgresLease};
use postern::model::Clock;
use tokio::task::JoinSet;

use crate::world::{Session, Wanted, World};

fn backends(world: &World, role: &impl std::fmt::Display) -> String {
    world.superuser(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"))
}

/// Runs something that does not end by itself, and waits until the server is at it.
async fn busy(world: &World, session: Session, statement: &'static str, waits_for: &str) -> JoinSet<()> {
    let pid = session.value("SELECT pg_backend_pid()").await.unwrap();
    let mut running = JoinSet::new();
    running.spawn(async move {
        if statement.starts_with("COPY") {
            // The data never comes.
            let copying = session.copy_in::<_, &'static [u8]>(statement).await.unwrap();
            std::future::pending::<()>().await;
            drop(copying);
        }
        session.simple_query(statement).await.ok();
    });
    let asked = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = '{waits_for}' AND state = 'active'"
    );
    for _ in 0..500 {
        if world.superuser(&asked) == "1" {
            return running;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the server is not at {waits_for}: {}", world.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_backend_is_doing_it_is_gone() {
    let world = World::shared();
    world.superuser("CREATE TABLE public.queue (a text); GRANT ALL ON public.queue TO writer");
    let administration = world.administration().await;
    let credential = administration.mint(&Wanted::on("writer").mint()).await.unwrap();
    let role = credential.role();
    let locker = world.session(&credential).await;
    locker.ok("BEGIN; LOCK TABLE public.orders IN ACCESS EXCLUSIVE MODE").await;
    let mut running = Vec::new();
    for (statement, waits_for) in [
        ("SELECT pg_sleep(600)", "PgSleep"),
        ("BEGIN; LOCK TABLE public.orders", "relation"),
        ("COPY public.queue FROM STDIN", "ClientRead"),
    ] {
        let session = world.session(&credential).await;
        running.push(busy(world, session, statement, waits_for).await);
    }
    assert_eq!(backends(world, role), "4");
    let clock = Clock::system();
    let began = clock.since_boot();
    let ending = administration.end(role).await;
    eprintln!("four busy backends and their role, gone in {:?}", clock.since_boot().saturating_sub(began));
    assert!(ending.is_complete(), "{ending:?}");
    assert_eq!(backends(world, role), "0");
    assert!(!world.has_role(role));
    let (gone, dead) = (ending.backends_ended.unwrap(), ending.credential_dead.unwrap());
    assert!(gone.at <= dead.at && dead.how.contains("dropped"), "{gone:?} {dead:?}");
}

/// Figures rather than bounds: how long from the order to what was seen of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_soon_seen() {
    let world = World::shared();
    let administration = world.administration().await;
    let (clock, mut cut, mut gone, mut dropped) = (Clock::system(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..40 {
        let lease =
            PostgresLease::mint(administration.clone(), &Wanted::on("readonly").mint()).await.unwrap();
        let session = world.session(&lease.credential().unwrap()).await;
        let _running = busy(world, session, "SELECT pg_sleep(600)", "PgSleep").await;
        let began = clock.now();
        let step = lease.cut().await.unwrap();
        assert!(lease.credential().is_none());
        let ending = lease.take_back().await;
        assert!(ending.is_complete(), "{ending:?}");
        cut.push(step.at.duration_since(began));
        gone.push(ending.backends_ended.unwrap().at.duration_since(began));
        dropped.push(ending.credential_dead.unwrap().at.duration_since(began));
    }
    for (what, mut took) in [("barred", cut), ("no backend left", gone), ("role dropped", dropped)] {
        took.sort();
        eprintln!(
            "{what}: median {:#}, slowest of {} {:#}",
            took[took.len() / 2],
            took.len(),
            took[took.len() - 1]
        );
    }
}

#[tokio::test]
async fn what_a_session_made_becomes_the_granted_roles_in_every_database() {
    let world = World::shared();
    world.superuser("CREATE DATABASE elsewhere");
    world.server.superuser("elsewhere", "GRANT CREATE, USAGE ON SCHEMA public TO writer");
    world.superuser("GRANT CREATE ON DATABASE postgres TO writer");
    let administration = world.administration().await;
    let credential = administration.mint(&Wanted::on("writer").mint()).await.unwrap();
    let role = credential.role();
    let here = world.session(&credential).await;
    here.ok("CREATE TABLE public.made (id serial PRIMARY KEY); CREATE VIEW public.seen AS SELECT * FROM public.made; \
             CREATE FUNCTION public.called() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SCHEMA own; \
             CREATE TYPE public.colour AS ENUM ('red'); SELECT lo_create(4711); \
             GRANT SELECT ON public.made TO mallory; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO mallory")
        .await;
    let there = world.session_in(&credential, "elsewhere").await.unwrap();
    there.ok("CREATE TABLE public.far (id int)").await;
    there.ok("BEGIN; LOCK TABLE public.far; PREPARE TRANSACTION 'left; DROP ROLE writer; --'").await;
    let ending = administration.end(role).await;
    assert!(ending.is_complete() && !world.has_role(role), "{ending:?}");
    let owner = |database: &str, relation: &str| {
        let asked =
            format!("SELECT relowner::regrole FROM pg_class WHERE oid = 'public.{relation}'::regclass");
        world.server.superuser(database, &asked)
    };
    for (database, relation) in [("postgres", "made"), ("postgres", "seen"), ("elsewhere", "far")] {
        assert_eq!(owner(database, relation), "writer", "{relation}");
    }
    for asked in [
        "SELECT proowner::regrole FROM pg_proc WHERE proname = 'called'",
        "SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'own'",
        "SELECT typowner::regrole FROM pg_type WHERE typname = 'colour'",
        "SELECT lomowner::regrole FROM pg_largeobject_metadata WHERE oid = 4711",
    ] {
        assert_eq!(world.superuser(asked), "writer", "{asked}");
    }
    assert_eq!(world.superuser("SELECT count(*) FROM pg_prepared_xacts"), "0");
    assert_eq!(world.superuser("SELECT count(*) FROM pg_default_acl"), "0", "nothing comes after it");
    let borrowed = "SELECT count(*) FROM pg_auth_members WHERE member = 'postern_admin'::regrole \
                    AND roleid = 'writer'::regrole";
    let standing = if administration.version() < 160_000 { "0" } else { "1" };
    assert_eq!(world.superuser(borrowed), standing, "the administrative role keeps no rights of it");
}

#[tokio::test]
async fn what_cannot_be_cleaned_is_said_and_is_cleaned_later() {
    let world = World::shared();
    world.superuser("CREATE DATABASE closed");
    world.server.superuser("closed", "GRANT CREATE, USAGE ON SCHEMA public TO writer");
    let administration = world.administration().await;
    let credential = administration.mint(&Wanted::on("writer").mint()).await.unwrap();
    let role = credential.role();
    world.session_in(&credential, "closed").await.unwrap().ok("CREATE TABLE public.remains (id int)").await;
    world.superuser("REVOKE CONNECT ON DATABASE closed FROM PUBLIC");
    let ending = administration.end(role).await;
    assert!(ending.backends_ended.is_some() && ending.credential_dead.is_some(), "{ending:?}");
    let words = ending.left_over.join("; ");
    assert!(words.contains("closed") && words.contains(role.as_str()), "{words}");
    assert!(
        world.has_role(role) && world.session_in(&credential, "postgres").await.is_err(),
        "it stays barred"
    );
    world.superuser("GRANT CONNECT ON DATABASE closed TO postern_admin");
    let ending = administration.end(role).await;
    assert!(ending.is_complete() && !world.has_role(role), "{ending:?}");
}

#[tokio::test]
async fn a_sweep_ends_what_a_crash_left_and_nobody_elses() {
    let world = World::shared();
    let (ours, theirs) = (world.bastion("sweeping"), world.bastion("another"));
    let connect = async |by: &Administrator| Administration::connect(by, &world.target).await.unwrap();
    let (crashed, other) = (connect(&ours).await, connect(&theirs).await);
    let (left, live) = (Wanted::on("readonly"), Wanted::on("readonly"));
    let left_role = crashed.mint(&left.mint()).await.unwrap();
    let live_role = crashed.mint(&live.mint()).await.unwrap();
    let others = other.mint(&Wanted::on("readonly").mint()).await.unwrap();
    world.superuser(
        "CREATE ROLE pst_aaaaaaaaaaaaaaaa; CREATE ROLE pst_mine; COMMENT ON ROLE pst_mine IS 'postern/1'",
    );
    let _session = world.session(&left_role).await;
    drop(crashed);
    let again = connect(&ours).await;
    let alive = live.session.clone();
    let swept = again.sweep(move |session| *session == alive).await.unwrap();
    assert_eq!(swept.len(), 1, "{swept:?}");
    assert!(swept[0].session == left.session && swept[0].ending.is_complete(), "{swept:?}");
    assert!(!world.has_role(left_role.role()) && world.has_role(live_role.role()));
    assert!(
        world.has_role(others.role())
            && world.has_role(&"pst_aaaaaaaaaaaaaaaa")
            && world.has_role(&"pst_mine")
    );
    let refused = again.end(others.role()).await;
    assert!(!refused.is_complete() && world.has_role(others.role()), "another bastion's is not ours to end");
    assert!(again.end(live_role.role()).await.is_complete() && other.end(others.role()).await.is_complete());
}

/// The connection a session's end needs may have broken while the session went on.
#[tokio::test]
async fn a_connection_that_broke_is_made_again_when_a_session_ends() {
    let world = World::shared();
    let open = Administrations::new(world.bastion("breaking"));
    let administration = open.of(&world.target).await.unwrap();
    let wanted = Wanted::on("readonly");
    let wanted = Mint { database: None, ..wanted.mint() };
    let lease = PostgresLease::mint(administration, &wanted).await.unwrap();
    // Nobody else's: the other tests go on.
    let ended = format!(
        "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a WHERE a.usename = 'postern_admin' \
         AND a.query LIKE '%{}%'",
        lease.role()
    );
    assert_eq!(world.superuser(&ended), "1");
    let ending = lease.take_back().await;
    assert!(ending.is_complete() && !world.has_role(lease.role()), "{ending:?}");
    let moved = postern::model::Target { environment: "prod".to_owned(), ..world.target.clone() };
    let again = open.of(&moved).await.unwrap();
    assert!(
        !std::sync::Arc::ptr_eq(&again, &open.of(&world.target).await.unwrap()),
        "other facts, another login"
    );
}

/// What was granted may be gone by the end of the session. The role is barred all the same, and what it owns is said.
#[tokio::test]
async fn a_granted_role_that_was_dropped_meanwhile_leaves_nobody_let_in() {
    let world = World::shared();
    world.superuser("CREATE ROLE fleeting NOLOGIN");
    if world.superuser("SHOW server_version_num").parse::<u32>().unwrap() >= 160_000 {
        world.superuser("GRANT fleeting TO postern_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE");
    }
    let administration = world.administration().await;
    let credential = administration.mint(&Wanted::on("fleeting").mint()).await.unwrap();
    let session = world.session(&credential).await;
    world.superuser("DROP ROLE fleeting");
    let ending = administration.end(credential.role()).await;
    assert!(ending.is_complete() && !world.has_role(credential.role()), "{ending:?}");
    assert!(session.value("SELECT 1").await.is_err());
}
