//! Probes and metrics.

use std::time::SystemTime;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Admin, Phase, answer::Answer, call::Call, status::timestamp};

/// What `/health` says.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    /// Always `healthy`.
    status: &'static str,
    /// When it was asked, RFC 3339.
    timestamp: String,
    /// The version of maitred.
    version: &'static str,
}

/// What `/ready` says.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Readiness {
    /// `starting`, `ready` or `draining`.
    status: &'static str,
}

impl Readiness {
    pub(crate) fn of(phase: Phase) -> Self {
        Self { status: phase.as_str() }
    }
}

pub(super) fn health(admin: &Admin, _: &Call) -> Answer {
    let timestamp = timestamp(SystemTime::now());
    Answer::ok(&Health { status: "healthy", timestamp, version: admin.build.version })
}

pub(super) fn ready(admin: &Admin, _: &Call) -> Answer {
    let phase = admin.readiness();
    let status = if phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::json(status, &Readiness::of(phase))
}

pub(super) fn metrics(admin: &Admin, _: &Call) -> Answer {
    Answer::prometheus(admin.metrics.encode())
}
