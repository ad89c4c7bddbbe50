//! From the route table to a router: who is calling, may they, run the handler under a deadline.
//!
//! Whoever accepts connections puts a [`Peer`] on every request. A request without one is nobody's: forgetting it locks
//! people out and lets nobody in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, RawPathParams, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};

use super::call::{Call, Reply, Who};
use super::error::ApiError;
use super::gate::{Context, Gate};
use super::openapi;
use super::routes::{Guard, PREFIX, ROUTES, Route};
use crate::model::Secret;
use crate::playback::escape_text;
use crate::policy::Resource;

/// Largest body read, in bytes.
const LARGEST_BODY: usize = 1024 * 1024;
/// Largest body read from somebody who has not signed in.
const LARGEST_OPEN_BODY: usize = 16 * 1024;
/// How long one call may take before its answer begins.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where a request comes from: an address for HTTPS, `None` for the control socket or a call in process, which is the
/// machine's operator. To be put on every request as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<SocketAddr>);

/// The API as a router.
pub fn router(context: Context) -> Router {
    let gate = Gate::new(context);
    let mut router = Router::new();
    for route in ROUTES {
        let gate = Arc::clone(&gate);
        let handler =
            move |params: RawPathParams, query: Query<BTreeMap<String, String>>, request: Request| {
                serve(gate, route, params, query.0, request)
            };
        router = router.route(&format!("{PREFIX}{}", route.path), on(filter(&route.method), handler));
    }
    router
        .route(&format!("{PREFIX}/openapi.json"), get(|| async { axum::Json(openapi::document()) }))
        .fallback(|| async { ApiError::not_found("page").into_response() })
        .method_not_allowed_fallback(|| async { StatusCode::METHOD_NOT_ALLOWED })
        .layer(axum::middleware::map_response(harden))
}

async fn serve(
    gate: Arc<Gate>,
    route: &'static Route,
    params: RawPathParams,
    query: BTreeMap<String, String>,
    request: Request,
) -> Response {
    let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let answer = tokio::time::timeout(DEADLINE, answer(gate, route, params, query, request)).await;
    answer.unwrap_or_else(|_| Err(ApiError::too_slow())).into_response()
}

async fn answer(
    gate: Arc<Gate>,
    route: &'static Route,
    params: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    request: Request,
) -> Result<Reply, ApiError> {
    let (head, body) = request.into_parts();
    let peer = head.extensions.get::<Peer>().copied();
    let token = bearer(&head.headers)?;
    let who = who(&gate, peer, token.as_ref().map(|token| token.expose().as_str()), &route.guard)?;
    let mut call = Call {
        gate,
        who,
        peer: peer.and_then(|peer| peer.0).map(|address| address.ip()),
        token,
        params,
        query,
        body: Bytes::new(),
    };
    match &route.guard {
        Guard::Open => {}
        Guard::SignedIn | Guard::Object(_) => call.actor().map(|_| ())?,
        Guard::Bastion(action) => call.ask(action, Resource::Bastion)?,
    }
    if let Some(name) = call.query.keys().find(|name| route.query.iter().all(|(known, ..)| known != name)) {
        return Err(ApiError::bad_input(format!("{} is not in this route's query", escape_text(name))));
    }
    // Only now: a stranger's megabyte is not read.
    let largest = if matches!(route.guard, Guard::Open) { LARGEST_OPEN_BODY } else { LARGEST_BODY };
    call.body = axum::body::to_bytes(body, largest).await.map_err(|_| ApiError::too_large())?;
    (route.handler)(call).await
}

/// Who is calling. A token says who, wherever it is used; without one, the control socket is the machine's operator.
fn who(gate: &Gate, peer: Option<Peer>, token: Option<&str>, guard: &Guard) -> Result<Who, ApiError> {
    match (token, peer) {
        (_, _) if matches!(guard, Guard::Open) => Ok(Who::Nobody),
        (Some(token), _) => {
            let who = gate.parts.authenticator.by_token(token, &gate.tokens)?;
            Ok(Who::Person(Box::new(who)))
        }
        (None, Some(Peer(None))) => Ok(Who::Operator),
        (None, Some(Peer(Some(_))) | None) => Ok(Who::Nobody),
    }
}

/// The bearer token, if one is given; anything else in that header is a mistake worth naming.
fn bearer(headers: &HeaderMap) -> Result<Option<Secret<String>>, ApiError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| text.split_once(' '));
    let token =
        token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    match (token, given.next()) {
        (Some(token), None) => Ok(Some(Secret::new(token.to_owned()))),
        (None, _) | (Some(_), Some(_)) => Err(ApiError::signed_out()),
    }
}

/// No answer is a page, is cached, or is framed.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &str); 4] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn filter(method: &Method) -> MethodFilter {
    MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET)
}
