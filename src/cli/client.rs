//! The CLI's side of the API, over one of three ways: HTTPS as a signed-in person; the control socket of a bastion on
//! this machine; or, when nobody serves there, the same router in this process, over a directory that stays as it is
//! until something in it is to be changed.
//!
//! Commands see no difference. What the bastion refuses is an error with its own words and hint (exit code 1); what
//! could not be reached is another (exit code 3).

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tower::ServiceExt as _;

use super::exit::CliError;
use super::login;
use super::pin;
use super::profile::{Profile, Token};
use crate::api::leaves_entry;
use crate::serve;

/// What every path begins with.
const PREFIX: &str = "/api/v1";
/// The socket inside a bastion's directory.
const CONTROL: &str = "control.sock";
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer that is not a recording or a stream, in bytes.
const LONGEST_ANSWER: usize = 64 << 20;
/// Pages of a list followed at most.
const MOST_PAGES: usize = 1000;

/// Where the bastion is, as the command line and the environment say.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// A bastion's directory on this machine; wins over a server.
    pub(crate) directory: Option<PathBuf>,
    /// The server, instead of the profile's.
    pub(crate) server: Option<String>,
    /// The profile's file.
    pub(crate) profile: PathBuf,
}

/// A way to the bastion.
pub(crate) struct Client {
    wire: Wire,
    token: Option<Token>,
}

enum Wire {
    Http { client: reqwest::Client, base: String },
    InProcess(Stopped),
}

/// A bastion's directory that nobody serves: opened to be read as long as nothing is to be changed, and then for good
/// so that it can be.
struct Stopped {
    directory: PathBuf,
    opened: Mutex<Opened>,
}

enum Opened {
    Not,
    Read(Router),
    Change(Router),
}

type Stream = BoxStream<'static, Result<Bytes, CliError>>;

impl Client {
    /// The way that a place says: its directory, else the server somebody logged in to.
    pub(crate) async fn connect(place: &Place) -> Result<Self, CliError> {
        if let Some(directory) = &place.directory {
            return Self::local(directory).await;
        }
        let profile = Profile::load(&place.profile)?.ok_or_else(|| {
            CliError::usage("which bastion? nobody logged in here").hint(
                "run 'postern login https://BASTION:8443', or on the bastion's own machine give --dir DIRECTORY",
            )
        })?;
        let given = place.server.as_deref().map(login::address).transpose()?;
        if given.is_some_and(|server| server != profile.server) {
            return Err(CliError::usage(format!("you are logged in to {}, not there", profile.server))
                .hint("log in there first; --config keeps several logins apart"));
        }
        let mut client = Self::pinned(&profile.server, &profile.fingerprint)?;
        client.token = profile.token;
        Ok(client)
    }

    /// A server by its address and certificate, as nobody.
    pub(crate) fn pinned(server: &str, fingerprint: &str) -> Result<Self, CliError> {
        let client = builder()
            .tls_backend_preconfigured(pin::pinned(fingerprint)?)
            .https_only(true)
            .build()
            .map_err(CliError::failed)?;
        Ok(Self { wire: Wire::Http { client, base: server.trim_end_matches('/').to_owned() }, token: None })
    }

    /// The bastion in a directory: through its socket when it is served, else in this process.
    pub(crate) async fn local(directory: &Path) -> Result<Self, CliError> {
        let socket = directory.join(CONTROL);
        match tokio::net::UnixStream::connect(&socket).await {
            Ok(_) => {
                let client = builder()
                    .tls_backend_preconfigured(pin::looking()?.0)
                    .unix_socket(socket)
                    .build()
                    .map_err(CliError::failed)?;
                Ok(Self { wire: Wire::Http { client, base: "http://postern".to_owned() }, token: None })
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Ok(Self::stopped(directory, Opened::Not))
            }
            Err(error) => Err(CliError::unreachable(format!("cannot use {}: {error}", socket.display()))
                .hint("the control socket is for the user who runs the bastion")),
        }
    }

