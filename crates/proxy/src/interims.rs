//! How many interim answers (RFC 9110 section 15.2) an attempt may have.

use std::time::Duration;

use pingora_http::ResponseHeader;

/// So many in a second tell a client of progress; more are nonsense, unless the network has held them up.
const PER_SECOND: u16 = 32;
const MOST_AT_ONCE: u16 = 256;

/// How large they may be together. Over HTTP/2 a client that takes nothing does not hold up a head: it waits in memory.
const MOST_BYTES: usize = 1024 * 1024;

/// In what size is counted, so that it takes little room: every request has these numbers.
const UNIT: usize = 64;

/// Those of one attempt.
#[derive(Debug, Default)]
pub struct Interims {
    units: u16,
    /// The last second that one came in, and how many there were beyond what the time until then allows for.
    second: u16,
    count: u16,
}

impl Interims {
    /// Whether another one may be passed on that comes so long `since` the request's beginning.
    pub(crate) fn admit(&mut self, since: Duration, head: &ResponseHeader) -> bool {
        // Once around is eighteen hours.
        let second = (since.as_secs() % (1 << 16)) as u16;
        let passed = second.wrapping_sub(std::mem::replace(&mut self.second, second));
        self.count = self.count.saturating_sub(passed.saturating_mul(PER_SECOND));
        let length: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.units = self.units.saturating_add(u16::try_from(length / UNIT + 1).unwrap_or(u16::MAX));
        self.count = self.count.saturating_add(1);
        self.count <= MOST_AT_ONCE && usize::from(self.units) * UNIT <= MOST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_bounded_by_rate_and_size_and_not_by_number() {
        let mut small = ResponseHeader::build(102, None).unwrap();
        small.append_header("x-progress", "more").unwrap();
        let mut interims = Interims::default();
        for second in 0..400 {
            assert!((0..32).all(|_| interims.admit(Duration::from_secs(second), &small)), "{second}");
        }
        let more = (0..1000).take_while(|_| interims.admit(Duration::from_secs(399), &small)).count();
        assert_eq!(more, 256 - 32, "what a network has held up comes at once");
        assert!(!interims.admit(Duration::from_secs(399), &small));
        let mut large = ResponseHeader::build(103, None).unwrap();
        large.append_header("link", "x".repeat(250 * 1024)).unwrap();
        let mut interims = Interims::default();
        let passed = (0..10).take_while(|second| interims.admit(Duration::from_secs(*second), &large));
        assert_eq!(passed.count(), 4);
    }
}
