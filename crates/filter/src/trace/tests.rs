//! The rules of W3C Trace Context level 1, one by one.

use http::{HeaderMap, HeaderValue};

use super::*;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("traceparent", HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_valid_traceparent_is_continued_under_a_span_of_our_own() {
    let trace = Trace::of_request(&headers(&[GOOD]), 1, 0xABC);
    assert!(trace.is_continued() && trace.is_sampled());
    assert_eq!(trace.trace_id_hex().as_str(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(trace.span_id_hex().as_str(), "0000000000000abc");
    assert_eq!(trace.parent_id_hex().map(|id| id.to_string()).as_deref(), Some("00f067aa0ba902b7"));
    assert_eq!(trace.to_header_value(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000abc-01");
}

#[test]
fn the_sampled_flag_is_kept_and_flags_that_version_00_does_not_define_are_cleared() {
    for (flags, kept) in [("00", "00"), ("01", "01"), ("02", "00"), ("ff", "01")] {
        let sent = format!("{}{flags}", &GOOD[..53]);
        let trace = Trace::from_header(sent.as_bytes()).unwrap();
        assert_eq!(&trace.to_header().as_str()[53..], kept);
    }
}

#[test]
fn what_breaks_a_rule_is_refused() {
    let cases = [
        "",
        "00",
        &GOOD[..54],
        &format!("{GOOD}-"),
        &format!("{GOOD}-00"),
        &GOOD.to_uppercase(),
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
    ];
    for case in cases {
        assert_eq!(Trace::from_header(case.as_bytes()), None, "{case}");
    }
}

#[test]
fn a_later_version_is_read_as_far_as_version_00_goes() {
    for tail in ["", "-what-comes-later"] {
        let sent = format!("cc{}{tail}", &GOOD[2..]);
        let trace = Trace::from_header(sent.as_bytes()).unwrap();
        assert_eq!(trace.to_header().as_str(), GOOD);
    }
}

#[test]
fn no_or_two_or_an_invalid_traceparent_begins_a_trace() {
    for values in [&[][..], &[GOOD, GOOD], &["nonsense"]] {
        let trace = Trace::of_request(&headers(values), 0xFEED, 0xBEEF);
        assert!(!trace.is_continued());
        assert_eq!(trace.parent_id_hex(), None);
        assert_eq!(trace.to_header().as_str(), "00-0000000000000000000000000000feed-000000000000beef-01");
    }
}

#[test]
fn ids_are_never_zero() {
    let trace = Trace::new(0, 0);
    assert!(Trace::from_header(trace.to_header().as_str().as_bytes()).is_some());
}