    /// The bastion just made in a directory, whose ledger this begins.
    pub(crate) async fn begin(directory: &Path) -> Result<Self, CliError> {
        let router = Box::pin(serve::open_offline(directory)).await.map_err(CliError::failed)?;
        Ok(Self::stopped(directory, Opened::Change(router)))
    }

    fn stopped(directory: &Path, opened: Opened) -> Self {
        let stopped = Stopped { directory: directory.to_owned(), opened: Mutex::new(opened) };
        Self { wire: Wire::InProcess(stopped), token: None }
    }

    /// Whether a bastion that serves is at the other end.
    pub(crate) const fn is_served(&self) -> bool {
        matches!(self.wire, Wire::Http { .. })
    }

    /// Reads something.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, CliError> {
        self.call(Method::GET, path, None).await
    }

    /// Reads something of a known shape.
    pub(crate) async fn get_as<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        shaped(self.get(path).await?)
    }

    /// Does something.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Calls a route and reads its answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let bytes = self.whole(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|_| not_a_bastion())
    }

    /// Reads a text.
    pub(crate) async fn text(&self, path: &str) -> Result<String, CliError> {
        let bytes = self.whole(Method::GET, path, None).await?;
        String::from_utf8(bytes).map_err(|_| not_a_bastion())
    }

    /// Every item of a list, page by page. What is alive is on every page, and counted once.
    pub(crate) async fn items(&self, path: &str) -> Result<Vec<Value>, CliError> {
        let mut items = Vec::new();
        let mut seen = BTreeSet::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = match &cursor {
                None => self.get(path).await?,
                Some(cursor) => self.get(&format!("{path}{separator}before={}", segment(cursor))).await?,
            };
            let page: Page = shaped(page)?;
            items.extend(page.items.into_iter().filter(|item| seen.insert(item.to_string())));
            if page.next.is_none() || page.next == cursor {
                break;
            }
            cursor = page.next;
        }
        Ok(items)
    }

    /// A stream of bytes: a recording, or events as they happen.
    pub(crate) async fn stream(&self, path: &str) -> Result<Stream, CliError> {
        self.send(Method::GET, path, None).await
    }

    async fn whole(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Vec<u8>, CliError> {
        gather(self.send(method, path, body).await?).await
    }

    /// Sends a call; the answer is a stream when it is a yes, and an error with the bastion's words when not.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Stream, CliError> {
        let (status, stream) = match &self.wire {
            Wire::Http { client, base } => {
                let mut request = client.request(method, format!("{base}{PREFIX}{path}"));
                if let Some(token) = &self.token {
                    request = request.bearer_auth(token.expose());
                }
                if let Some(body) = body {
                    request = request.json(body);
                }
                let sent = tokio::time::timeout(PATIENCE, request.send()).await;
                let answer = sent.map_err(|_| CliError::unreachable("the bastion does not answer"))?;
                let answer = answer.map_err(|error| unreachable(&error, base))?;
                let broken = |error| CliError::unreachable(format!("the answer broke off: {error}"));
                (answer.status(), answer.bytes_stream().map(move |p| p.map_err(broken)).boxed())
            }
            Wire::InProcess(stopped) => {
                let router = stopped.router(&method, path).await?;
                let text = body.map(Value::to_string).unwrap_or_default();
                let request = Request::builder()
                    .method(method)
                    .uri(format!("{PREFIX}{path}"))
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Body::from(text))
                    .map_err(CliError::usage)?;
                let answer = router.oneshot(request).await.map_err(CliError::failed)?;
                let stream = answer.into_parts();
                let body = stream.1.into_data_stream().map(|p| p.map_err(CliError::failed)).boxed();
                (stream.0.status, body)
            }
        };
        if status.is_success() { Ok(stream) } else { Err(refusal(status, &gather(stream).await?)) }
    }
}

