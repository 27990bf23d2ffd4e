//! Everything that can be asked: one table, which requests are routed by and the documentation is made from.

mod cache;
mod change;
mod config;
mod find;
mod keys;
mod limits;
mod log;
mod look;
mod probe;
mod split;
mod traffic;

use std::{future::Future, pin::Pin, sync::Arc};

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

pub(crate) use find::{Found, find};
pub use keys::{ApiKey, FreshKey, KeyOrder, NoKey};
pub use limits::{Limit, LimitKey, LimitRule, Limited};
pub use traffic::{Bucket, Latency, Route, Upstream, UpstreamBackend};

use crate::{
    Admin, BackendOrder, Checked, Event, Explain, Generation, ReloadOrder, Reloaded, Sealed, UpgradeOrder, Upgraded,
    answer::Answer, call::Call, follow::Source, level, status,
};

/// One thing that can be asked.
pub(crate) struct Operation {
    pub(crate) verb: Verb,
    /// Its path; segments may be names in braces.
    pub(crate) path: &'static str,
    /// Its name in OpenAPI and in the audit log.
    pub(crate) name: &'static str,
    /// What it does, in one sentence.
    pub(crate) summary: &'static str,
    /// What the query may say. Elsewhere than below `/api/` anything is passed over, as probes and scrapers expect.
    pub(crate) query: &'static [Parameter],
    /// What the body may say.
    pub(crate) body: Option<Body>,
    /// What is answered when all is well.
    pub(crate) answer: Reply,
    /// Who carries it out.
    pub(crate) run: Run,
}

/// The methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// One parameter of a query.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
}

/// What a request may carry.
pub(crate) struct Body {
    pub(crate) media: &'static str,
    pub(crate) required: bool,
    pub(crate) limit: usize,
    pub(crate) schema: SchemaOf,
}

/// What is answered.
pub(crate) struct Reply {
    pub(crate) media: &'static str,
    pub(crate) about: &'static str,
    pub(crate) schema: SchemaOf,
}

/// The schema of a type.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a change comes to.
pub(crate) type Changed = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Who carries an operation out.
pub(crate) enum Run {
    /// Looks at something; may take a moment, and is kept off the threads that serve requests.
    Look(fn(&Admin, &Call) -> Answer),
    /// Changes nothing, but reads files and variables that the client names: needs what a change needs.
    LookInside(fn(&Admin, &Call) -> Answer),
    /// As `Look`, unless the client wants to be told of what comes.
    LookOrFollow(fn(&Admin, &Call) -> Answer, fn(&Admin, &Call) -> Result<Source, Answer>),
    /// Tells of what comes, and of nothing else.
    Follow(fn(&Admin, &Call) -> Result<Source, Answer>),
    /// Changes something: needs more than looking does, and is audited.
    Change(fn(Arc<Admin>, Call) -> Changed),
    /// As `Change`, of what only this process knows and a successor is told: refused while it may have been told already.
    Order(fn(Arc<Admin>, Call) -> Changed),
}

/// How much a JSON order may be.
const ORDER: usize = 64 * 1024;

/// How much a configuration may be.
const TEXT: usize = 1024 * 1024;

const JSON: &str = "application/json";

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn reply<T: JsonSchema>(about: &'static str) -> Reply {
    Reply { media: JSON, about, schema: of::<T> }
}

const fn order<T: JsonSchema>() -> Option<Body> {
    Some(Body { media: JSON, required: false, limit: ORDER, schema: of::<T> })
}

