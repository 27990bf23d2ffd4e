//! `maitred backend`: what an operator wants of a backend while the server runs.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    cli::{Backend, BackendTarget, Global},
    client::{Client, PATIENCE},
    exit::{Failure, Outcome},
    out,
};

/// Gives the order to the running server, and says how the backend is then.
pub fn run(global: &Global, backend: &Backend) -> Outcome {
    let (target, mut order) = match backend {
        Backend::Ready(target) => (target, json!({ "state": "ready" })),
        Backend::Drain(target) => (target, json!({ "state": "drain" })),
        Backend::Down(target) => (target, json!({ "state": "down" })),
        Backend::Weight { target, weight } => (target, json!({ "weight": weight })),
    };
    if let Some(time) = target.time {
        order["for"] = time.to_string().into();
    }
    let path = path(target)?;
    let told = Client::find(global)?.order("PATCH", &path, &order, PATIENCE)?.accepted()?;
    if global.json {
        return out::line(told.to_string());
    }
    let state = told["state"].as_str().unwrap_or("-");
    let (weight, in_flight) = (count(&told["weight"]), count(&told["in_flight"]));
    out::line(format!("{}: {state}, weight {weight}, {in_flight} in flight", target.backend))
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Where the backend is in the admin API.
fn path(target: &BackendTarget) -> Result<String, Failure> {
    let Some((upstream, address)) = target.backend.split_once('/').filter(|(upstream, _)| !upstream.is_empty()) else {
        let message =
            format!("`{}` is not a backend: write upstream and address, users/10.0.1.11:8080", target.backend);
        return Err(Failure::new(message));
    };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    Ok(format!("/api/v1/upstreams/{}/backends/{}", encoded(upstream), encoded(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_an_upstream_and_an_address() {
        let of = |text: &str| path(&BackendTarget { backend: text.into(), time: None });
        assert_eq!(of("users/10.0.1.11:80").unwrap(), "/api/v1/upstreams/users/backends/10%2E0%2E1%2E11%3A80");
        assert_eq!(of("users//run/app.sock").unwrap(), "/api/v1/upstreams/users/backends/%2Frun%2Fapp%2Esock");
        assert!(of("users").is_err() && of("/10.0.1.11:80").is_err());
    }
}
