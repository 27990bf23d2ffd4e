//! The running maitred, as commands reach it: found at one of its admin addresses, asked over HTTP.

mod http;
mod places;

use std::time::Duration;

use document::Secret;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::{http::Answer, places::Place};

pub use self::http::Event;
use crate::{
    cli::Global,
    exit::{Failure, NOBODY},
    files,
};

/// How long a question may take to be answered.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A maitred that answers.
pub struct Client {
    place: Place,
    token: Option<Secret>,
    /// What it said of itself when it was found.
    pub status: Value,
}

/// An answer that may be a refusal.
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body; null where it is not JSON.
    pub body: Value,
}

impl Client {
    /// The maitred that is meant: the one that `--admin` names; else the one in the run folder; else the one at the
    /// addresses of the configuration file. Where a file was named, only one that runs that file will do.
    pub fn find(global: &Global) -> Result<Self, Failure> {
        let places = places::places(global)?;
        let wanted = global.config.as_deref().filter(|_| global.admin.is_none()).map(files::whole);
        let mut looked = Vec::new();
        for (place, token) in places {
            let mut client = Self { place, token, status: Value::Null };
            match client.ask("/api/v1/status") {
                Ok(status) => client.status = status,
                Err(why) => {
                    looked.push(format!("{}: {why}", client.place));
                    continue;
                }
            }
            match (&wanted, client.status["config"].as_str()) {
                (Some(wanted), runs) if runs != Some(wanted) => {
                    looked.push(format!("{}: runs {}", client.place, runs.unwrap_or("without a file")));
                }
                _ => return Ok(client),
            }
        }
        let looked = looked.join("\n  ");
        let hint = "hint: `maitred run` starts one, and `--admin` says where to look for it";
        Err(Failure { code: NOBODY, message: format!("no running maitred answers\n  {looked}\n{hint}") })
    }

    /// Whether it is at a unix socket, and so sees the processes that we see.
    pub fn is_local(&self) -> bool {
        matches!(self.place, Place::Unix(_))
    }

    /// Where it answers.
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.status["pid"].as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or(0)
    }

    /// How long it lets requests under way take when it ends.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.status["grace_seconds"].as_u64().unwrap_or(30))
    }

    /// What it says now; `None` when it does not answer any more.
    pub fn again(&self) -> Option<Value> {
        self.ask("/api/v1/status").ok()
    }

    /// Gets what is at `path`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let reply = self.request("GET", path, None, PATIENCE)?.accepted()?;
        serde_json::from_value(reply)
            .map_err(|error| Failure::new(format!("an answer that is not understood: {error}")))
    }

    /// Sends an order, which may take until `patience` is at its end.
    pub fn order(&self, method: &str, path: &str, order: &Value, patience: Duration) -> Result<Reply, Failure> {
        self.request(method, path, Some(order), patience)
    }

    /// The events of `path`, one after another as they happen.
    pub fn follow(&self, path: &str) -> Result<impl Iterator<Item = std::io::Result<Event>> + use<>, Failure> {
        let lost = |error| self.lost(&error);
        let answer = http::ask(&self.place, self.token.as_ref(), "GET", path, None, PATIENCE).map_err(lost)?;
        if answer.status == 200 {
            return answer.events().map_err(lost);
        }
        Err(read(answer).map_err(lost)?.refusal())
    }

    fn request(&self, method: &str, path: &str, order: Option<&Value>, patience: Duration) -> Result<Reply, Failure> {
        let body = order.map(Value::to_string);
        http::ask(&self.place, self.token.as_ref(), method, path, body.as_deref(), patience)
            .and_then(read)
            .map_err(|error| self.lost(&error))
    }

    fn ask(&self, path: &str) -> Result<Value, String> {
        let asked = http::ask(&self.place, self.token.as_ref(), "GET", path, None, PATIENCE).and_then(read);
        let reply = asked.map_err(|error| error.to_string())?;
        if reply.status == 200 { Ok(reply.body) } else { Err(reply.detail()) }
    }

    fn lost(&self, error: &std::io::Error) -> Failure {
        Failure { code: NOBODY, message: format!("{}: {error}", self.place) }
    }
}

fn read(answer: Answer) -> std::io::Result<Reply> {
    let status = answer.status;
    Ok(Reply { status, body: serde_json::from_slice(&answer.read()?).unwrap_or_default() })
}

impl Reply {
    /// The body, unless this is a refusal.
    pub fn accepted(self) -> Result<Value, Failure> {
        if (200..300).contains(&self.status) { Ok(self.body) } else { Err(self.refusal()) }
    }

    /// Why it was refused, as the command's end.
    pub fn refusal(&self) -> Failure {
        Failure::new(self.detail())
    }

    fn detail(&self) -> String {
        self.body["detail"].as_str().map_or_else(|| format!("answered with {}", self.status), str::to_owned)
    }
}
