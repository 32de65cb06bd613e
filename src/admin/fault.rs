//! Answers that are none: one shape for all of them.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::wire::{ErrorBody, ErrorDetail};
use crate::control::CommandError;

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Vec<String>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Vec::new() }
    }

    /// The request cannot be understood.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// Whether a token would help.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// The request is understood, and faulty.
    pub(super) fn invalid(message: impl Into<String>, details: Vec<String>) -> Self {
        let fault = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message);
        Self { details, ..fault }
    }
}

impl From<CommandError> for Fault {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        match error {
            CommandError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            CommandError::Invalid(faults) => Self::invalid(message, faults),
            CommandError::Conflict { .. } => Self::new(StatusCode::CONFLICT, "conflict", message),
            CommandError::NotDurable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_durable", message)
            }
            CommandError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message),
            CommandError::Stopped => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", message),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self { status, code, message, details } = self;
        let error = ErrorDetail { code: code.to_owned(), message, details };
        (status, Json(ErrorBody { error })).into_response()
    }
}
