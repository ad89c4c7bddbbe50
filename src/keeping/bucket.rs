//! A bucket in a store that speaks S3.
//!
//! Every write is conditional (`If-None-Match: *`), so no object is ever replaced. Headers for a whole kind of request
//! are given to a client of its own, since only so does the signature cover them: what makes an object carries its lock,
//! what completes an upload its condition. Read next: `place.rs`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::client::{HttpClient, HttpConnector};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, HeaderMap, HeaderValue, ObjectStore as _, ObjectStoreExt as _,
    PutMode, PutOptions, PutPayload, RetryConfig,
};

use super::fault::Fault;
use super::place::{Credential, Removal, Stream};
use super::removal::{Raw, Seen};
use crate::config::{Lock, RecordingStore};
use crate::model::{Clock, Timestamp};

/// Tries of one request within a few seconds; later ones are the caller's affair.
const TRIES: usize = 2;
const TRYING: Duration = Duration::from_secs(10);
/// The longest text of a store's answer that is kept.
const LONGEST: usize = 300;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The bucket.
pub(super) struct Bucket {
    /// For everything but making an object and completing an upload.
    plain: AmazonS3,
    completing: AmazonS3,
    builder: AmazonS3Builder,
    /// What makes objects with a lock, and until when that lock lasts.
    locking: Mutex<Option<(i64, Arc<AmazonS3>)>>,
    prefix: String,
    lock: Option<(Lock, i64)>,
    clock: Clock,
    client: HttpClient,
    region: String,
}

