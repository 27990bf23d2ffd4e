//! Numbers and times as people say them.

use jiff::{Timestamp, tz::TimeZone};

/// `1 backend`, `2 backends`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A time of RFC 3339 on the clock of this machine: `14:02:11`, with its date where that is not today's.
pub fn clock(time: &str) -> String {
    clock_at(time, Timestamp::now(), TimeZone::system())
}

fn clock_at(time: &str, now: Timestamp, zone: TimeZone) -> String {
    let Ok(time) = time.parse::<Timestamp>() else { return time.to_owned() };
    let (time, now) = (time.to_zoned(zone.clone()), now.to_zoned(zone));
    let form = if time.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    time.strftime(form).to_string()
}

/// How long a time of RFC 3339 is ago: `3h 12m`.
pub fn ago(time: &str) -> String {
    let then = time.parse::<Timestamp>().unwrap_or_else(|_| Timestamp::now());
    let seconds = Timestamp::now().as_second().saturating_sub(then.as_second());
    span(u64::try_from(seconds).unwrap_or(0))
}

/// A length of time in its two largest units: `3h 12m`.
pub fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_short_as_they_can_be() {
        let now: Timestamp = "2026-11-21T21:45:03Z".parse().unwrap();
        assert_eq!(clock_at("2026-11-21T14:02:11.5Z", now, TimeZone::UTC), "14:02:11");
        assert_eq!(clock_at("2026-11-20T14:02:11Z", now, TimeZone::UTC), "2026-11-20 14:02:11");
        assert_eq!(clock_at("yesterday", now, TimeZone::UTC), "yesterday");
        for (seconds, said) in [(0, "0s"), (59, "59s"), (61, "1m 1s"), (11_520, "3h 12m"), (176_400, "2d 1h")] {
            assert_eq!(span(seconds), said);
        }
    }
}
