//! The end of an object in a bucket.
//!
//! Where a bucket keeps versions, and one with object lock does, deleting a name only hides it: the bytes go when their
//! version is named. The library cannot name one, so these requests are put together here and signed by it. An object is
//! gone when the store itself says so after the last removal, and not before.

use std::time::Duration;

use object_store::HeaderValue;
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody, HttpResponse};
use object_store::path::Path;
use object_store::signer::Signer as _;
use reqwest::Method;

use super::bucket::told;
use super::fault::Fault;
use super::place::Removal;
use crate::model::Timestamp;

/// Where the store says until when it keeps an object, and whether it does so without an end.
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const LEGAL_HOLD: &str = "x-amz-object-lock-legal-hold";
/// Which version an answer is about, and whether that only hides what was there.
const VERSION: &str = "x-amz-version-id";
const MARKER: &str = "x-amz-delete-marker";
/// Versions of one object that are removed at one go.
const MOST: usize = 100;
/// How much of an answer is kept, in bytes.
const LONGEST: usize = 4 << 10;
/// For how long an address that is only taken apart is signed.
const SIGNED: Duration = Duration::from_secs(60);

/// Requests of our own to a bucket.
pub(super) struct Raw<'a> {
    pub(super) store: &'a AmazonS3,
    pub(super) client: &'a HttpClient,
    pub(super) region: &'a str,
}

/// What is under a name now.
pub(super) enum Seen {
    /// An object: its version, where the bucket keeps any, and when it was made.
    There(Option<String>, Option<Timestamp>),
    /// A delete marker, with its version: what it hides is kept.
    Hidden(Option<String>),
    /// Nothing, by the store's own word.
    Gone,
    /// The store does not tell whether there is anything.
    Barred,
}

