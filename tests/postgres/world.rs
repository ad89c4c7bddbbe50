//! A server that was set up by a superuser, and a bastion's database CA: everything after that goes without superuser.
//!
//! All tests share it and keep to roles of their own sessions; those that need databases make some.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use postern::credential::postgres::{Administration, Administrator, Mint, PostgresCredential, setup};
use postern::credential::{DatabaseCa, Keystore, SealingKey};
use postern::model::{
    Clock, Endpoint, HostTrust, Login, PersonName, Plane, Protocol, Sensitivity, SessionId, Target, Timestamp,
};
use tokio::task::JoinSet;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, config::SslMode};

use crate::server::Server;

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) ca: DatabaseCa,
    pub(crate) target: Target,
}

/// The logins that sessions may have, and what they may do.
const LOGINS: &str = "
    CREATE ROLE readonly NOLOGIN; CREATE ROLE writer NOLOGIN; CREATE ROLE risky NOLOGIN CREATEROLE;
    CREATE ROLE programs NOLOGIN; GRANT pg_execute_server_program TO programs; CREATE ROLE unbound NOLOGIN BYPASSRLS;
    CREATE ROLE mallory LOGIN PASSWORD 'mallory';
    CREATE TABLE public.orders (id int PRIMARY KEY, tenant text, what text);
    INSERT INTO public.orders VALUES (1, 'acme', 'anvil'), (2, 'globex', 'laser');
    GRANT SELECT ON public.orders TO readonly; GRANT ALL ON public.orders TO writer;
    GRANT CREATE, USAGE ON SCHEMA public TO writer";

impl World {
    pub(crate) fn shared() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| {
            let server = Server::start();
            server.superuser("postgres", LOGINS);
            let place = tempfile::tempdir().unwrap();
            let sealing = SealingKey::random().unwrap();
            let keys = Keystore::create(place.path(), &sealing, &[], &Clock::system()).unwrap();
            let ca = keys.database_ca().unwrap().clone();
            let target = target(&server);
            server.apply(&setup(&target, &ca.pem()).unwrap());
            Self { server, ca, target }
        })
    }

    /// A bastion of its own: the same CA, another node.
    pub(crate) fn bastion(&self, node: &str) -> Administrator {
        Administrator::new(self.ca.clone(), node.as_bytes(), Clock::system())
    }

    pub(crate) async fn administration(&self) -> Arc<Administration> {
        Arc::new(Administration::connect(&self.bastion("node"), &self.target).await.unwrap())
    }

    pub(crate) fn superuser(&self, statements: &str) -> String {
        self.server.superuser("postgres", statements)
    }

    pub(crate) fn has_role(&self, role: &impl std::fmt::Display) -> bool {
        self.superuser(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{role}'")) == "1"
    }

    /// Logs in as a session's role does.
    pub(crate) async fn session(&self, credential: &PostgresCredential) -> Session {
        self.session_in(credential, "postgres").await.unwrap()
    }

    pub(crate) async fn session_in(
        &self,
        credential: &PostgresCredential,
        database: &str,
    ) -> Result<Session, String> {
        let tls = credential.tls(&self.target.trust).unwrap();
        let (role, password) = (credential.role().to_string(), credential.password().expose());
        self.log_in(&role, password, database, tls, &credential.application()).await
    }

    /// Logs in as anybody, with any TLS.
    pub(crate) async fn log_in(
        &self,
        role: &str,
        password: &str,
        database: &str,
        tls: rustls::ClientConfig,
        application: &str,
    ) -> Result<Session, String> {
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", self.server.port)).await.unwrap();
        let mut config = Config::new();
        config.user(role).password(password).dbname(database).application_name(application);
        config.ssl_mode(SslMode::Require);
        let mut make = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
        let Ok(tls) = MakeTlsConnect::<tokio::net::TcpStream>::make_tls_connect(&mut make, "localhost");
        let (client, connection) = config.connect_raw(socket, tls).await.map_err(|error| words(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { connection.await.ok() });
        Ok(Session { client, _driver: driver })
    }
}

/// A connection as a session has one.
pub(crate) struct Session {
    client: Client,
    _driver: JoinSet<Option<()>>,
}

impl std::ops::Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Session {
    /// The one value a query gives.
    pub(crate) async fn value(&self, query: &str) -> Result<String, String> {
        let rows = self.client.simple_query(query).await.map_err(|error| words(&error))?;
        let value = rows.iter().find_map(|message| {
            let tokio_postgres::SimpleQueryMessage::Row(row) = message else { return None };
            row.get(0).map(str::to_owned)
        });
        Ok(value.unwrap_or_default())
    }

    /// Runs what must be refused, and gives the server's words.
    pub(crate) async fn refused(&self, statement: &str) -> String {
        match self.client.simple_query(statement).await {
            Ok(_) => panic!("{statement} should have been refused"),
            Err(error) => words(&error),
        }
    }

    pub(crate) async fn ok(&self, statement: &str) {
        if let Err(error) = self.client.simple_query(statement).await {
            panic!("{statement}: {}", words(&error));
        }
    }
}

fn words(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// A session that somebody has on `login`.
pub(crate) struct Wanted {
    pub(crate) session: SessionId,
    person: PersonName,
    login: Login,
    pub(crate) until: Timestamp,
    pub(crate) tenant: Option<&'static str>,
}

impl Wanted {
    pub(crate) fn on(login: &str) -> Self {
        Self {
            session: SessionId::random().unwrap(),
            person: "alice".parse().unwrap(),
            login: login.parse().unwrap(),
            until: Clock::system().now() + Duration::from_secs(600),
            tenant: None,
        }
    }

    pub(crate) fn mint(&self) -> Mint<'_> {
        Mint {
            session: &self.session,
            person: &self.person,
            login: &self.login,
            database: Some("postgres"),
            until: self.until,
            connections: 4,
            tenant: self.tenant,
        }
    }
}

fn target(server: &Server) -> Target {
    let pem = std::fs::read(&server.ca).unwrap();
    let ca: rustls::pki_types::CertificateDer<'_> =
        rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap();
    Target {
        name: "orders".parse().unwrap(),
        protocol: Protocol::Postgres,
        endpoint: Endpoint { host: "localhost".to_owned(), port: server.port },
        trust: HostTrust::TlsAuthority(vec![data_encoding::BASE64.encode(&ca)]),
        plane: Plane::Platform,
        environment: String::new(),
        sensitivity: Sensitivity::Normal,
        tenant: None,
        logins: ["readonly", "writer", "risky", "programs", "unbound"]
            .iter()
            .map(|l| l.parse().unwrap())
            .collect(),
        labels: BTreeMap::new(),
        administration: postern::model::Administration::default(),
    }
}
