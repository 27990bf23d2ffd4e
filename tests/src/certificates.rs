//! Certificates that change while they are served, sessions that are resumed, and what is said of both.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use testkit::{Authority, Certificate, Connection, Proxy, Request, tool, within};
use tokio::{io::AsyncWriteExt, task::JoinSet};

/// A proxy that serves `site.pem` and `site.key` of a folder whose files change.
struct Site {
    authority: Arc<Authority>,
    folder: tempfile::TempDir,
    proxy: Proxy,
}

fn listener(cert: &Path, key: &Path, lines: &str) -> String {
    format!(
        "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {cert:?}, key = {key:?} }}\n{lines}\n\
         [routes.app]\npath = \"/*\"\nrespond = {{ body = \"hello\" }}\n"
    )
}

impl Site {
    async fn open(issue: impl FnOnce(&Authority) -> Certificate) -> (Self, Certificate) {
        let (authority, folder) = (Arc::new(Authority::new()), tempfile::tempdir().unwrap());
        let first = issue(&authority);
        let (cert, key) = (folder.path().join("site.pem"), folder.path().join("site.key"));
        let (cert_pem, key_pem) = first.pem();
        std::fs::write(&cert, cert_pem).unwrap();
        std::fs::write(&key, key_pem).unwrap();
        let proxy = Proxy::start(listener(&cert, &key, "")).await;
        (Self { authority, folder, proxy }, first)
    }

    fn issue(&self) -> Certificate {
        self.authority.issue(&["localhost"])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file in the place of another, in one step.
    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.file("beside"), text).unwrap();
        std::fs::rename(self.file("beside"), self.file(name)).unwrap();
    }

    fn put_both(&self, certificate: &Certificate) {
        let (cert, key) = certificate.pem();
        self.put("site.pem", &cert);
        self.put("site.key", &key);
    }

    /// The certificate that a new client is shown.
    async fn shown(&self) -> Vec<u8> {
        let stream = self.authority.client().connect(self.proxy.address()).await;
        stream.tls().unwrap().peer_certificates().unwrap()[0].to_vec()
    }

    /// How long it takes until new clients are shown this one.
    async fn until_shown(&self, certificate: &Certificate) -> Duration {
        let began = Instant::now();
        let shown = async { while self.shown().await != certificate.der().as_ref() {} };
        within("the new certificate to be served", shown).await;
        began.elapsed()
    }

    /// Runs `openssl s_client` for one request and gives what it says of its session: `New` or `Reused`.
    async fn openssl(&self, arguments: &[&str]) -> String {
        let mut command = tool("openssl", "openssl");
        command.args(["s_client", "-servername", "localhost", "-verify_return_error", "-ign_eof", "-CAfile"]);
        command.arg(self.authority.file()).arg("-connect").arg(self.proxy.address().to_string()).args(arguments);
        command.current_dir(self.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The request's answer comes after the tickets of TLS 1.3, and its end closes the connection.
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        child.stdin.take().unwrap().write_all(request).await.unwrap();
        let output = within("openssl to end", child.wait_with_output()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("hello"), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let kind = ["New", "Reused"].into_iter().find(|kind| text.contains(&format!("\n{kind}, TLSv1")));
        kind.unwrap_or_else(|| panic!("{text}")).to_owned()
    }
}

/// Clients that connect over and over, each with a whole handshake.
struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
    handshakes: Arc<AtomicUsize>,
}

impl Load {
    fn on(site: &Site) -> Self {
        let (stop, handshakes) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let (authority, address) = (site.authority.clone(), site.proxy.address().clone());
            let (stop, handshakes) = (stop.clone(), handshakes.clone());
            clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // Fails the test when the handshake does.
                    let stream = authority.client().connect(&address).await;
                    Connection::over(stream, "localhost").fetch(Request::get("/")).await.expect(200);
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { clients, stop, handshakes }
    }