/// The table, in the order of the documentation.
pub(crate) static OPERATIONS: &[Operation] = &[
    Operation {
        verb: Verb::Get,
        path: "/health",
        name: "health",
        summary: "Says that the process lives.",
        query: &[],
        body: None,
        answer: reply::<probe::Health>("It lives."),
        run: Run::Look(probe::health),
    },
    Operation {
        verb: Verb::Get,
        path: "/ready",
        name: "ready",
        summary: "Says whether the server wants requests: 503 while it starts and while it drains.",
        query: &[],
        body: None,
        answer: reply::<probe::Readiness>("It serves."),
        run: Run::Look(probe::ready),
    },
    Operation {
        verb: Verb::Get,
        path: "/metrics",
        name: "metrics",
        summary: "Everything that is counted, for Prometheus.",
        query: &[],
        body: None,
        answer: Reply { media: "text/plain", about: "The text format of Prometheus.", schema: of::<String> },
        run: Run::Look(probe::metrics),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/status",
        name: "status",
        summary: "The server at a glance: version, uptime, load, listeners, backends, the last reload.",
        query: &[],
        body: None,
        answer: reply::<status::Report>("The status."),
        run: Run::Look(look::status),
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/reload",
        name: "reload",
        summary: "Applies the configuration file as it is now; 422 with every mistake when it is refused.",
        query: &[],
        body: order::<ReloadOrder>(),
        answer: reply::<Reloaded>("What changed."),
        run: Run::Change(change::reload),
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/confirm",
        name: "confirm",
        summary: "Keeps the configuration that was applied on trial.",
        query: &[],
        body: None,
        answer: reply::<Generation>("The generation that stays."),
        run: Run::Change(change::confirm),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/config",
        name: "config",
        summary: "The configuration in force with its defaults, secrets redacted; the ETag is the generation's.",
        query: &[
            Parameter { name: "format", about: "`json`, which is the default, or `toml`." },
            Parameter { name: "path", about: "Only this part: `routes.users`, or a JSON pointer." },
        ],
        body: None,
        answer: reply::<serde_json::Value>("The configuration."),
        run: Run::Look(config::effective),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/config/source",
        name: "source",
        summary: "The configuration in force as it is written, file by file, secrets redacted.",
        query: &[],
        body: None,
        answer: reply::<Vec<crate::Source>>("The files."),
        run: Run::Look(config::source),
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/config/check",
        name: "check",
        summary: "Says what is wrong with a configuration, and changes nothing.",
        query: &[],
        body: Some(Body { media: "application/toml", required: true, limit: TEXT, schema: of::<String> }),
        answer: reply::<Checked>("What is to be said of it, valid or not."),
        run: Run::LookInside(config::check),
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/config/secrets",
        name: "secrets",
        summary: "Says which secrets of a configuration are others than those in force, by their places alone.",
        query: &[],
        body: Some(Body { media: JSON, required: true, limit: TEXT, schema: of::<Sealed> }),
        answer: reply::<Vec<String>>("The places of those that differ."),
        run: Run::LookInside(config::secrets),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/config/history",
        name: "history",
        summary: "The generations that are kept, the newest first.",
        query: &[],
        body: None,
        answer: reply::<Vec<Generation>>("The generations."),
        run: Run::Look(look::history),
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/config/rollback/{id}",
        name: "rollback",
        summary: "Goes back to a generation of the history; `previous` stands for the one before the current.",
        query: &[],
        body: None,
        answer: reply::<Reloaded>("What changed."),
        run: Run::Change(change::rollback),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/routes",
        name: "routes",
        summary: "Every route with what went through it; requests that none took are the route `-`.",
        query: &[],
        body: None,
        answer: reply::<Vec<Route>>("The routes, by name."),
        run: Run::Look(traffic::routes),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/routes/{name}",
        name: "route",
        summary: "One route, with what it matches and does.",
        query: &[],
        body: None,
        answer: reply::<Route>("The route."),
        run: Run::Look(traffic::route),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/upstreams",
        name: "upstreams",
        summary: "Every upstream with its backends and what they answered.",
        query: &[],
        body: None,
        answer: reply::<Vec<Upstream>>("The upstreams, by name."),
        run: Run::Look(traffic::upstreams),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/upstreams/{name}",
        name: "upstream",
        summary: "One upstream, with what it is made of.",
        query: &[],
        body: None,
        answer: reply::<Upstream>("The upstream."),
        run: Run::Look(traffic::one_upstream),
    },
    Operation {
        verb: Verb::Patch,
        path: "/api/v1/upstreams/{name}/backends/{address}",
        name: "order_backend",
        summary: "Lets a backend run empty, takes it out of use or back, or gives it another weight, over reloads.",
        query: &[],
        body: Some(Body { media: JSON, required: true, limit: ORDER, schema: of::<BackendOrder> }),
        answer: reply::<UpstreamBackend>("How the backend is now."),
        run: Run::Order(change::order_backend),
    },
    split::WEIGH,
    cache::READING,
    cache::PURGE,
    cache::WARM,
    Operation {
        verb: Verb::Get,
        path: "/api/v1/limits",
        name: "limits",
        summary: "Every limit, and whom it refuses at the moment.",
        query: &[],
        body: None,
        answer: reply::<Vec<Limit>>("The limits, by name."),
        run: Run::Look(limits::all),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/limits/{name}/keys/{key}",
        name: "limit_key",
        summary: "Where one key stands under a limit: an address, a user, a header's value, or what the list shows.",
        query: &[],
        body: None,
        answer: reply::<LimitKey>("Where it stands."),
        run: Run::Look(limits::key),
    },
    Operation {
        verb: Verb::Delete,
        path: "/api/v1/limits/{name}/keys/{key}",
        name: "limit_key_reset",
        summary: "Forgives a key what it has used up, in Redis too; 503 when Redis does not answer. What is under way stays.",
        query: &[],
        body: None,
        answer: reply::<LimitKey>("Where it stands now."),
        run: Run::Order(limits::reset),
    },
    keys::LIST,
    keys::ADD,
    keys::REVOKE,
    Operation {
        verb: Verb::Get,
        path: "/api/v1/certificates",
        name: "certificates",
        summary: "The certificates that listeners show, and when each ends.",
        query: &[],
        body: None,
        answer: reply::<Vec<traffic::Shown>>("The certificates."),
        run: Run::Look(traffic::certificates),
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/explain",
        name: "explain",
        summary: "Says which route a request takes in the configuration in force, and why; nothing is sent anywhere.",
        query: &[],
        body: Some(Body { media: JSON, required: true, limit: ORDER, schema: of::<Explain> }),
        answer: reply::<serde_json::Value>("The decisions, step by step."),
        run: Run::Look(look::explain),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/events",
        name: "events",
        summary: "What has happened lately; with `Accept: text/event-stream` also what comes, one event after another.",
        query: &[Parameter { name: "after", about: "Only events after the one with this id." }],
        body: None,
        answer: reply::<Vec<Event>>("The events, the oldest first."),
        run: Run::LookOrFollow(look::events, look::follow_events),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/log",
        name: "log",
        summary: "The lines of the access log as they come, as Server-Sent Events: `line`, and `dropped` when some were.",
        query: &[
            Parameter { name: "route", about: "Only requests of this route; `-` for those that none took." },
            Parameter { name: "status", about: "Only answers with such a status: `404`, `5xx`, `404,5xx`." },
        ],
        body: None,
        answer: Reply { media: "text/event-stream", about: "One event for each request.", schema: of::<String> },
        run: Run::Follow(log::follow),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/log-level",
        name: "log_level",
        summary: "The level of the process log, and until when it holds.",
        query: &[],
        body: None,
        answer: reply::<level::Told>("The level."),
        run: Run::Look(log::level),
    },
    Operation {
        verb: Verb::Put,
        path: "/api/v1/log-level",
        name: "set_log_level",
        summary: "Changes the level of the process log for the time being, or back to the configured one.",
        query: &[],
        body: Some(Body { media: JSON, required: true, limit: ORDER, schema: of::<level::Order> }),
        answer: reply::<level::Told>("The level."),
        run: Run::Order(log::set_level),
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/upgrade",
        name: "upgrade",
        summary: "Hands the sockets to a new process; 409 when that did not become ready, and this one serves on.",
        query: &[],
        body: order::<UpgradeOrder>(),
        answer: reply::<Upgraded>("A new process has the sockets, and this one drains."),
        run: Run::Change(change::upgrade),
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/drain",
        name: "drain",
        summary: "Lets `/ready` say 503, so that load balancers look elsewhere, and serves on; or takes that back.",
        query: &[],
        body: order::<change::Drain>(),
        answer: reply::<probe::Readiness>("What `/ready` says now."),
        run: Run::Change(change::drain),
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/stop",
        name: "stop",
        summary: "Drains and ends the process, or ends it at once.",
        query: &[],
        body: order::<change::Stop>(),
        answer: reply::<change::Stopping>("It will end."),
        run: Run::Change(change::stop),
    },
    Operation {
        verb: Verb::Get,
        path: "/api/v1/openapi.json",
        name: "openapi",
        summary: "This interface as an OpenAPI document.",
        query: &[],
        body: None,
        answer: reply::<serde_json::Value>("OpenAPI 3.1."),
        run: Run::Look(look::openapi),
    },
];

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }

    fn takes(self, method: &Method) -> bool {
        method.as_str() == self.as_str() || (self == Verb::Get && *method == Method::HEAD)
    }
}

impl Operation {
    /// Whether it takes more than to look, as a change does.
    pub(crate) fn is_guarded(&self) -> bool {
        // Written out, so that no other kind is let in without a word.
        match self.run {
            Run::Change(_) | Run::Order(_) | Run::LookInside(_) => true,
            Run::Look(_) | Run::LookOrFollow(..) | Run::Follow(_) => false,
        }
    }

    /// Whether it is a probe, which is answered to everybody who reaches the address.
    pub(crate) fn is_probe(&self) -> bool {
        matches!(self.path, "/health" | "/ready")
    }

    /// Whether it belongs to the interface proper, where what is not known is refused.
    pub(crate) fn is_strict(&self) -> bool {
        self.path.starts_with("/api/")
    }
}

#[cfg(test)]
mod tests;
