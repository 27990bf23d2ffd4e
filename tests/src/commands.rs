//! The commands that look, write and check; their exit codes and their JSON.

use std::path::Path;

use serde_json::Value;
use testkit::{Exit, Origin, maitred};

/// A folder with this `maitred.toml`.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("maitred.toml"), text).unwrap();
    folder
}

const GOOD: &str = r#"listen = ":8080"

[upstreams.users]
backends = "http://10.0.0.1:8080"

[routes.users]
path     = "/users/{id}"
upstream = "users"

[routes.users-v2]
path     = "/users/{id}"
header   = { X-API-Version = "v2" }
upstream = "http://10.0.0.2:8080"
"#;

async fn on(text: &str, arguments: &[&str]) -> Exit {
    let folder = folder(text);
    maitred(folder.path(), arguments.iter().copied()).await
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))).collect()
}

#[tokio::test]
async fn check_says_ok_or_everything_that_is_wrong() {
    let fine = on(GOOD, &["check", "--offline"]).await.expect(0);
    assert!(fine.stdout.contains("2 routes") && fine.stdout.contains("ok"), "{}", fine.stdout);
    let wrong = GOOD.replace("\"users\"\n\n[routes.users-v2]", "\"usres\"\ntimeout = 5\n\n[routes.users-v2]");
    let exit = on(&wrong, &["check", "--offline"]).await.expect(3);
    assert!(exit.stdout.contains("error[E0201]") && exit.stdout.contains("error[E0104]"), "{}", exit.stdout);
    assert!(exit.stderr.contains("2 errors"), "{}", exit.stderr);
    assert!(!exit.stdout.contains('\u{1b}'), "no colour where there is no terminal");
    let coloured = on(&wrong, &["--color", "always", "check", "--offline"]).await.expect(3);
    assert!(coloured.stdout.contains('\u{1b}'));
}

#[tokio::test]
async fn check_tells_programs_in_json() {
    let wrong = GOOD.replace("backends", "backend");
    let exit = on(&wrong, &["check", "--offline", "--json"]).await.expect(3);
    let lines = json_lines(&exit.stdout);
    let unknown = lines.iter().find(|line| line["code"] == "E0102").unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!((&unknown["level"], &unknown["line"], &unknown["column"]), (&"error".into(), &4.into(), &1.into()));
    assert!(unknown["file"].as_str().unwrap().ends_with("maitred.toml"));
    for key in ["message", "span", "help", "patch"] {
        assert!(unknown.get(key).is_some(), "{key} in {unknown}");
    }
    assert_eq!(on(GOOD, &["check", "--offline", "--json"]).await.expect(0).stdout, "");
}

#[tokio::test]
async fn warnings_fail_only_where_that_is_asked_for() {
    let warned = "listen = \":8080\"\n[routes]\n\"/\" = \"http://10.0.0.1:8080\"\n";
    let exit = on(warned, &["check", "--offline"]).await.expect(0);
    assert!(exit.stdout.contains("warning[W") && exit.stdout.contains("ok with 1 warning"), "{}", exit.stdout);
    on(warned, &["check", "--offline", "--strict"]).await.expect(3);
}

#[tokio::test]
async fn damaged_files_are_told_of_and_never_panic() {
    let mut damaged: Vec<Vec<u8>> =
        vec![b"\xff\xfe\x00".to_vec(), b"[".to_vec(), b"listen = ".to_vec(), vec![b'['; 5000], b"\0".to_vec()];
    damaged.extend((1..GOOD.len()).step_by(37).map(|end| GOOD.as_bytes()[..end].to_vec()));
    for bytes in damaged {
        let folder = folder("");
        std::fs::write(folder.path().join("maitred.toml"), &bytes).unwrap();
        let exit = maitred(folder.path(), ["check", "--offline"]).await;
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(matches!(exit.code, Some(0 | 3)), "{:?} after {shown:?}: {}", exit.code, exit.stderr);
        assert!(!exit.stderr.contains("panicked"), "{shown:?}: {}", exit.stderr);
        if exit.code == Some(3) {
            assert!(exit.stdout.contains("maitred.toml") || exit.stderr.contains("maitred.toml"), "{shown:?}");
        }
    }
}

#[tokio::test]
async fn variables_and_includes_are_filled_in_and_missing_ones_told_of() {
    let text = "include = [\"conf.d/*.toml\"]\nlisten = \":${PORT:-8080}\"\n";
    let folder = folder(text);
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    let more = |text: &str| std::fs::write(folder.path().join("conf.d/users.toml"), text).unwrap();
    more("[routes]\n\"/users/*\" = \"http://10.0.0.1:8080\"\n");
    let exit = maitred(folder.path(), ["check", "--offline"]).await.expect(0);
    assert!(exit.stdout.contains("1 include"), "{}", exit.stdout);
    more("[routes]\n\"/users/*\" = \"${NOBODY_SET_THIS}\"\n");
    let exit = maitred(folder.path(), ["check", "--offline"]).await.expect(3);
    assert!(exit.stdout.contains("NOBODY_SET_THIS") && exit.stdout.contains("conf.d/users.toml:2"), "{}", exit.stdout);
    let missing = on("include = \"nowhere.toml\"\n", &["check", "--offline"]).await.expect(3);
    assert!(missing.stdout.contains("nowhere.toml"), "{}", missing.stdout);
    maitred(Path::new("/"), ["check", "-c", "/nowhere/maitred.toml"]).await.expect(3);
}

