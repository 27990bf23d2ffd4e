//! A provider of OpenID Connect that nobody here wrote the tokens of: Python's HTTP server and PyJWT.

use std::{net::SocketAddr, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use crate::{Address, Connection, Request, tool, within};

/// A provider on a free port that logs everybody in who comes. Stops when it is dropped.
#[derive(Debug)]
pub struct Provider {
    address: SocketAddr,
    _process: Child,
}

impl Provider {
    /// Starts one that knows this client.
    pub async fn start(client: &str, secret: &str) -> Self {
        let mut command = tool("/usr/bin/python3", "python3-jwt python3-cryptography");
        command.args(["-c", include_str!("provider.py"), client, secret]);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut told = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = within("the provider to start", told.next_line()).await.unwrap().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
        Self { address, _process: process }
    }

    /// The issuer.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what it does: `claims`, `lasts`, `refresh`, `down`, `forge`, `end_session`, `error`, `iss`, `post`, `id`, and
    /// `hold`: what is posted to these paths waits until that changes.
    pub async fn wish(&self, wish: Value) {
        let wish = Request::post("/-/wish", wish.to_string()).header("Host", &self.address.to_string());
        Connection::to(&Address::Tcp(self.address)).await.fetch(wish).await.expect(200);
    }

    /// What it was asked: `authorize`, `token`, `logout`, each with its parameters, how often `discovery`, and how many were `held`.
    pub async fn seen(&self) -> Value {
        let answer = Connection::to(&Address::Tcp(self.address)).await.fetch(Request::get("/-/seen")).await;
        serde_json::from_str(&answer.expect(200).text()).unwrap()
    }

    /// How often its token endpoint was asked.
    pub async fn exchanges(&self) -> usize {
        self.seen().await["token"].as_array().unwrap().len()
    }
}
