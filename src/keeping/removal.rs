//! The end of an object in a bucket.
//!
//! Where a bucket keeps versions, and one with object lock does, deleting a name only hides it: the bytes go when their
//! version is named. The library cannot name one, so these requests are put together here and signed by it.

use std::time::Duration;

use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody, HttpResponse};
use object_store::path::Path;
use object_store::signer::Signer as _;
use reqwest::Method;

use super::fault::Fault;
use super::place::Removal;
use crate::model::Timestamp;

/// Where the store says until when it keeps an object, and whether it does so without an end.
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const LEGAL_HOLD: &str = "x-amz-object-lock-legal-hold";
/// How much of an answer is read, in bytes.
const LONGEST: usize = 4 << 10;
/// For how long an address that is only taken apart is signed.
const SIGNED: Duration = Duration::from_secs(60);

/// Requests of our own to a bucket.
pub(super) struct Raw<'a> {
    pub(super) store: &'a AmazonS3,
    pub(super) client: &'a HttpClient,
    pub(super) region: &'a str,
}

impl Raw<'_> {
    /// Removes one version of an object; `locked` is until when it was locked, as far as is known here.
    pub(super) async fn remove(
        &self,
        key: &Path,
        version: Option<&str>,
        locked: Option<Timestamp>,
    ) -> Result<Removal, Fault> {
        let answer = self.send(Method::DELETE, key, version).await?;
        let status = answer.status().as_u16();
        let words = words(answer).await;
        let is_kept = match status {
            200..=299 | 404 => return Ok(Removal::Gone),
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
        Ok(Removal::Kept { why, until: until.or(locked) })
    }

    /// Until when the store says it keeps an object, and whether it holds it beyond that.
    async fn lock(&self, key: &Path, version: Option<&str>) -> (Option<Timestamp>, bool) {
        let Ok(answer) = self.send(Method::HEAD, key, version).await else { return (None, false) };
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        (header(UNTIL).and_then(|text| text.parse().ok()), header(LEGAL_HOLD) == Some("ON"))
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
        *request.method_mut() = method;
        *request.uri_mut() = address.as_str().parse().map_err(|error| Fault::Barred(format!("{error}")))?;
        let credential = self.store.credentials().get_credential().await.map_err(|e| later(&e))?;
        let authorizer = AwsAuthorizer::new(&credential, "s3", self.region);
        authorizer.try_authorize(&mut request, None).map_err(|error| Fault::Barred(error.to_string()))?;
        self.client.execute(request).await.map_err(|error| later(&error))
    }
}

/// What the store says, on one line.
async fn words(answer: HttpResponse) -> String {
    let Ok(bytes) = answer.into_body().bytes().await else { return String::new() };
    let text = String::from_utf8_lossy(bytes.get(..LONGEST.min(bytes.len())).unwrap_or_default());
    super::bucket::told(&text)
}
