//! The front: which part of the node answers a request. One listener, told apart by path.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use posthouse_gateway::cmq::{CmqError, RawCall, is_api_path};
use tower_service::Service;

use crate::bodies::{self, BodyError, Held, Room, read_body};
use crate::broker::{Broker, Leases};
use crate::cmq::{Cmq, Reply, TOKEN_HEADER};
use crate::listener::{Handler, OnceWritten, ReplyBody};

/// Answers every request of the listener. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    cmq: Cmq,
    admin: axum::Router,
    broker: Broker,
    bounds: Arc<Bounds>,
}

/// Bounds on requests.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The largest body of a CMQ request.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Room for all bodies of requests and replies.
    pub room: Room,
}

/// A reply's body that gives leases back unless it was written.
struct Handed {
    bytes: Option<Bytes>,
    leases: Option<Leases>,
    held: Held,
    once_written: OnceWritten,
}

// === impl Front ===

impl Front {
    /// Returns the front of a broker.
    pub fn new(broker: Broker, cmq: Cmq, admin: axum::Router, bounds: Bounds) -> Front {
        Front {
            cmq,
            admin,
            broker,
            bounds: Arc::new(bounds),
        }
    }

    async fn cmq(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let (mut head, body) = request.into_parts();
        let once_written = head.extensions.remove().unwrap_or_default();
        let Bounds {
            body_bytes_max,
            body_timeout,
            room,
        } = &*self.bounds;
        let bodies::Body { bytes: body, held } =
            match read_body(body, *body_bytes_max, *body_timeout, room).await {
                Ok(body) => body,
                Err(error) => return self.unread(error, once_written),
            };
        let host = head
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .or(head.uri.authority().map(|authority| authority.as_str()));
        let token = head
            .headers
            .get(TOKEN_HEADER)
            .map(|token| token.to_str().unwrap_or_default());
        let raw = RawCall {
            method: head.method.as_str(),
            host,
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default().as_bytes(),
            body: &body,
        };
        let reply = self.cmq.answer(raw, token).await;
        drop(held);
        match room.take(reply.body.len()) {
            Ok(held) => written(reply, held, once_written),
            // What was leased with it is given back.
            Err(error) => {
                let error = CmqError::not_done(&error.to_string());
                written(self.cmq.refuse_unread(error), Held::default(), once_written)
            }
        }
    }

    /// Answers a request whose body was not taken in. Where it was not even read to its end, the connection cannot be
    /// used again.
    fn unread(&self, error: BodyError, once_written: OnceWritten) -> Response<ReplyBody> {
        let (refusal, is_over) = match error {
            BodyError::TooLarge { .. } | BodyError::TooSlow | BodyError::Broken => {
                (CmqError::cannot_parse("body").because(&error.to_string()), true)
            }
            BodyError::NoRoom => (CmqError::not_done(&error.to_string()), false),
        };
        let mut response = written(self.cmq.refuse_unread(refusal), Held::default(), once_written);
        if is_over {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn admin(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let mut router = self.admin.clone();
        let response = match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        // Bodies of the admin API are in memory already: collecting them cannot fail.
        let bytes = body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        Response::from_parts(head, plain(bytes))
    }

    async fn ready(&self) -> Response<ReplyBody> {
        match self.broker.unready().await {
            None => text(StatusCode::OK, "ready\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
        }
    }
}

impl Handler for Front {
    async fn handle(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let path = request.uri().path();
        match path {
            "/healthz" => text(StatusCode::OK, "alive\n"),
            "/readyz" => self.ready().await,
            "/metrics" => {
                self.broker.observe_metrics();
                self.broker.metrics.observe_bodies(self.bounds.room.held_bytes());
                let mut response = text(StatusCode::OK, &self.broker.metrics.encode());
                response.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
                );
                response
            }
            _ if path.starts_with(crate::admin::ROOT_PATH) => self.admin(request).await,
            _ if is_api_path(path) => self.cmq(request).await,
            _ => text(
                StatusCode::NOT_FOUND,
                "nothing here; CMQ's API is at /v2/index.php\n",
            ),
        }
    }
}

fn written(reply: Reply, held: Held, once_written: OnceWritten) -> Response<ReplyBody> {
    let length = reply.body.len();
    let body = Handed {
        bytes: Some(reply.body),
        leases: reply.leases,
        held,
        once_written,
    };
    let mut response = Response::new(body.boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn plain(bytes: Bytes) -> ReplyBody {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

fn text(status: StatusCode, text: &str) -> Response<ReplyBody> {
    let mut response = Response::new(plain(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

// === impl Handed ===

impl Body for Handed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(bytes) = self.bytes.take() else {
            return Poll::Ready(None);
        };
        let (leases, held) = (self.leases.take(), std::mem::take(&mut self.held));
        if leases.is_some() || held.is_any() {
            self.once_written.then(move || {
                if let Some(mut leases) = leases {
                    leases.keep();
                }
                drop(held);
            });
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