/// Gives every client the one connection pool, with our TLS.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Bucket {
    /// A bucket as it is configured; `credentials` are `NAME=VALUE` lines, and the environment's where there are none.
    pub(super) fn open(
        bucket: &str,
        prefix: &str,
        config: &RecordingStore,
        credentials: &[Credential],
        client: reqwest::Client,
        clock: Clock,
    ) -> Result<Self, Fault> {
        let unusable = |error: Error| Fault::Barred(short(&error));
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_region(&config.region)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(RetryConfig {
                max_retries: TRIES,
                retry_timeout: TRYING,
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(100),
                    max_backoff: Duration::from_secs(2),
                    base: 2.0,
                },
            })
            .with_http_connector(Connector(client.clone()));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        // The library keeps its own copies, which are not wiped.
        for (name, value) in credentials {
            let value = value.expose();
            builder = match name.as_str() {
                "AWS_ACCESS_KEY_ID" => builder.with_access_key_id(value),
                "AWS_SECRET_ACCESS_KEY" => builder.with_secret_access_key(value),
                "AWS_SESSION_TOKEN" => builder.with_token(value),
                _ => builder,
            };
        }
        let mut condition = HeaderMap::new();
        condition.insert("if-none-match", HeaderValue::from_static("*"));
        Ok(Self {
            plain: builder.clone().build().map_err(unusable)?,
            completing: with_headers(&builder, condition).map_err(unusable)?,
            builder,
            locking: Mutex::default(),
            prefix: prefix.to_owned(),
            lock: config.lock.map(|lock| (lock, i64::from(config.lock_days).saturating_mul(DAY))),
            clock,
            client: HttpClient::new(client),
            region: config.region.clone(),
        })
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Fault> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.making()?.put_opts(&self.key(name), PutPayload::from(bytes), options).await;
        put.map(drop).map_err(|error| fault(&error))
    }

    pub(super) async fn begin(&self, name: &str) -> Result<String, Fault> {
        self.making()?.create_multipart(&self.key(name)).await.map_err(|error| fault(&error))
    }

    pub(super) async fn part(
        &self,
        name: &str,
        upload: &str,
        index: usize,
        bytes: Bytes,
    ) -> Result<String, Fault> {
        let (key, upload) = (self.key(name), upload.to_owned());
        let part = self.plain.put_part(&key, &upload, index, PutPayload::from(bytes)).await;
        part.map(|part| part.content_id).map_err(|error| fault(&error))
    }

    pub(super) async fn complete(&self, name: &str, upload: &str, parts: Vec<String>) -> Result<(), Fault> {
        let (key, upload) = (self.key(name), upload.to_owned());
        let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
        let completed = self.completing.complete_multipart(&key, &upload, parts).await;
        completed.map(drop).map_err(|error| fault(&error))
    }

    pub(super) async fn abort(&self, name: &str, upload: &str) -> Result<(), Fault> {
        let (key, upload) = (self.key(name), upload.to_owned());
        self.plain.abort_multipart(&key, &upload).await.map_err(|error| fault(&error))
    }

    pub(super) async fn size(&self, name: &str) -> Result<u64, Fault> {
        let key = self.key(name);
        match self.plain.head(&key).await.map_err(|error| fault(&error)) {
            Ok(object) => Ok(object.size),
            Err(Fault::Missing(words)) => Err(match self.raw().look(&key).await? {
                Seen::Gone => Fault::Missing(words),
                Seen::Hidden(_) => Fault::Refused("a delete marker hides it".to_owned()),
                Seen::Barred => Fault::Barred("it may not be read, or is gone".to_owned()),
                Seen::There(..) => {
                    Fault::Transient("the store says that it is not there, and that it is".to_owned())
                }
            }),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn read(&self, name: &str) -> Result<(u64, Stream), Fault> {
        let found = self.plain.get(&self.key(name)).await.map_err(|error| fault(&error))?;
        let size = found.meta.size;
        Ok((size, found.into_stream().map_err(std::io::Error::other).boxed()))
    }

    pub(super) async fn remove(&self, name: &str) -> Result<Removal, Fault> {
        let length_s = self.lock.map(|(_, length_s)| length_s);
        let locked = |made: Timestamp| {
            let until = Timestamp::from_second(made.as_second().saturating_add(length_s?)).ok()?;
            (until > self.clock.now()).then_some(until)
        };
        self.raw().remove(&self.key(name), locked).await
    }

    const fn raw(&self) -> Raw<'_> {
        Raw { store: &self.plain, client: &self.client, region: self.region.as_str() }
    }

    fn key(&self, name: &str) -> Path {
        if self.prefix.is_empty() { Path::from(name) } else { Path::from(format!("{}/{name}", self.prefix)) }
    }

    /// The client that makes objects, with a lock that begins now. One serves for all that is made in an hour.
    fn making(&self) -> Result<Arc<AmazonS3>, Fault> {
        let Some((lock, length_s)) = &self.lock else { return Ok(Arc::new(self.plain.clone())) };
        let until = self.clock.now().as_second().saturating_add(*length_s);
        let until = until.saturating_add(HOUR - 1).div_euclid(HOUR).saturating_mul(HOUR);
        let mut locking = self.locking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = locking.as_ref().filter(|(lasts, _)| *lasts == until) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(self.locked(*lock, until)?);
        *locking = Some((until, Arc::clone(&client)));
        Ok(client)
    }

    fn locked(&self, lock: Lock, until: i64) -> Result<AmazonS3, Fault> {
        let until = Timestamp::from_second(until).unwrap_or(Timestamp::MAX);
        let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut headers = HeaderMap::new();
        let mode = match lock {
            Lock::Compliance => "COMPLIANCE",
            Lock::Governance => "GOVERNANCE",
        };
        headers.insert("x-amz-object-lock-mode", HeaderValue::from_static(mode));
        if let Ok(until) = HeaderValue::from_str(&until) {
            headers.insert("x-amz-object-lock-retain-until-date", until);
        }
        with_headers(&self.builder, headers).map_err(|error| Fault::Barred(short(&error)))
    }
}

fn with_headers(builder: &AmazonS3Builder, headers: HeaderMap) -> Result<AmazonS3, Error> {
    let options = ClientOptions::new().with_default_headers(headers).with_allow_http(true);
    builder.clone().with_client_options(options).build()
}

