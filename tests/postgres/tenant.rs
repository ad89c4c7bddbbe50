//! A session that is bound to a tenant sees that tenant's rows, and there is no statement that changes which.
//!
//! The binding is decision 16: the comment on the role that logged in, which row-level security reads.

use postern::credential::postgres::setup;

use crate::world::{Wanted, World};

/// What an administrator sets up where rows are bound to tenants: the function out of `targets sql`, and a policy.
fn bind(world: &World) {
    let printed = setup(&world.target, &world.ca.pem()).unwrap();
    let (_, rest) = printed.split_once("CREATE SCHEMA IF NOT EXISTS postern;").unwrap();
    let (statements, _) = rest.split_once("*/").unwrap();
    world.superuser(&format!("CREATE SCHEMA IF NOT EXISTS postern; {statements}"));
    world.superuser(
        "CREATE TABLE public.bound (id int, tenant text); INSERT INTO public.bound VALUES (1, 'acme'), (2, 'globex'); \
         GRANT SELECT, INSERT, UPDATE ON public.bound TO readonly; \
         CREATE TABLE public.guessed AS SELECT * FROM public.bound; GRANT SELECT ON public.guessed TO readonly; \
         ALTER TABLE public.guessed ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY guessed ON public.guessed USING (tenant = current_setting('app.tenant', true)); \
         ALTER TABLE public.bound ENABLE ROW LEVEL SECURITY; ALTER TABLE public.bound FORCE ROW LEVEL SECURITY; \
         CREATE POLICY postern ON public.bound USING (tenant = (SELECT postern.tenant()))",
    );
}

/// What a session could try.
const ATTEMPTS: &[&str] = &[
    "SET app.tenant = 'globex'",
    "SET postern.tenant = 'globex'",
    "SET search_path = pg_temp",
    "SET ROLE readonly",
    "SET ROLE NONE",
    "RESET SESSION AUTHORIZATION",
    "SET SESSION AUTHORIZATION DEFAULT",
    "CREATE TEMP TABLE pg_roles AS SELECT 1 AS oid, session_user::text AS rolname",
    "CREATE FUNCTION pg_temp.shobj_description(oid, name) RETURNS text LANGUAGE sql AS $$ SELECT ' tenant=globex' $$",
    "CREATE OR REPLACE FUNCTION postern.tenant() RETURNS text LANGUAGE sql AS $$ SELECT 'globex' $$",
    "ALTER FUNCTION postern.tenant() SET search_path = pg_temp, pg_catalog",
    "ALTER TABLE public.bound DISABLE ROW LEVEL SECURITY",
    "CREATE POLICY mine ON public.bound USING (true)",
    "ALTER ROLE CURRENT_USER SET postern.tenant = 'globex'",
    "GRANT readonly TO CURRENT_USER",
    "DISCARD ALL",
    "SET row_security = off",
];

#[tokio::test]
async fn no_statement_of_a_session_changes_its_tenant() {
    let world = World::shared();
    bind(world);
    let administration = world.administration().await;
    let mut wanted = Wanted::on("readonly");
    wanted.tenant = Some("acme");
    let acme = administration.mint(&wanted.mint()).await.unwrap();
    let mut other = Wanted::on("readonly");
    other.tenant = Some("globex");
    let globex = administration.mint(&other.mint()).await.unwrap();
    let nobody = administration.mint(&Wanted::on("readonly").mint()).await.unwrap();
    let session = world.session(&acme).await;
    let seen = "SELECT string_agg(tenant, ',') FROM public.bound";
    assert_eq!(session.value(seen).await.unwrap(), "acme");
    assert_eq!(world.session(&globex).await.value(seen).await.unwrap(), "globex");
    assert_eq!(
        world.session(&nobody).await.value(seen).await.unwrap(),
        "",
        "unbound is nothing, not everything"
    );

    // What a setting binds, a session unbinds: this is why it is not one.
    session.ok("SET app.tenant = 'globex'").await;
    assert_eq!(session.value("SELECT tenant FROM public.guessed").await.unwrap(), "globex");

    session.refused("INSERT INTO public.bound VALUES (3, 'globex')").await;
    session.refused("UPDATE public.bound SET tenant = 'globex'").await;
    session.refused(&format!("COMMENT ON ROLE {} IS 'postern/1 x tenant=globex'", acme.role())).await;
    for attempt in ATTEMPTS {
        session.value(attempt).await.ok();
        // With row_security off the table is refused rather than shown whole.
        if let Ok(tenants) = session.value(seen).await {
            assert_eq!(tenants, "acme", "{attempt}");
        }
    }
    session.ok("RESET row_security").await;
    assert_eq!(session.value(seen).await.unwrap(), "acme");
    // Nor does it help to be given another session's role, as PostgreSQL before 15 allows.
    let giver = world.session(&globex).await;
    let given = giver.value(&format!("GRANT {} TO {}", globex.role(), acme.role())).await;
    let took = session.value(&format!("SET ROLE {}", globex.role())).await;
    assert_eq!(given.is_ok() && took.is_ok(), administration.version() < 150_000);
    assert_eq!(session.value(seen).await.unwrap(), "acme");
    for credential in [acme, globex, nobody] {
        let ending = administration.end(credential.role()).await;
        assert!(ending.is_complete(), "{ending:?}");
    }
}
