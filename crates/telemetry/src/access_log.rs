//! The access log: one line for each request, formatted on the worker, written by a thread of its own.

mod combined;
mod follow;
mod json;
mod redact;
mod ring;
mod text;
mod writer;

use std::{cell::RefCell, fmt, path::PathBuf, sync::Arc, time::Duration, time::SystemTime};

use document::{At, Code, Diagnostic, Report};
use filter::{Reason, Scheme};
use http::Version;

use crate::{Format, Metrics, Record};
use ring::Ring;
use writer::Sink;

pub use follow::{Followers, Following, Wanted};
pub(crate) use json::{FIELDS, TRY_FIELDS};

/// What the access log looks like and where it goes, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub(crate) format: Format,
    pub(crate) output: Output,
    /// In lower case.
    pub(crate) redact: Box<[Box<str>]>,
    pub(crate) sample: f64,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
    File(PathBuf),
}

/// The facts of a request that the log tells beside its [`Record`]: borrowed, and as raw as the client sent them. What
/// is unknown, as most of it is for a request that the parser refused, is `None`.
#[derive(Debug, Clone, Copy)]
pub struct LoggedRequest<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// The route's name, or [`UNMATCHED`](crate::UNMATCHED).
    pub route: &'a str,
    /// The upstream's name.
    pub upstream: Option<&'a str>,
    /// Which of the route's upstreams it is, where it has several.
    pub variant: Option<&'a str>,
    /// The address of the backend tried last.
    pub backend: Option<&'a str>,
    /// The client's address, without a port.
    pub client_ip: Option<std::net::IpAddr>,
    /// The request's id.
    pub request_id: Option<&'a str>,
    /// The id of its trace, as 32 hexadecimal digits.
    pub trace_id: Option<&'a str>,
    /// The version of HTTP that the client speaks.
    pub protocol: Option<Version>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls: Option<&'a str>,
    /// The scheme the client used.
    pub scheme: Option<Scheme>,
    /// The method.
    pub method: Option<&'a [u8]>,
    /// The host asked for.
    pub host: Option<&'a [u8]>,
    /// The path.
    pub path: Option<&'a [u8]>,
    /// The query without its `?`.
    pub query: Option<&'a [u8]>,
    /// The field Referer.
    pub referer: Option<&'a [u8]>,
    /// The field User-Agent.
    pub user_agent: Option<&'a [u8]>,
    /// Who is known to have sent it.
    pub identity: Option<&'a filter::Identity>,
    /// The limit that it was refused by, or else the one that the client is nearest to.
    pub limit: Option<&'a str>,
    /// How many more requests that limit would have let pass.
    pub limit_remaining: Option<u64>,
    /// The configuration that it was served under.
    pub generation: u64,
    /// The country of the client's address, where that is known.
    pub country: Option<[u8; 2]>,
}

impl<'a> LoggedRequest<'a> {
    /// A request of which only the listener and the route are known.
    pub fn new(listener: &'a str, route: &'a str) -> Self {
        Self {
            listener,
            route,
            upstream: None,
            variant: None,
            backend: None,
            client_ip: None,
            request_id: None,
            trace_id: None,
            protocol: None,
            tls: None,
            scheme: None,
            method: None,
            host: None,
            path: None,
            query: None,
            referer: None,
            user_agent: None,
            identity: None,
            limit: None,
            limit_remaining: None,
            generation: 0,
            country: None,
        }
    }
}

/// The access log. Dropping the last handle lets the writer finish what it was given.
pub struct AccessLog {
    policy: Policy,
    ring: Arc<Ring>,
    followers: Arc<Followers>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Lines above this size do not stay in a worker's buffer.
const KEPT_LINE: usize = 16 * 1024;

thread_local! {
    /// Where this worker makes its lines.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// Opens the log and starts its writer; `at` is the place of `logging.access`, for the report of a file that cannot
    /// be opened.
    pub fn open(policy: Policy, metrics: &Metrics, at: &At, report: &mut Report) -> Option<Self> {
        let ring = Arc::new(Ring::new(metrics.access_log_dropped()));
        let started = Sink::open(&policy.output).and_then(|sink| writer::start(sink, Arc::clone(&ring)));
        match (started, &policy.output) {
            (Ok(()), _) => {
                let followers = Arc::clone(metrics.followers());
                followers.fed(true);
                Some(Self { policy, ring, followers })
            }
            (Err(error), Output::File(path)) => {
                report.push(crate::compile::unwritable(path, &at.key("output"), &error.to_string()));
                None
            }
            (Err(error), _) => {
                let message = format!("the access log cannot be written: {error}");
                report.push(Diagnostic::new(Code::E0601, message).label(at.key("output"), ""));
                None
            }
        }
    }

    /// Tells one request: `record` is closed. Never waits: a line for which there is no room is dropped and counted.
    pub fn write(&self, record: &Record, request: &LoggedRequest<'_>) {
        if self.followers.are_there() {
            self.followers.tell(record, request, &self.policy.redact);
        }
        if !self.is_sampled(record) {
            return;
        }
        let start = SystemTime::now().checked_sub(record.duration).unwrap_or(SystemTime::UNIX_EPOCH);
        LINE.with_borrow_mut(|line| {
            line.clear();
            match self.policy.format {
                Format::Json => json::write(line, start, record, request, &self.policy.redact),
                Format::Combined => combined::write(line, start, record, request, &self.policy.redact),
            }
            self.ring.push(record.end(), line);
            if line.capacity() > KEPT_LINE {
                line.shrink_to(KEPT_LINE);
            }
        });
    }

    /// Waits until everything told so far is written, at most for `deadline`. Says whether it is.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.ring.flush(deadline)
    }

    /// Opens the file again under its name, for log rotation. What was told before may still go to the old file.
    pub fn reopen(&self) {
        self.ring.reopen();
    }

    fn is_sampled(&self, record: &Record) -> bool {
        let share = self.policy.sample;
        share >= 1.0 || record.reason != Reason::None || record.status >= 500 || fastrand::f64() < share
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.ring.close();
        self.followers.fed(false);
    }
}

#[cfg(test)]
mod tests;
