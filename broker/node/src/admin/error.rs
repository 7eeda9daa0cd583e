//! What the admin API answers instead of what was asked for: a stable code and a text for people.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why an admin request was not done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// What went wrong, for programs.
    pub code: AdminCode,
    /// What went wrong, for people.
    pub message: String,
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdminCode {
    /// The request is not well formed, or a value is out of bounds.
    Malformed,
    /// The request is not signed, or not by a key that is served.
    Unauthenticated,
    /// The key may not do that.
    Forbidden,
    /// No such route.
    NoRoute,
    /// What the request names does not exist.
    NotFound,
    /// What the request makes exists.
    Exists,
    /// The state of what is named does not allow it.
    Conflict,
    /// A quota or bound is reached.
    LimitReached,
    /// A body is too large.
    TooLarge,
    /// Too many requests at once or a second. Try again later.
    Throttled,
    /// A plugin refused or failed.
    PluginFailed,
    /// Not done, and it can be tried again: no leader or no majority, or the disk is nearly full.
    NotDone,
    /// It may have been done or not: the answer was lost.
    MayBeDone,
}

// === impl AdminError ===

impl AdminError {
    /// Returns an error with this code and message.
    pub fn new(code: AdminCode, message: impl Into<String>) -> AdminError {
        AdminError {
            code,
            message: message.into(),
        }
    }

    /// Returns that the request is not well formed.
    pub fn malformed(message: impl Into<String>) -> AdminError {
        AdminError::new(AdminCode::Malformed, message)
    }

    /// Returns that what the request names does not exist.
    pub fn not_found(message: impl Into<String>) -> AdminError {
        AdminError::new(AdminCode::NotFound, message)
    }

    /// Returns that the key may not do that.
    pub fn forbidden(message: impl Into<String>) -> AdminError {
        AdminError::new(AdminCode::Forbidden, message)
    }

    /// Returns that the state of what is named does not allow it.
    pub fn conflict(message: impl Into<String>) -> AdminError {
        AdminError::new(AdminCode::Conflict, message)
    }

    /// Returns that it was not done and can be tried again.
    pub fn not_done(message: impl Into<String>) -> AdminError {
        AdminError::new(AdminCode::NotDone, message)
    }

    /// Returns that it may have been done.
    pub fn may_be_done(message: impl Into<String>) -> AdminError {
        AdminError::new(AdminCode::MayBeDone, message)
    }
}

// === impl AdminCode ===

impl AdminCode {
    /// Returns the HTTP status that goes with it.
    pub fn status(self) -> StatusCode {
        match self {
            AdminCode::Malformed => StatusCode::BAD_REQUEST,
            AdminCode::Unauthenticated => StatusCode::UNAUTHORIZED,
            AdminCode::Forbidden => StatusCode::FORBIDDEN,
            AdminCode::NoRoute | AdminCode::NotFound => StatusCode::NOT_FOUND,
            AdminCode::Exists | AdminCode::Conflict | AdminCode::LimitReached => StatusCode::CONFLICT,
            AdminCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            AdminCode::Throttled => StatusCode::TOO_MANY_REQUESTS,
            AdminCode::PluginFailed => StatusCode::UNPROCESSABLE_ENTITY,
            AdminCode::NotDone => StatusCode::SERVICE_UNAVAILABLE,
            AdminCode::MayBeDone => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        (self.code.status(), Json(self)).into_response()
    }
}
