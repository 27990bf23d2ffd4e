//! What is written, what is found out about it, and how much of it there may be.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::*;

fn counter() -> IntCounter {
    IntCounter::new("dropped", "lost lines").unwrap()
}

fn open(path: &Path) -> Audit {
    Audit::open(path, Attempts::Failures, counter()).unwrap()
}

fn told(path: &Path, numbers: std::ops::Range<u32>) {
    let audit = open(path);
    numbers.for_each(|number| audit.act(&json!({ "what": number })));
    assert!(audit.flush(Duration::from_secs(20)));
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    (folder, path)
}

fn checked(texts: &[&str]) -> (Chain, Result<(), Break>) {
    let mut chain = Chain::default();
    for text in texts {
        let read = chain.read(text.as_bytes()).unwrap();
        if read.is_err() {
            return (chain, read);
        }
    }
    (chain, Ok(()))
}

fn whats(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["what"].clone()).collect()
}

#[test]
fn the_chain_goes_through_restarts_other_processes_and_rotation() {
    let (folder, path) = file();
    told(&path, 0..3);
    let (one, two) = (open(&path), open(&path));
    for number in 3..40 {
        let audit = if number % 3 == 0 { &one } else { &two };
        audit.act(&json!({ "what": number }));
        assert!(audit.flush(Duration::from_secs(20)));
    }
    let moved = folder.path().join("audit.jsonl.1");
    fs::rename(&path, &moved).unwrap();
    two.reopen();
    two.act(&json!({ "what": 40 }));
    assert!(two.flush(Duration::from_secs(20)));
    let (old, new) = (fs::read_to_string(&moved).unwrap(), fs::read_to_string(&path).unwrap());
    let (chain, read) = checked(&[&old, &new]);
    assert_eq!((read, chain.lines, chain.end().seq, chain.whole), (Ok(()), 43, 43, true));
    assert_eq!(whats(&old)[..40], (0..40).collect::<Vec<_>>());
    assert!(old.ends_with('\n') && old.lines().nth(40).unwrap().contains("\"kind\":\"closed\""));
    // The new file says first that it was opened, so that whoever opens it next finds the chain in it.
    assert_eq!(whats(&new), [Value::Null, 40.into()]);
    assert!(new.lines().next().unwrap().contains("\"kind\":\"opened\""));
    assert!(!checked(&[&new]).0.whole);
    assert!(checked(&[&new, &old]).1.is_err());
}

#[test]
fn a_file_that_is_moved_away_while_two_processes_write_has_one_end() {
    let (folder, path) = file();
    let logs: Vec<Audit> = (0..2).map(|_| open(&path)).collect();
    let files: Vec<PathBuf> = (0..5).map(|number| folder.path().join(format!("audit.{number}"))).collect();
    let mut number = 0;
    for moved in &files {
        for _ in 0..3 {
            for audit in &logs {
                audit.act(&json!({ "what": number }));
                number += 1;
            }
        }
        logs.iter().for_each(|audit| assert!(audit.flush(Duration::from_secs(20))));
        fs::rename(&path, moved).unwrap();
        // One of them alone is told, while the other one writes.
        logs[1].act(&json!({ "what": number }));
        logs[0].reopen();
        logs[1].act(&json!({ "what": number + 1 }));
        logs[0].act(&json!({ "what": number + 2 }));
        assert!(logs[0].flush(Duration::from_secs(20)));
        // The other one has not been told, and goes to the new file by itself.
        logs[1].act(&json!({ "what": number + 3 }));
        assert!(logs[1].flush(Duration::from_secs(20)));
        assert!(fs::read_to_string(&path).unwrap().contains(&format!("\"what\":{},", number + 3)));
        number += 4;
    }
    logs.iter().for_each(|audit| assert!(audit.flush(Duration::from_secs(20))));
    let texts: Vec<String> = files.iter().chain([&path]).map(|file| fs::read_to_string(file).unwrap()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (chain, read) = checked(&texts);
    assert_eq!((read, chain.whole), (Ok(()), true), "{texts:#?}");
    let mut all: Vec<u64> = texts.iter().flat_map(|text| whats(text)).filter_map(|what| what.as_u64()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..number).collect::<Vec<u64>>(), "every line is there once");
}

#[test]
fn a_file_is_not_begun_at_the_end_of_one_that_another_process_has_gone_on_from() {
    let (folder, path) = file();
    let [told_first, told_later] = [open(&path), open(&path)];
    let moved = |number: u32| folder.path().join(format!("audit.{number}.jsonl"));
    let written = |audit: &Audit, number: u32| {
        audit.act(&json!({ "what": number }));
        assert!(audit.flush(Duration::from_secs(20)));
    };
    written(&told_first, 0);
    // An empty file may lie between, of which nobody was told.
    for number in 1..4 {
        fs::rename(&path, moved(number)).unwrap();
        if number == 2 {
            fs::write(&path, "").unwrap();
            continue;
        }
        if number == 1 {
            told_first.reopen();
            written(&told_first, 1);
            fs::copy(&path, folder.path().join("audit.copy")).unwrap();
            written(&told_first, 2);
        }
    }
    // This one has written nothing so far and is in the first file, while the other one is in the second.
    told_later.reopen();
    written(&told_later, 3);
    written(&told_first, 4);
    written(&told_later, 5);
    let files = [moved(1), moved(2), moved(3), path];
    let texts = files.map(|file| fs::read_to_string(file).unwrap());
    let (chain, read) = checked(&texts.each_ref().map(String::as_str));
    assert_eq!((read, chain.whole), (Ok(()), true), "{texts:#?}");
    assert_eq!(
        whats(&texts.concat()).into_iter().filter(|what| !what.is_null()).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5]
    );
    let copy = fs::read_to_string(folder.path().join("audit.copy")).unwrap();
    assert!(!copy.contains("closed"), "what somebody copied is left alone: {copy}");
}