#[tokio::test]
async fn explain_says_who_wins_and_why_the_others_lost() {
    let arguments = ["explain", "GET", "http://api.example.com/users/7", "-H", "X-API-Version: v2"];
    let told = on(GOOD, &arguments).await.expect(0).stdout;
    let first = told.lines().nth(1).unwrap_or_default();
    assert!(first.contains("users-v2") && first.contains("maitred.toml:"), "{told}");
    assert!(
        told.lines().any(|line| line.trim_start().starts_with("users ") && line.contains("fewer headers")),
        "{told}"
    );
    assert!(told.contains("10.0.0.2:8080"), "{told}");
    let plain = on(GOOD, &["explain", "/users/7"]).await.expect(0).stdout;
    assert!(plain.lines().nth(1).unwrap_or_default().contains("users"), "{plain}");
    let json: Value =
        serde_json::from_str(&on(GOOD, &["explain", "--json", "/users/7"]).await.expect(0).stdout).unwrap();
    assert!(json.to_string().contains("\"users\""), "{json}");
    let none = on(GOOD, &["explain", "/nothing"]).await;
    assert!(none.stdout.contains("404") || none.stdout.contains("no route"), "{}", none.stdout);
    on(GOOD, &["explain", "not a url"]).await.expect(2);
}

#[tokio::test]
async fn fmt_keeps_comments_and_says_what_it_would_change() {
    let messy = "listen=\":8080\"   # clients\n[routes]\n\"/*\"   =   \"http://10.0.0.1:8080\"\n\n\n\n# end\n";
    let folder = folder(messy);
    let file = folder.path().join("maitred.toml");
    maitred(folder.path(), ["fmt", "--check"]).await.expect(1);
    let diff = maitred(folder.path(), ["fmt", "--diff"]).await.expect(0).stdout;
    assert!(diff.contains("-listen=") && diff.contains("+listen = "), "{diff}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), messy);
    maitred(folder.path(), ["fmt"]).await.expect(0);
    let tidy = std::fs::read_to_string(&file).unwrap();
    assert!(tidy.contains("# clients") && tidy.contains("# end") && tidy.contains("listen = \":8080\""), "{tidy}");
    maitred(folder.path(), ["fmt", "--check"]).await.expect(0);
    on("listen = [", &["fmt"]).await.expect(3);
}

#[tokio::test]
async fn init_writes_a_file_that_runs_and_never_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::text("hello").await;
    let exit = maitred(folder.path(), ["init", "--to", &origin.to_string()]).await.expect(0);
    assert!(exit.stdout.contains("next: maitred run"), "{}", exit.stdout);
    let text = std::fs::read_to_string(folder.path().join("maitred.toml")).unwrap();
    assert!(text.starts_with("#:schema") && text.contains(&origin.to_string()), "{text}");
    maitred(folder.path(), ["check", "--offline", "--strict"]).await.expect(0);
    maitred(folder.path(), ["fmt", "--check"]).await.expect(0);
    let again = maitred(folder.path(), ["init", "--to", "http://localhost:1"]).await.expect(1);
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
    assert_eq!(std::fs::read_to_string(folder.path().join("maitred.toml")).unwrap(), text);
    maitred(folder.path(), ["init", "--force", "--to", "http://localhost:1"]).await.expect(0);
    let proxy = testkit::Proxy::start(text.replace(":8080", "127.0.0.1:0")).await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "hello");
}

#[tokio::test]
async fn the_commands_about_the_binary_itself() {
    let version = on("", &["version"]).await.expect(0).stdout;
    assert_eq!(version, format!("maitred {}\n", env!("CARGO_PKG_VERSION")));
    let json: Value = serde_json::from_str(&on("", &["version", "--json"]).await.expect(0).stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(on("", &["version", "--features"]).await.expect(0).stdout.contains("http2"));
    let schema: Value = serde_json::from_str(&on("", &["schema"]).await.expect(0).stdout).unwrap();
    for section in ["listen", "listeners", "upstreams", "routes", "defaults", "logging", "admin", "server"] {
        assert!(schema["properties"].get(section).is_some(), "{section} is not in the schema");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(on("", &["completions", shell]).await.expect(0).stdout.contains("explain"), "{shell}");
    }
    let page = on("", &["man"]).await.expect(0).stdout;
    assert!(page.contains(".TH maitred 1"), "{page}");
    let folder = folder("");
    maitred(folder.path(), ["man", "man1"]).await.expect(0);
    assert!(folder.path().join("man1/maitred-check.1").is_file());
}

#[tokio::test]
async fn a_wrong_command_line_is_exit_2() {
    for arguments in [&["nonsense"][..], &["check", "--nonsense"], &["explain"], &["proxy"], &[]] {
        let exit = on("", arguments).await.expect(2);
        assert!(!exit.stderr.is_empty());
    }
    assert!(on("", &["--help"]).await.expect(0).stdout.contains("explain"));
}

#[tokio::test]
async fn commands_that_look_do_not_care_whether_anybody_reads() {
    let shell = format!("{} schema | head -c 10; exit ${{PIPESTATUS[0]}}", testkit::binary().display());
    let output = tokio::process::Command::new("bash").args(["-c", &shell]).output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{stderr}");
}