impl Stopped {
    /// The API for a call, in a directory opened for what the call does.
    async fn router(&self, method: &Method, path: &str) -> Result<Router, CliError> {
        let mut opened = self.opened.lock().await;
        match &*opened {
            Opened::Change(router) => return Ok(router.clone()),
            Opened::Read(router) if !leaves_entry(method, path) => return Ok(router.clone()),
            Opened::Read(_) | Opened::Not => {}
        }
        // Opening reads the whole ledger, so it is opened once where the first call changes something already.
        if matches!(*opened, Opened::Not) && !leaves_entry(method, path) {
            let router = serve::look_offline(&self.directory).map_err(CliError::failed)?;
            *opened = Opened::Read(router.clone());
            return Ok(router);
        }
        // Whoever reads keeps those out who change something, also this process.
        *opened = Opened::Not;
        let router = Box::pin(serve::open_offline(&self.directory)).await.map_err(CliError::failed)?;
        *opened = Opened::Change(router.clone());
        Ok(router)
    }
}

/// A part of a path that somebody typed: nothing of it can be another part or a query.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    // A dot alone is a direction in a path, not a name.
    if matches!(text, "." | "..") { encoded.replace('.', "%2E") } else { encoded }
}

/// A value as something of a known shape.
pub(crate) fn shaped<T: DeserializeOwned>(value: Value) -> Result<T, CliError> {
    serde_json::from_value(value).map_err(|error| {
        CliError::failed(format!("the bastion's answer has an unexpected shape: {error}"))
            .hint("this command and the bastion may be of different versions: compare 'postern --version' with 'postern status'")
    })
}

#[derive(serde::Deserialize)]
struct Page {
    items: Vec<Value>,
    next: Option<String>,
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().connect_timeout(CONNECT).redirect(reqwest::redirect::Policy::none())
}

async fn gather(mut stream: Stream) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() > LONGEST_ANSWER {
            return Err(CliError::failed("the answer is longer than any answer should be"));
        }
    }
    Ok(bytes)
}

fn not_a_bastion() -> CliError {
    CliError::failed("the answer is not a bastion's").hint("is the address right? it is the API's, not SSH's")
}

fn unreachable(error: &reqwest::Error, base: &str) -> CliError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let words = cause.to_string();
    if words.contains("certificate") {
        // It was reached, and is not trusted: trying again, as scripts do with what is unreachable, would not help.
        return CliError::failed(format!("{base} shows another certificate than the one you logged in to"))
            .hint("if the bastion got a new one, compare the fingerprint with its operator and run 'postern login' again");
    }
    CliError::unreachable(format!("cannot reach {base}: {words}"))
        .hint("is it running? 'postern doctor --dir DIRECTORY' on its machine says more")
}

/// The bastion's no, in its own words.
fn refusal(status: StatusCode, body: &[u8]) -> CliError {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| value.pointer(&format!("/error/{name}")).and_then(Value::as_str);
    let message = text("message").map_or_else(|| format!("the bastion answered {status}"), str::to_owned);
    let error = match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => CliError::refused(message),
        _ => CliError::failed(message),
    };
    let error = match text("code") {
        Some(code) => error.coded(code),
        None => error,
    };
    match text("hint") {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_types_stays_one_part_of_a_path() {
        for (text, encoded) in
            [("ses_ab2", "ses_ab2"), ("../x?y=1#z", "..%2Fx%3Fy%3D1%23z"), ("..", "%2E%2E"), ("ä", "%C3%A4")]
        {
            assert_eq!(segment(text), encoded);
        }
    }

    #[test]
    fn a_refusal_keeps_the_bastions_words_and_hint() {
        let body = br#"{"error":{"code":"refused","message":"not yours","hint":"ask bob"}}"#;
        let error = refusal(StatusCode::FORBIDDEN, body);
        assert_eq!((error.to_string().as_str(), error.next_step()), ("not yours", Some("ask bob")));
        assert!(refusal(StatusCode::BAD_GATEWAY, b"<html>").to_string().contains("502"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable() {
        let client = Client::pinned("https://127.0.0.1:1", "SHA256:x").unwrap();
        let error = client.get("/status").await.unwrap_err();
        assert_eq!(error.code(), CliError::unreachable("").code());
    }
}