    /// Waits until so many more handshakes are done.
    async fn more(&self, count: usize) {
        let goal = self.handshakes.load(Ordering::Relaxed) + count;
        let done = async {
            while self.handshakes.load(Ordering::Relaxed) < goal {
                tokio::task::yield_now().await;
            }
        };
        within(format!("{count} more handshakes"), done).await;
    }

    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        self.handshakes.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_without_a_failed_handshake() {
    let (site, first) = Site::open(|authority| authority.issue(&["localhost"])).await;
    // A connection from before, which no change touches.
    let stream = site.authority.client().connect(site.proxy.address()).await;
    let mut early = Connection::over(stream, "localhost");
    early.fetch(Request::get("/")).await.expect(200);
    let load = Load::on(&site);
    let (mut current, mut delays) = (first, Vec::new());
    for round in 0..20 {
        let next = site.issue();
        let (cert, key) = next.pem();
        match round % 4 {
            // Garbage, and half of a certificate: nothing changes.
            0 => site.put("site.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"),
            1 => site.put("site.pem", &cert[..cert.len() / 2]),
            // The certificate, and its key a good while after.
            2 => {
                site.put("site.pem", &cert);
                load.more(50).await;
                assert_eq!(site.shown().await, current.der().as_ref());
                site.put("site.key", &key);
            }
            // Both, written into the files that are there.
            _ => {
                std::fs::write(site.file("site.key"), key).unwrap();
                std::fs::write(site.file("site.pem"), cert).unwrap();
            }
        }
        if round % 4 < 2 {
            load.more(50).await;
            assert_eq!(site.shown().await, current.der().as_ref());
        } else {
            delays.push(site.until_shown(&next).await);
            current = next;
        }
    }
    let handshakes = load.end().await;
    early.fetch(Request::get("/")).await.expect(200);
    delays.sort();
    let median = delays[delays.len() / 2];
    assert!(median < Duration::from_secs(1), "the new certificate was served after {delays:?}");
    for result in ["failed", "closed", "timeout"] {
        let failed = site.proxy.metric("tls_handshakes_total", &[("result", result)]).await;
        assert_eq!(failed, 0.0, "{result}, of {handshakes}");
    }
    assert!(site.proxy.metric("tls_handshakes_total", &[("result", "ok")]).await >= handshakes as f64);
}

#[tokio::test]
async fn a_broken_pair_keeps_the_old_one_and_says_so_once() {
    let (site, first) = Site::open(|authority| authority.issue(&["localhost"])).await;
    let refused = [("listener", "https"), ("result", "refused")];
    site.put("site.key", &site.issue().pem().1);
    let line = site.proxy.printed("listener `https` keeps its certificates").await;
    assert!(line.contains("ERROR") && line.contains("is not the key of the certificate in"), "{line}");
    assert_eq!(site.shown().await, first.der().as_ref());
    site.proxy.until_metric("tls_certificate_reloads_total", &refused, 1.0).await;

    let second = site.issue();
    site.put_both(&second);
    site.until_shown(&second).await;
    let applied = [("listener", "https"), ("result", "applied")];
    site.proxy.until_metric("tls_certificate_reloads_total", &applied, 1.0).await;
    site.proxy.printed("listener `https` serves new certificates").await;
    assert_eq!(site.proxy.metric("tls_certificate_reloads_total", &refused).await, 1.0);
    let told = site.proxy.lines().iter().filter(|line| line.contains("keeps its certificates")).count();
    assert_eq!(told, 1, "{:?}", site.proxy.lines());
}

#[tokio::test]
async fn a_reload_serves_what_the_files_hold_and_refuses_what_is_broken() {
    let (site, first) = Site::open(|authority| authority.issue(&["localhost"])).await;
    let again = || listener(&site.file("site.pem"), &site.file("site.key"), "");
    site.put("site.key", &site.issue().pem().1);
    let line = site.proxy.hang_up(again()).await;
    assert!(line.contains("refused"), "{line}");
    assert_eq!(site.shown().await, first.der().as_ref());

    let second = site.issue();
    site.put_both(&second);
    let line = site.proxy.hang_up(again()).await;
    assert!(line.contains("applied"), "{line}");
    assert_eq!(site.shown().await, second.der().as_ref());
    // And the files are followed on.
    let third = site.issue();
    site.put_both(&third);
    site.until_shown(&third).await;
}

#[tokio::test]
async fn a_link_that_is_turned_to_another_folder_is_followed() {
    // The way in which Kubernetes changes a mounted secret: site.pem → ..data/site.pem, and ..data → ..1, later ..2.
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let secret = |name: &str| {
        let (certificate, at) = (authority.issue(&["localhost"]), folder.path().join(name));
        let (cert, key) = certificate.pem();
        std::fs::create_dir(&at).unwrap();
        std::fs::write(at.join("tls.crt"), cert).unwrap();
        std::fs::write(at.join("tls.key"), key).unwrap();
        certificate
    };
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
    secret("..1");
    link("..1", "..data");
    link("..data/tls.crt", "tls.crt");
    link("..data/tls.key", "tls.key");
    let text = listener(&folder.path().join("tls.crt"), &folder.path().join("tls.key"), "");
    let proxy = Proxy::start(text).await;
    let second = secret("..2");
    link("..2", "..data_tmp");
    std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    std::fs::remove_dir_all(folder.path().join("..1")).unwrap();
    let site = Site { authority: Arc::new(authority), folder, proxy };
    site.until_shown(&second).await;
    assert_eq!(site.proxy.metric("tls_certificate_reloads_total", &[("result", "refused")]).await, 0.0);
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_of_and_the_metric_follows() {
    let (site, _) = Site::open(|authority| authority.issue_for(&["localhost"], 10)).await;
    let line = site.proxy.printed("site.pem` ends in 10 days").await;
    assert!(line.contains("WARN"), "{line}");
    let ends = || site.proxy.metric("tls_certificate_expiry_timestamp_seconds", &[("name", "localhost")]);
    let before = ends().await;
    let renewed = site.authority.issue_for(&["localhost", "new.example"], 90);
    site.put_both(&renewed);
    site.until_shown(&renewed).await;
    let later = async { while ends().await < before + 79.0 * 86_400.0 {} };
    within("the metric to follow", later).await;

    // Another name: the old one's series is gone.
    let other = site.authority.issue_for(&["other.example", "localhost"], 90);
    site.put_both(&other);
    let renamed = [("name", "other.example")];
    site.proxy.until_metric("tls_certificate_expiry_timestamp_seconds", &renamed, 1.0).await;
    assert_eq!(ends().await, 0.0);
    let warned = site.proxy.lines().iter().filter(|line| line.contains("ends in")).count();
    assert_eq!(warned, 1, "{:?}", site.proxy.lines());
}

#[tokio::test]
async fn openssl_resumes_its_sessions_and_a_new_certificate_does_not_end_them() {
    let (mut site, _) = Site::open(|authority| authority.issue(&["localhost"])).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let session = format!("session{version}");
        assert_eq!(site.openssl(&[version, "-sess_out", &session]).await, "New");
        assert_eq!(site.openssl(&[version, "-sess_in", &session]).await, "Reused");
        let next = site.issue();
        site.put_both(&next);
        site.until_shown(&next).await;
        assert_eq!(site.openssl(&[version, "-sess_in", &session]).await, "Reused");
    }
    // A reload that makes the listener anew, with other files.
    let next = site.issue();
    let text = listener(&next.cert_file, &next.key_file, "protocols = \"h1\"");
    assert!(site.proxy.hang_up(text).await.contains("applied"));
    site.until_shown(&next).await;
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(site.openssl(&[version, "-sess_in", &format!("session{version}")]).await, "Reused");
    }
    // A successor is given the keys, goes on with the sessions, and follows the files.
    site.proxy.upgrade(&[]).await;
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(site.openssl(&[version, "-sess_in", &format!("session{version}")]).await, "Reused");
    }
    // Issuing for the same name writes the same two files.
    let renewed = site.issue();
    assert_eq!(renewed.cert_file, next.cert_file);
    site.until_shown(&renewed).await;
    // Another process has other keys.
    let stranger = Proxy::start(listener(&site.file("site.pem"), &site.file("site.key"), "")).await;
    let site = Site { proxy: stranger, ..site };
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(site.openssl(&[version, "-sess_in", &format!("session{version}")]).await, "New");
    }
}
