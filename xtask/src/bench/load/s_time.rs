//! TLS handshakes alone, by OpenSSL's s_time: the one client at hand that resumes sessions as fast as it can.

use super::{Said, pinned};
use crate::{
    bench::peer::Proxy,
    shell::{self, Failure},
};

pub(super) fn load(proxy: &Proxy, seconds: u32) -> Result<Said, Failure> {
    let mut openssl = pinned("openssl");
    openssl.args(["s_time", "-reuse", "-tls1_2", "-time", &seconds.to_string()]);
    let said = shell::output(openssl.args(["-connect", &format!("localhost:{}", proxy.tls)]))?;
    let text = String::from_utf8_lossy(&said);
    parse(&text).ok_or_else(|| Failure::new(format!("cannot read what s_time said\n{text}")))
}

/// An `r` was printed for each handshake that resumed, a `*` or `t` for one that did not.
fn parse(text: &str) -> Option<Said> {
    // 5151 connections in 3 real seconds, 0 bytes read per connection
    let line = text.lines().rfind(|line| line.contains(" real seconds"))?;
    let (requests, rest) = line.split_once(" connections in ")?;
    let seconds: f64 = rest.split_once(" real seconds")?.0.parse().ok()?;
    let marks = text.lines().find(|line| !line.is_empty() && line.chars().all(|c| "rt*".contains(c)))?;
    let requests: u64 = requests.parse().ok()?;
    let failed = marks.chars().filter(|mark| *mark != 'r').count() as u64;
    let rate = requests as f64 / seconds.max(1.0);
    Some(Said { requests, failed, rate, p50: f64::INFINITY, p99: f64::INFINITY })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_time_is_read_and_a_handshake_that_did_not_resume_is_a_failure() {
        let text = |marks: &str| {
            format!(
                "Collecting connection statistics for 2 seconds\n\n\nNow timing with session id reuse.\nstarting\n{marks}\n\n\
                 4 connections in 0.10s; 40.00 connections/user sec, bytes read 0\n\
                 4 connections in 2 real seconds, 0 bytes read per connection\n"
            )
        };
        let said = parse(&text("rrrr")).unwrap();
        assert_eq!((said.requests, said.failed, said.rate), (4, 0, 2.0));
        assert_eq!(parse(&text("r*rr")).unwrap().failed, 1);
    }
}
