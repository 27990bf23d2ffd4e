//! Numbers and times as they are meant to look; any bytes as one line of valid text.

use proptest::prelude::*;

use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn durations_have_up_to_three_decimals() {
    for (micros, text) in [(0, "0"), (2900, "2.9"), (3412, "3.412"), (1, "0.001"), (10_050, "10.05"), (7_000, "7")] {
        assert_eq!(written(|out| millis(out, Duration::from_micros(micros))), text);
    }
}

#[test]
fn times_are_written_in_both_forms() {
    let time = UNIX_EPOCH + Duration::from_millis(1_795_297_503_007);
    assert_eq!(written(|out| rfc3339(out, time)), "2026-11-21T21:45:03.007Z");
    assert_eq!(written(|out| apache(out, time)), "21/Nov/2026:21:45:03 +0000");
    assert_eq!(written(|out| rfc3339(out, time + Duration::from_millis(1000))), "2026-11-21T21:45:04.007Z");
}

#[test]
fn text_of_strangers_is_escaped() {
    assert_eq!(written(|out| json(out, b"a\"b\\c\n\r\t\0\x7f")), r#"a\"b\\c\n\r\t\u0000\u007f"#);
    assert_eq!(written(|out| json(out, "ü\u{85}\u{2028}".as_bytes())), r"ü\u0085\u2028");
    assert_eq!(written(|out| json(out, b"a\xffb\xe2\x82")), r"a\ufffdb\ufffd");
    assert_eq!(written(|out| quoted(out, "a\"\\\n\u{fc}".as_bytes())), r#"a\"\\\n\xc3\xbc"#);
}

#[test]
fn long_values_are_cut_off_between_characters() {
    let long = "ü".repeat(LONGEST);
    let text = written(|out| json(out, &long.as_bytes()[..LONGEST + 1]));
    assert!(text.len() <= LONGEST + 3 && text.ends_with("ü…"), "{}", text.len());
    assert!(!written(|out| json(out, format!("a{long}").as_bytes())).contains("ufffd"));
}

proptest! {
    #[test]
    fn any_bytes_are_a_json_string_on_one_line(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = written(|out| {
            out.push(b'"');
            json(out, &bytes);
            out.push(b'"');
        });
        let back: String = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
        let ends_a_line = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}');
        prop_assert!(!text.chars().any(ends_a_line));
    }

    #[test]
    fn any_bytes_between_quotes_are_visible_ascii(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = written(|out| quoted(out, &bytes));
        prop_assert!(text.bytes().all(|byte| (0x20..0x7F).contains(&byte)));
        let unescaped = text.replace("\\\\", "").replace("\\\"", "");
        prop_assert!(!unescaped.contains('"'));
    }

    #[test]
    fn numbers_are_decimal(value: u64) {
        prop_assert_eq!(written(|out| number(out, value)), value.to_string());
    }
}

#[test]
fn what_has_to_be_escaped_is_found_wherever_it_stands() {
    for length in 0..20 {
        let text = vec![b'a'; length];
        assert!(is_plain(&text));
        for (at, byte) in (0..length).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
            let mut text = text.clone();
            text[at] = byte;
            let plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            assert_eq!(is_plain(&text), plain, "{text:?}");
        }
    }
}