#[test]
fn nothing_is_written_to_an_empty_file_that_was_moved_away() {
    let (folder, path) = file();
    let [idle, told] = [open(&path), open(&path)];
    let moved = folder.path().join("audit.1");
    fs::rename(&path, &moved).unwrap();
    told.reopen();
    for (audit, number) in [(&told, 1), (&idle, 2)] {
        audit.act(&json!({ "what": number }));
        assert!(audit.flush(Duration::from_secs(20)));
    }
    assert_eq!(fs::read_to_string(&moved).unwrap(), "");
    assert_eq!(whats(&fs::read_to_string(&path).unwrap()), [1, 2]);
}

#[test]
fn a_file_that_was_not_moved_is_not_closed() {
    let (_folder, path) = file();
    let audit = open(&path);
    audit.act(&json!({ "what": 1 }));
    audit.reopen();
    audit.act(&json!({ "what": 2 }));
    assert!(audit.flush(Duration::from_secs(20)));
    assert_eq!(whats(&fs::read_to_string(&path).unwrap()), [1, 2]);
}

#[test]
fn whatever_is_done_to_a_line_is_found() {
    let (_folder, path) = file();
    told(&path, 0..4);
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let whole = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let changed = lines[1].replace("\"what\":1", "\"what\":7");
    let mut anew = Link::default();
    let forged = anew.seal("{\"what\":1}", 0);
    let broken = [
        (whole(&[lines[0], &changed, lines[2], lines[3]]), 2),
        (whole(&[lines[0], lines[2], lines[3]]), 2),
        (whole(&[lines[0], lines[2], lines[1], lines[3]]), 2),
        (whole(&[lines[0], lines[1], lines[1], lines[2]]), 3),
        (whole(&[lines[0], forged.trim(), lines[2]]), 2),
        (whole(&[lines[0], "{\"what\":1}", lines[1]]), 2),
    ];
    for (text, line) in broken {
        assert_eq!(checked(&[&text]).1.unwrap_err().line, line, "{text}");
    }
    // What is cut off at the end is known by whoever kept the last hash.
    let cut = whole(&lines[..3]);
    let mut chain = Chain::with_head(Some(&checked(&[&good]).0.end().hash));
    assert_eq!(chain.read(cut.as_bytes()).unwrap(), Ok(()));
    assert_eq!(chain.head.as_ref().map(|(_, found)| *found), Some(false));
    assert!(!checked(&[&whole(&lines[1..])]).0.whole);
}

#[test]
fn a_line_that_was_not_ended_is_told_of_and_breaks_nothing() {
    let (_folder, path) = file();
    told(&path, 0..2);
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"seq\":3,\"wh");
    fs::write(&path, text).unwrap();
    told(&path, 2..3);
    let text = fs::read_to_string(&path).unwrap();
    let (chain, read) = checked(&[&text]);
    assert_eq!((read, chain.lines, chain.torn), (Ok(()), 3, vec![3]));
}

#[test]
fn what_is_lost_is_counted_in_the_chain_and_waits_for_nobody() {
    let (_folder, path) = file();
    let dropped = counter();
    let audit = Audit::open(&path, Attempts::Failures, dropped.clone()).unwrap();
    // The writer cannot write while this is held.
    let held = fs::File::open(&path).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let attempt = || Attempt {
        auth: "a".into(),
        result: "invalid",
        shadow: false,
        user: None,
        key: None,
        client_ip: None,
        route: "r".into(),
        method: "GET".into(),
        host: "h".into(),
        path: Attempt::text(&"/é".repeat(1000)),
        request_id: "i".into(),
        generation: 1,
    };
    let began = std::time::Instant::now();
    for _ in 0..2 * WAITING {
        audit.attempt(true, attempt);
        audit.attempt(false, attempt);
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    let lost = dropped.get();
    assert!(lost > 0, "{lost}");
    audit.act(&json!({ "what": "stop" }));
    assert_eq!(dropped.get(), lost, "there is room for what operators do");
    rustix::fs::flock(&held, rustix::fs::FlockOperation::Unlock).unwrap();
    assert!(audit.flush(Duration::from_secs(60)));
    audit.act(&json!({ "what": "end" }));
    assert!(audit.flush(Duration::from_secs(60)));
    let text = fs::read_to_string(&path).unwrap();
    let (chain, read) = checked(&[&text]);
    assert_eq!((read, chain.lost, chain.lines + chain.lost), (Ok(()), lost, 2 * WAITING as u64 + 2));
    assert!(text.lines().all(|line| line.len() < 1500));
}
