//! One connection to a PostgreSQL server over TLS that is required and checked, and statements with a time each.
//!
//! The task that drives the connection ends with the [`Link`]. Everything here is asked for by name with the schema in
//! front of it, so that nothing a session made on the server is taken for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use crate::model::Endpoint;
use crate::net::dial;

/// How long TLS and the login may take in all.
const OPENING: Duration = Duration::from_secs(15);
/// How long a statement may take, waiting for its answer included.
const ANSWER: Duration = Duration::from_secs(20);
/// How often an idle connection is seen to be alive.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// What every such connection is opened with: times shorter than [`ANSWER`] within the server, so that what we gave up
/// on does not go on there.
const OPTIONS: &str = "-c search_path=pg_catalog -c lock_timeout=2s -c statement_timeout=15s \
                       -c idle_in_transaction_session_timeout=30s -c client_min_messages=error \
                       -c standard_conforming_strings=on -c row_security=on -c default_transaction_read_only=off";

/// A parameter of a query, and its type there.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection.
pub(super) struct Link {
    client: Client,
    /// It failed once, whatever the library knows of that so far.
    has_failed: AtomicBool,
    _driver: JoinSet<()>,
}

/// Who logs in, where.
pub(super) struct As<'a> {
    pub(super) role: &'a str,
    pub(super) password: Option<&'a str>,
    pub(super) database: &'a str,
    pub(super) application: &'a str,
}

impl Link {
    /// Dials, requires TLS, checks the server, logs in.
    pub(super) async fn open(
        endpoint: &Endpoint,
        tls: ClientConfig,
        login: &As<'_>,
    ) -> Result<Self, PostgresError> {
        let socket = dial(endpoint).await?;
        socket.set_nodelay(true).ok();
        // It may be idle for as long as a session lasts, and must not be found dead at its end.
        let probes = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(3);
        SockRef::from(&socket).set_tcp_keepalive(&probes).ok();
        let mut config = Config::new();
        config.user(login.role).dbname(login.database).application_name(login.application).options(OPTIONS);
        config.ssl_mode(SslMode::Require).channel_binding(ChannelBinding::Prefer);
        if let Some(password) = login.password {
            config.password(password);
        }
        let mut connector = MakeRustlsConnect::new(tls);
        let Ok(connector) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connector, &endpoint.host);
        let opening = tokio::time::timeout(OPENING, config.connect_raw(socket, connector)).await;
        let opened = opening.map_err(|_| PostgresError::TimedOut { doing: "logging in" })?;
        let (client, connection) = opened.map_err(|error| PostgresError::opening(login.role, &error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a database ended");
            }
        });
        Ok(Self { client, has_failed: AtomicBool::new(false), _driver: driver })
    }

    /// Whether it has not ended.
    pub(super) fn is_open(&self) -> bool {
        !self.has_failed.load(Ordering::Relaxed) && !self.client.is_closed()
    }

    /// Runs statements in one transaction, unless they say otherwise, in one round trip.
    pub(super) async fn run(&self, doing: &'static str, statements: &str) -> Result<(), PostgresError> {
        self.bounded(doing, self.client.batch_execute(statements)).await
    }

    /// Asks for rows.
    pub(super) async fn ask(
        &self,
        doing: &'static str,
        query: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, PostgresError> {
        self.bounded(doing, self.client.query_typed(query, parameters)).await
    }

    async fn bounded<T>(
        &self,
        doing: &'static str,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PostgresError> {
        let answer = match tokio::time::timeout(ANSWER, asked).await {
            Ok(answer) => answer.map_err(|error| PostgresError::running(doing, &error)),
            Err(_) => Err(PostgresError::TimedOut { doing }),
        };
        if matches!(answer, Err(PostgresError::Broken { .. } | PostgresError::TimedOut { .. })) {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        answer
    }
}

/// A column, or the error that it is not what it should be.
pub(super) fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    at: usize,
) -> Result<T, PostgresError> {
    row.try_get(at).map_err(|error| PostgresError::running("reading an answer", &error))
}