fn fault(error: &Error) -> Fault {
    let words = short(error);
    if matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. }) {
        return Fault::Exists;
    }
    match status(&whole(error)) {
        Some(status) => Fault::answered(status, &words),
        None => Fault::Transient(words),
    }
}

/// The HTTP status an error speaks of; the library keeps it in its text alone.
fn status(words: &str) -> Option<u16> {
    let (_, rest) = words.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// The innermost words, without line ends and not too long: they end in the log and on a terminal.
fn short(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    told(&cause.to_string())
}

/// The code and message of a store's answer, or all of it where it has none.
pub(super) fn told(text: &str) -> String {
    let code = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(inside, _)| inside.to_owned())
    };
    let text = match (code(text, "Code"), code(text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => text.to_owned(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

fn whole(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        words.push_str(": ");
        words.push_str(&deeper.to_string());
        cause = deeper;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn generic(words: &str) -> Error {
        Error::Generic { store: "S3", source: words.to_owned().into() }
    }

    #[test]
    fn the_stores_code_and_message_are_kept_and_nothing_else() {
        let answer = "Server returned non-2xx status code: 403 Forbidden: <Error><Code>AccessDenied</Code>\
                      <Message>no\nway</Message><HostId>x</HostId></Error>";
        assert_eq!(short(&generic(answer)), "AccessDenied: no way");
        assert!(matches!(fault(&generic(answer)), Fault::Barred(_)));
        assert!(matches!(fault(&generic("connection refused")), Fault::Transient(_)));
        assert_eq!(short(&generic(&"x".repeat(999))).len(), LONGEST);
    }

    /// A bucket at a server that answers one request after another, and what those looked like.
    fn served(
        config: &RecordingStore,
        answers: Vec<String>,
    ) -> (Bucket, std::thread::JoinHandle<Vec<String>>) {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut heads = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
                    head.extend(byte);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                heads.push(String::from_utf8(head).unwrap());
            }
            heads
        });
        let config = RecordingStore { endpoint: Some(endpoint), ..config.clone() };
        let credentials = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        let credentials = credentials.map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned())));
        let clock = Clock::manual(Timestamp::from_second(1_800_000_000).unwrap());
        let client = super::super::upload::test_client();
        (Bucket::open("recordings", "a", &config, &credentials, client, clock).unwrap(), server)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    /// What one request looked like, to a server that says yes.
    async fn sent(config: &RecordingStore) -> String {
        let (bucket, server) = served(config, vec![answer("200 OK", "ETag: \"x\"\r\n", "")]);
        bucket.put("ses.pstn", Bytes::new()).await.unwrap();
        server.join().unwrap().remove(0)
    }

    #[tokio::test]
    async fn a_version_is_removed_by_its_name_and_a_refusal_is_told_with_the_locks_end() {
        let there =
            "Last-Modified: Fri, 15 Jan 2027 08:00:00 GMT\r\nETag: \"x\"\r\nx-amz-version-id: v+1\r\n";
        let locked = format!("{there}x-amz-object-lock-retain-until-date: 2030-01-01T00:00:00Z\r\n");
        let yes = |headers: &str| answer("200 OK", headers, "");
        let no =
            |status: &str, code: &str| answer(status, "", &format!("<Error><Code>{code}</Code></Error>"));
        let kept = |why: &str, until: Option<&str>| {
            Ok(Removal::Kept { why: why.to_owned(), until: until.map(|until| until.parse().unwrap()) })
        };
        let denied = || no("403 Forbidden", "AccessDenied");
        let removed = || answer("204 No Content", "", "");
        let gone = || vec![no("404 Not Found", ""), no("404 Not Found", "NoSuchKey")];
        let older = there.replace("v+1", "v+0");
        let marker = answer("404 Not Found", "x-amz-delete-marker: true\r\nx-amz-version-id: m\r\n", "");
        let nameless = answer("404 Not Found", "x-amz-delete-marker: true\r\n", "");
        let end = Some("2030-01-01T00:00:00Z");
        for (answers, expected) in [
            (gone(), Ok(Removal::Gone)),
            ([vec![yes(there), removed()], gone()].concat(), Ok(Removal::Gone)),
            ([vec![yes(there), removed(), yes(&older), removed()], gone()].concat(), Ok(Removal::Gone)),
            ([vec![marker, removed(), yes(there), removed()], gone()].concat(), Ok(Removal::Gone)),
            (vec![nameless], kept("a delete marker hides it, and the store does not name that", None)),
            (vec![denied()], kept("the store says that it may not be read, or is gone", None)),
            (
                vec![no("404 Not Found", ""), no("404 Not Found", "NoSuchBucket")],
                Err(Fault::Transient("no word on the object, but a 404: NoSuchBucket".to_owned())),
            ),
            (
                vec![no("404 Not Found", ""), answer("404 Not Found", "", "default backend - 404")],
                Err(Fault::Transient("no word on the object, but a 404: default backend - 404".to_owned())),
            ),
            (
                vec![yes(there), answer("404 Not Found", "", "default backend")],
                Err(Fault::Transient("no word on the object, but a 404: default backend".to_owned())),
            ),
            (vec![yes(there), denied(), yes(&locked)], kept("AccessDenied", end)),
            (
                vec![yes(there), no("400 Bad Request", "ObjectLocked"), yes(&locked)],
                kept("ObjectLocked", end),
            ),
            (vec![yes(there), denied(), denied()], kept("AccessDenied", None)),
            (vec![yes(there), no("503 Slow Down", "SlowDown")], Err(Fault::Transient("SlowDown".to_owned()))),
        ] {
            let (bucket, server) = served(&RecordingStore::default(), answers);
            assert_eq!(bucket.remove("ses.pstn").await, expected);
            for delete in server.join().unwrap().iter().filter(|request| request.starts_with("DELETE")) {
                let names = |version| {
                    delete.starts_with(&format!("DELETE /recordings/a/ses.pstn?versionId={version} "))
                };
                assert!(["v%2B1", "v%2B0", "m"].into_iter().any(names), "{delete}");
                assert!(
                    delete.contains("AWS4-HMAC-SHA256") && !delete.contains("X-Amz-Signature"),
                    "{delete}"
                );
            }
        }
        // Where the store does not say, what it was told when the object was made counts.
        let config =
            RecordingStore { lock: Some(Lock::Governance), lock_days: 2, ..RecordingStore::default() };
        let (bucket, server) = served(&config, vec![yes(there), denied(), denied()]);
        assert_eq!(bucket.remove("ses.pstn").await, kept("AccessDenied", Some("2027-01-17T08:00:00Z")));
        server.join().unwrap();
    }

    #[tokio::test]
    async fn a_write_is_conditional_and_a_lock_is_part_of_what_is_signed() {
        let head = sent(&RecordingStore::default()).await;
        assert!(
            head.starts_with("PUT /recordings/a/ses.pstn ") && head.contains("if-none-match: *"),
            "{head}"
        );
        assert!(
            !head.contains("object-lock") && head.contains("AWS4-HMAC-SHA256") && !head.contains("secret"),
            "{head}"
        );
        let locked =
            RecordingStore { lock: Some(Lock::Compliance), lock_days: 2, ..RecordingStore::default() };
        let head = sent(&locked).await;
        assert!(head.contains("x-amz-object-lock-mode: COMPLIANCE"), "{head}");
        assert!(head.contains("x-amz-object-lock-retain-until-date: 2027-01-17T08:00:00Z"), "{head}");
        let (_, signed) = head.split_once("SignedHeaders=").unwrap();
        let (signed, _) = signed.split_once(',').unwrap();
        for name in ["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"] {
            assert!(signed.split(';').any(|header| header == name), "{head}");
        }
    }
}
