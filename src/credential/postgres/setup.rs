//! What an administrator runs once on a PostgreSQL server, as a superuser, and puts into two files there.
//!
//! The statements may be run again at any time, after an upgrade of the server or with more logins. What differs between
//! PostgreSQL 14 and 17 is decided by the server, so that one text fits all.

use std::fmt::Write as _;

use super::administration::SESSIONS;
use super::error::PostgresError;
use super::sql::text;
use crate::model::Target;

/// The statements, and in comments the lines for the files. `ca` is the bastion's database CA in PEM.
///
/// # Errors
/// When a name of the target cannot be one of PostgreSQL's.
pub fn setup(target: &Target, ca: &str) -> Result<String, PostgresError> {
    let admin = target.administration.role.as_str();
    let logins: Vec<String> =
        target.logins.iter().map(|login| text(login.as_str())).collect::<Result<_, _>>()?;
    let mut whole = format!(
        "-- For {}, {} ({}). Run it once as a superuser, and again whenever a login is added:\n\
         --   psql -v ON_ERROR_STOP=1 -d {} -f THIS_FILE\n",
        target.name, target.endpoint, target.protocol, target.administration.database
    );
    let grants = ROLES
        .replace(":admin", &text(admin)?)
        .replace(":sessions", &text(SESSIONS)?)
        .replace(":logins", &logins.join(", "));
    whole.push_str(&grants);
    whole.push_str(TENANT);
    // Writing to a String cannot fail.
    write!(
        whole,
        "\n/* In postgresql.conf: ssl = on, and ssl_ca_file = 'postern_ca.crt' with this in it (beside what is there):\n\n\
         {ca}\n\
         In pg_hba.conf, before every other line, with the bastion's own address (/128 for IPv6):\n\n\
         hostssl all {admin:<18} BASTION_ADDRESS/32 cert\n\
         hostssl all {group:<18} BASTION_ADDRESS/32 scram-sha-256 clientcert=verify-full\n\
         host    all {admin:<18} all                reject\n\
         host    all {group:<18} all                reject\n\
         local   all {admin:<18} reject\n\
         local   all {group:<18} reject\n\n\
         Then: SELECT pg_reload_conf(); and on the bastion: postern targets test LOGIN@{name}\n*/\n",
        group = format!("+{SESSIONS}"),
        name = target.name,
    )
    .ok();
    Ok(whole)
}

/// The administrative role and what it may give away. Before PostgreSQL 16 CREATEROLE may give away every role that is
/// no superuser's; from 16 on only those it has the ADMIN option on.
const ROLES: &str = r"
DO $postern$
DECLARE
    admin CONSTANT text := :admin;
    sessions CONSTANT text := :sessions;
    login text;
    place text;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) THEN
        RAISE EXCEPTION 'this has to be run by a superuser';
    END IF;
    IF pg_catalog.current_setting('server_version_num')::int < 140000 THEN
        RAISE EXCEPTION 'PostgreSQL 14 or newer is needed';
    END IF;
    -- No rights: pg_hba.conf speaks of the sessions'' roles by it.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = sessions) THEN
        EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', sessions);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = admin) THEN
        EXECUTE pg_catalog.format('CREATE ROLE %I', admin);
    END IF;
    EXECUTE pg_catalog.format('ALTER ROLE %I LOGIN INHERIT CREATEROLE NOSUPERUSER NOCREATEDB NOREPLICATION '
        'NOBYPASSRLS PASSWORD NULL', admin);
    FOREACH login IN ARRAY ARRAY[sessions, :logins] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = login) THEN
            RAISE EXCEPTION 'there is no role %: create it (NOLOGIN) with the rights sessions shall have', login;
        END IF;
        IF pg_catalog.current_setting('server_version_num')::int >= 160000 THEN
            EXECUTE pg_catalog.format('GRANT %I TO %I WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', login, admin);
        END IF;
    END LOOP;
    -- To clean up after a session it has to get into every database; it can read nothing there.
    FOR place IN SELECT datname FROM pg_catalog.pg_database
        WHERE datallowconn AND NOT pg_catalog.has_database_privilege(admin, oid, 'CONNECT') LOOP
        EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I', place, admin);
    END LOOP;
END
$postern$;
";

/// The tenant a session is bound to, for row-level security.
const TENANT: &str = r"
-- Only where rows are bound to tenants: run this too in that database, and write policies with it, such as
--   ALTER TABLE orders ENABLE ROW LEVEL SECURITY; ALTER TABLE orders FORCE ROW LEVEL SECURITY;
--   CREATE POLICY postern ON orders USING (tenant = (SELECT postern.tenant()));
-- It reads the comment on the role that logged in, which the session can neither change nor take from another role.
/*
CREATE SCHEMA IF NOT EXISTS postern;
GRANT USAGE ON SCHEMA postern TO PUBLIC;
CREATE OR REPLACE FUNCTION postern.tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT substring(shobj_description(oid, 'pg_authid') FROM '^postern/1 [^\n]* tenant=([A-Za-z0-9._-]+)$')
          FROM pg_roles WHERE rolname = SESSION_USER AND rolname ~ '^pst_[a-z2-7]{16}$' $$;
*/
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Administration, Endpoint, HostTrust, Plane, Protocol, Sensitivity};

    #[test]
    fn every_login_is_named_and_nothing_is_left_to_fill_in_but_the_address() {
        let target = Target {
            name: "orders".parse().unwrap(),
            protocol: Protocol::Postgres,
            endpoint: Endpoint { host: "db.example".to_owned(), port: 5432 },
            trust: HostTrust::Unpinned,
            plane: Plane::Platform,
            environment: String::new(),
            sensitivity: Sensitivity::Normal,
            tenant: None,
            logins: ["readonly", "do.it-now"].iter().map(|login| login.parse().unwrap()).collect(),
            labels: BTreeMap::new(),
            administration: Administration::default(),
        };
        let text = setup(&target, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(text.contains("ARRAY[sessions, 'do.it-now', 'readonly']"), "{text}");
        assert!(
            text.contains("admin CONSTANT text := 'postern_admin'") && !text.contains(":admin"),
            "{text}"
        );
        assert!(text.contains("scram-sha-256 clientcert=verify-full"), "{text}");
    }
}