impl Raw<'_> {
    /// Removes every version of an object; `locked` is until when one that was made then is locked, as far as is known
    /// here.
    pub(super) async fn remove(
        &self,
        key: &Path,
        locked: impl Fn(Timestamp) -> Option<Timestamp>,
    ) -> Result<Removal, Fault> {
        let kept = |why: &str| Ok(Removal::Kept { why: why.to_owned(), until: None });
        for _ in 0..MOST {
            let (version, until) = match self.look(key).await? {
                Seen::There(version, made) => (version, made.and_then(&locked)),
                Seen::Hidden(Some(version)) => (Some(version), None),
                Seen::Hidden(None) => {
                    return kept("a delete marker hides it, and the store does not name that");
                }
                Seen::Gone => return Ok(Removal::Gone),
                // Who may not list what is in a bucket is told so of what is gone, too.
                Seen::Barred => return kept("the store says that it may not be read, or is gone"),
            };
            if let Some(kept) = self.remove_one(key, version.as_deref(), until).await? {
                return Ok(kept);
            }
        }
        Err(Fault::Refused(format!("the store still has something of that name after {MOST} removals")))
    }

    /// What is there, where a 404 counts as the store's only if it is about this object: whatever stands between may
    /// answer so, and so does a bucket that is gone.
    pub(super) async fn look(&self, key: &Path) -> Result<Seen, Fault> {
        let answer = self.send(Method::HEAD, key, None).await?;
        let status = answer.status().as_u16();
        match status {
            200..=299 => {
                let made = header(&answer, "last-modified");
                let made = made.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
                let made = made.map(|made| made.timestamp());
                Ok(Seen::There(header(&answer, VERSION).map(str::to_owned), made))
            }
            404 if is_marker(&answer) => Ok(Seen::Hidden(header(&answer, VERSION).map(str::to_owned))),
            404 => self.look_again(key).await,
            401 | 403 => Ok(Seen::Barred),
            _ => Err(Fault::answered(status, &format!("the store answers {status}"))),
        }
    }

    /// The answer to a HEAD has no words.
    async fn look_again(&self, key: &Path) -> Result<Seen, Fault> {
        let answer = self.send(Method::GET, key, None).await?;
        let status = answer.status().as_u16();
        if (200..=299).contains(&status) {
            return Err(Fault::Transient("the store says that it is there, and that it is not".to_owned()));
        }
        if status == 404 && is_marker(&answer) {
            return Ok(Seen::Hidden(header(&answer, VERSION).map(str::to_owned)));
        }
        let text = text(answer).await;
        match status {
            404 if text.contains("<Code>NoSuchKey</Code>") => Ok(Seen::Gone),
            404 => Err(strange(&text)),
            401 | 403 => Ok(Seen::Barred),
            _ => Err(Fault::answered(status, &told(&text))),
        }
    }

    /// Removes one version; what the store says when it keeps it.
    async fn remove_one(
        &self,
        key: &Path,
        version: Option<&str>,
        locked: Option<Timestamp>,
    ) -> Result<Option<Removal>, Fault> {
        let answer = self.send(Method::DELETE, key, version).await?;
        let status = answer.status().as_u16();
        let text = text(answer).await;
        let words = told(&text);
        let is_kept = match status {
            200..=299 => return Ok(None),
            404 if text.contains("<Code>NoSuchKey</Code>") || text.contains("<Code>NoSuchVersion</Code>") => {
                return Ok(None);
            }
            404 => return Err(strange(&text)),
            // A lock, or credentials that may not delete: both keep this object, and neither keeps others from being
            // moved. Some stores say so as a bad request.
            403 | 405 | 409 => true,
            400 => matches!(Fault::answered(status, &words), Fault::Refused(_)),
            _ => false,
        };
        if !is_kept {
            return Err(Fault::answered(status, &words));
        }
        let (until, is_held) = self.lock(key, version).await;
        let why = match (is_held, words.as_str()) {
            (true, _) => format!("the store holds it: {words}"),
            (false, "") => format!("the store answers {status}"),
            (false, words) => words.to_owned(),
        };
        Ok(Some(Removal::Kept { why, until: until.or(locked) }))
    }

    /// Until when the store says it keeps an object, and whether it holds it beyond that.
    async fn lock(&self, key: &Path, version: Option<&str>) -> (Option<Timestamp>, bool) {
        let Ok(answer) = self.send(Method::HEAD, key, version).await else { return (None, false) };
        let until = header(&answer, UNTIL).and_then(|text| text.parse().ok());
        (until, header(&answer, LEGAL_HOLD) == Some("ON"))
    }

    async fn send(&self, method: Method, key: &Path, version: Option<&str>) -> Result<HttpResponse, Fault> {
        let later = |error: &dyn std::fmt::Display| Fault::Transient(error.to_string());
        // The only way the library gives an object's address away is as one that is signed already.
        let signed = self.store.signed_url(method.clone(), key, SIGNED).await.map_err(|e| later(&e))?;
        let mut address = signed;
        address.set_query(None);
        if let Some(version) = version {
            address.query_pairs_mut().append_pair("versionId", version);
        }
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        if method == Method::GET {
            request.headers_mut().insert("range", HeaderValue::from_static("bytes=0-0"));
        }
        *request.method_mut() = method;
        *request.uri_mut() = address.as_str().parse().map_err(|error| Fault::Barred(format!("{error}")))?;
        let credential = self.store.credentials().get_credential().await.map_err(|e| later(&e))?;
        let authorizer = AwsAuthorizer::new(&credential, "s3", self.region);
        authorizer.try_authorize(&mut request, None).map_err(|error| Fault::Barred(error.to_string()))?;
        self.client.execute(request).await.map_err(|error| later(&error))
    }
}

fn header<'a>(answer: &'a HttpResponse, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

fn is_marker(answer: &HttpResponse) -> bool {
    header(answer, MARKER) == Some("true")
}

/// A 404 that says nothing of the object.
fn strange(text: &str) -> Fault {
    Fault::Transient(format!("no word on the object, but a 404: {}", told(text)))
}

/// What the store says.
async fn text(answer: HttpResponse) -> String {
    let Ok(bytes) = answer.into_body().bytes().await else { return String::new() };
    String::from_utf8_lossy(bytes.get(..LONGEST.min(bytes.len())).unwrap_or_default()).into_owned()
}
