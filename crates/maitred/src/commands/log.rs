//! `maitred log`: how much a running server says of itself, and its access log as it is written.

use std::{
    io::{self, Write},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    cli,
    cli::Global,
    client::{Client, Event, PATIENCE},
    exit::{Failure, Outcome},
    out,
    style::Style,
    words::clock,
};

/// How long a server that ended a stream is looked for again: another process may have taken its place.
const AGAIN: Duration = Duration::from_secs(10);

/// How often.
const LOOK: Duration = Duration::from_millis(200);

/// Changes the level of the process log, or prints it.
pub fn level(global: &Global, level: &cli::Level) -> Outcome {
    let client = Client::find(global)?;
    let told: Value = if level.level.is_some() || level.reset {
        let order = json!({ "level": level.level, "for": level.time.map(|time| time.to_string()) });
        client.order("PUT", "/api/v1/log-level", &order, PATIENCE)?.accepted()?
    } else {
        client.get("/api/v1/log-level")?
    };
    if global.json {
        return out::line(told.to_string());
    }
    let until = told["until"].as_str().map(|until| format!(" until {}", clock(until))).unwrap_or_default();
    out::line(format!("{}{until}", told["level"].as_str().unwrap_or("-")))
}

/// Prints the access log as it is written, until nobody reads or the server is gone.
pub fn follow(global: &Global, follow: &cli::Follow) -> Outcome {
    let mut query = String::new();
    for (name, value) in [("route", &follow.route), ("status", &follow.status)] {
        if let Some(value) = value {
            let separator = if query.is_empty() { '?' } else { '&' };
            query.push_str(&format!("{separator}{name}={}", encoded(value)));
        }
    }
    let path = format!("/api/v1/log{query}");
    let style = Style::of(global.color, &io::stdout());
    let mut client = Client::find(global)?;
    loop {
        let mut ended = None;
        for event in client.follow(&path)? {
            match event {
                Ok(event) if tell(global, &event, style)? => {}
                Ok(_) => return Ok(()),
                Err(error) => {
                    ended = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = ended {
            log::debug!("the stream broke off: {error}");
        }
        client = again(global)?;
    }
}

/// Finds the server again, or the one that has taken its place.
fn again(global: &Global) -> Result<Client, Failure> {
    let deadline = Instant::now() + AGAIN;
    loop {
        match Client::find(global) {
            Err(_) if Instant::now() < deadline => sleep(LOOK),
            found => return found,
        }
    }
}

/// Prints one event; says whether anybody still reads.
fn tell(global: &Global, event: &Event, style: Style) -> Result<bool, Failure> {
    let Ok(data) = serde_json::from_str::<Value>(&event.data) else { return Ok(true) };
    if event.kind == "dropped" {
        eprintln!("{} lines came faster than they could be told", data["lines"]);
        return Ok(true);
    }
    let line = if global.json { event.data.clone() } else { short(&data, style) };
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// `21:45:03  200  GET api.example.com/products/7  3.4 ms  products → 10.0.2.11:8080`.
fn short(line: &Value, style: Style) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or("-");
    let status = line["status"].as_u64().unwrap_or(0);
    let shown = format!("{status:>3}");
    let shown = match status {
        0 | 500.. => style.error(&shown),
        400..500 => style.warning(&shown),
        _ => style.good(&shown),
    };
    let query = line["query"].as_str().filter(|query| !query.is_empty()).map(|query| format!("?{query}"));
    let url = format!("{}{}{}", line["host"].as_str().unwrap_or(""), text("path"), query.unwrap_or_default());
    let took = line["duration_ms"].as_f64().unwrap_or(0.0);
    let mut told =
        format!("{}  {shown}  {} {url}  {took:.1} ms  {}", clock(text("time")), text("method"), text("route"));
    if let Some(backend) = line["backend"].as_str() {
        told.push_str(&format!(" → {backend}"));
    }
    if let Some(error) = line["error"].as_str() {
        told.push_str(&format!("  {}", style.error(error)));
    }
    told
}

/// A value of a query, with everything escaped that means something there.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b',' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_one_follows_a_log_for() {
        let line = json!({
            "time": "2026-11-21T21:45:03.127Z", "status": 502, "method": "GET", "host": "api.example.com",
            "path": "/products/7", "query": "q=1", "duration_ms": 3.412, "route": "products",
            "backend": "10.0.2.11:8080", "error": "upstream_refused",
        });
        let told = short(&line, Style::of(cli::ColorWhen::Never, &io::stdout()));
        let expected = "  502  GET api.example.com/products/7?q=1  3.4 ms  products → 10.0.2.11:8080  upstream_refused";
        assert!(told.ends_with(expected), "{told}");
    }

    #[test]
    fn what_a_query_says_is_escaped() {
        assert_eq!(encoded("4xx,502"), "4xx,502");
        assert_eq!(encoded("a&b=c d"), "a%26b%3Dc%20d");
    }
}
