//! Keys found by their hash, and files that are refused.

use super::*;

fn keys(text: &str) -> Result<Keys, String> {
    Keys::new(&File::parse(text)?, &"partners".into(), &Forward::default())
}

fn file(fresh: &Fresh, more: &str) -> String {
    format!("[keys.{}]\nconsumer = \"acme\"\nsha256 = \"{}\"\n{more}", fresh.id, fresh.sha256)
}

#[test]
fn a_key_is_its_owners_until_it_ends() {
    let fresh = Fresh::new().unwrap();
    let text = file(
        &fresh,
        "expires = \"2027-01-31\"\n[consumers.acme]\nplan = \"gold\"\nscopes = [\"orders\"]\nclaims = { tenant = \"t1\" }",
    );
    let keys = keys(&text).unwrap();
    let last = "2027-01-31T23:59:59Z".parse::<jiff::Timestamp>().unwrap().as_second();
    let identity = keys.find(&fresh.text, last).unwrap();
    assert_eq!(identity.user.as_deref(), Some("acme"));
    assert_eq!(identity.key.as_deref(), Some(&*fresh.id));
    assert_eq!(identity.plan.as_deref(), Some("gold"));
    assert!(identity.has_scope("orders") && !identity.has_scope("order"));
    assert_eq!(identity.claim("tenant").map(Claim::as_str), Some("t1"));
    assert_eq!(keys.find(&fresh.text, last + 1).unwrap_err(), Doubt::Expired);
    for wrong in ["", "mtd_", &fresh.text[1..], &fresh.text.to_uppercase(), &"x".repeat(10_000)] {
        assert_eq!(keys.find(wrong, last).unwrap_err(), Doubt::Invalid);
    }
}

/// How long one guess takes, in nanoseconds: the median of many times, since other tests only disturb some of them.
fn guessed(keys: &Keys, guess: &str) -> f64 {
    const AT_ONCE: u32 = 100;
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let began = std::time::Instant::now();
            (0..AT_ONCE).for_each(|_| assert!(std::hint::black_box(keys).find(guess, 0).is_err()));
            began.elapsed().as_nanos() as f64 / f64::from(AT_ONCE)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[test]
fn a_guess_that_is_nearly_right_takes_as_long_as_any_other() {
    let fresh = Fresh::new().unwrap();
    let keys = keys(&file(&fresh, "")).unwrap();
    let last = if fresh.text.ends_with('A') { "B" } else { "A" };
    let nearly = format!("{}{last}", &fresh.text[..fresh.text.len() - 1]);
    let far = "x".repeat(fresh.text.len());
    // A machine that is busy with something else disturbs one of the rounds, and a difference shows in all.
    let ratios: Vec<f64> = (0..5).map(|_| guessed(&keys, &nearly) / guessed(&keys, &far)).collect();
    assert!(ratios.iter().any(|ratio| (0.95..1.05).contains(ratio)), "{ratios:?}");
}

#[test]
fn all_keys_of_a_consumer_have_its_own_amounts_and_no_other_has() {
    let fresh = [(); 3].map(|()| Fresh::new().unwrap());
    let text = file(&fresh[0], "") + &file(&fresh[1], "") + &file(&fresh[2], "").replace("acme", "other");
    let keys = keys(&format!("{text}[consumers.acme]\nlimits = {{ uploads = 7, calls = 5000 }}")).unwrap();
    let amounts = |key: &Fresh| keys.find(&key.text, 0).unwrap().limits.iter().map(|(_, own)| own).collect::<Vec<_>>();
    assert_eq!([0, 1, 2].map(|index| amounts(&fresh[index])), [vec![5000, 7], vec![5000, 7], vec![]]);
}

#[test]
fn no_two_keys_are_alike_and_each_says_what_it_is() {
    let (one, two) = (Fresh::new().unwrap(), Fresh::new().unwrap());
    assert_ne!(one.text, two.text);
    assert!(one.text.starts_with(&format!("mtd_{}_", one.id)) && one.text.len() == 45);
}

#[test]
fn a_file_that_cannot_be_meant_is_refused_without_printing_it() {
    let fresh = Fresh::new().unwrap();
    let twice = file(&fresh, &format!("[keys.other]\nconsumer = \"b\"\nsha256 = \"{}\"", fresh.sha256));
    for (text, expected) in [
        (file(&fresh, "").replace(&fresh.sha256, "abc"), "`sha256` is not 64 hexadecimal digits"),
        (file(&fresh, "expires = \"soon\""), "\"soon\" is neither a date"),
        (file(&fresh, "colour = 1"), "unknown field `colour`"),
        (twice, "another key has the same hash"),
        (
            file(&fresh, "[consumers.acme]\nlimits = { calls = 0 }"),
            "consumer `acme`: `limits.calls` has to be a number",
        ),
        // Of somebody who has no key yet as well.
        (
            file(&fresh, "[consumers.b]\nlimits.calls = \"secret-of-mine\""),
            "consumer `b`: `limits.calls` has to be a number",
        ),
        (format!("{}\nsecret-of-mine = ", file(&fresh, "")), "line 5: "),
    ] {
        let why = keys(&text).unwrap_err();
        assert!(why.contains(expected), "{why}");
        assert!(!why.contains(&fresh.sha256) && !why.contains("secret-of-mine"), "{why}");
    }
}
