//! What is written down, and how much of it.

use super::*;

#[test]
fn denials_are_written_down_up_to_a_bound() {
    let (audit, start) = (Audit::default(), Instant::now());
    let written = |at: Instant| (0..100).filter(|_| audit.has_room_for_a_denial(at)).count();
    assert_eq!(written(start), DENIALS as usize);
    assert_eq!(written(start + PERIOD / 2), 0);
    assert_eq!(written(start + PERIOD), DENIALS as usize);
}

/// A file whose lost lines nobody counts.
fn opened(path: &std::path::Path) -> telemetry::Audit {
    let build = telemetry::Build { version: "", revision: "", rustc: "", tls: "" };
    let dropped = telemetry::Metrics::new(&build).audit_dropped();
    telemetry::Audit::open(path, telemetry::audit::Attempts::None, dropped).unwrap()
}

fn act(what: &str) -> Act {
    Act {
        who: crate::Who::Process { uid: 7, pid: Some(4711) },
        what: what.into(),
        order: serde_json::json!({ "confirm": 300 }),
        outcome: "applied".into(),
        before: Some(6),
        after: Some(7),
    }
}

#[test]
fn acts_are_appended_to_the_file_line_by_line_and_rotation_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("audit.jsonl"), folder.path().join("audit.jsonl.1"));
    let audit = Audit::default();
    audit.write_to(Some(opened(&path)));
    audit.write(&act("reload"));
    assert!(audit.flush(Duration::from_secs(20)));
    std::fs::rename(&path, &moved).unwrap();
    audit.write(&act("rollback"));
    audit.reopen();
    audit.write(&act("stop"));
    assert!(audit.flush(Duration::from_secs(20)));
    let whats = |path: &std::path::Path| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let what =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["what"].as_str().unwrap().to_owned();
        text.lines().filter(|line| line.contains("\"kind\":\"act\"")).map(what).collect()
    };
    assert_eq!(whats(&moved), ["reload", "rollback"]);
    assert_eq!(whats(&path), ["stop"]);
    let text = std::fs::read_to_string(&path).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&line["who"]["process"]["uid"], &line["before"], &line["after"]), (&7.into(), &6.into(), &7.into()));
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
}
