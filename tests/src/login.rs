//! Logging in by browser: curl with its cookie jar, a provider on PyJWT, and everybody who would like to be let in without.

use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Address, Answer, Authority, Origin, Provider, Proxy, Request, curl, maitred};

use crate::setting::BOTH;

const SECRET: &str = "a-secret-that-only-the-two-know";

/// A proxy whose users log in at a provider, an echoing origin behind it, and browsers' jars.
pub struct Site {
    pub provider: Provider,
    pub origin: Origin,
    pub proxy: Proxy,
    jars: tempfile::TempDir,
}

fn text(provider: &str, origin: &Origin, policy: &str, route: &str) -> String {
    format!(
        "{BOTH}[auth.staff]\ntype = \"oidc\"\nissuer = \"{provider}\"\nclient_id = \"shop & more\"\n\
         client_secret = \"${{SECRET:-{SECRET}}}\"\nforward = {{ user = \"X-User\", name = \"X-Name\" }}\n{policy}\n\
         [routes.app]\npath = \"/app/*\"\nauth = \"staff\"\nupstream = \"{origin}\"\n{route}\n\
         [routes.other]\npath = \"/other\"\nupstream = \"{origin}\"\n"
    )
}

impl Site {
    pub async fn open(policy: &str, route: &str) -> Self {
        let provider = Provider::start("shop & more", SECRET).await;
        let origin = Origin::start(|seen| match &*seen.target {
            _ if seen.headers.has_token("upgrade", "websocket") => Answer::websocket(),
            "/app/public" => Answer::text("x").header("Cache-Control", "public, s-maxage=60, max-age=5"),
            _ => Answer::echo(),
        })
        .await;
        let text = text(&provider.url(), &origin, policy, route);
        let proxy = Proxy::with(text).variable("SECRET", SECRET).start().await;
        Self { provider, origin, proxy, jars: tempfile::tempdir().unwrap() }
    }

    fn jar(&self, name: &str) -> PathBuf {
        self.jars.path().join(name)
    }

    /// What curl gets as a browser would, with the cookies of this jar: status, place at the end, and content.
    async fn browse(&self, jar: &str, target: &str) -> (u16, String, String) {
        self.surf(jar, &self.proxy.url(target), &["-L"]).await
    }

    pub async fn surf(&self, jar: &str, url: &str, more: &[&str]) -> (u16, String, String) {
        let jar = self.jar(jar).display().to_string();
        let mut arguments = vec!["-b", &jar, "-c", &jar, "-H", "Accept: text/html,*/*;q=0.8", "--max-redirs", "8"];
        arguments.extend(["-w", "\n%{http_code} %{url_effective}", url]);
        arguments.extend(more);
        // One that is stopped on its way has told how far it came.
        let told = String::from_utf8(curl(arguments).await.stdout).unwrap();
        let (content, end) = told.rsplit_once('\n').unwrap();
        let (status, place) = end.split_once(' ').unwrap();
        (status.parse().unwrap(), place.into(), content.into())
    }

    /// The cookies of a jar, as a field.
    pub fn cookies(&self, jar: &str) -> String {
        let text = std::fs::read_to_string(self.jar(jar)).unwrap();
        let lines = text.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            (fields.len() == 7).then(|| format!("{}={}", fields[5], fields[6]))
        });
        lines.collect::<Vec<_>>().join("; ")
    }

    /// Logs in, and the cookies of that.
    async fn log_in(&self, jar: &str) -> String {
        let (status, place, content) = self.browse(jar, "/app/in").await;
        assert_eq!((status, place), (200, self.proxy.url("/app/in")), "{content}");
        self.cookies(jar)
    }
}

fn page(target: &str) -> Request {
    Request::get(target).header("Accept", "text/html")
}

#[tokio::test]
async fn a_browser_logs_in_once_and_the_origin_is_told_who_it_is() {
    let site = Site::open("", "").await;
    let (status, place, content) = site.browse("ada", "/app/a%20b?x=1&y=%2F").await;
    assert_eq!((status, &*place), (200, &*site.proxy.url("/app/a%20b?x=1&y=%2F")), "{content}");
    let seen = site.provider.seen().await;
    let asked = &seen["authorize"][0];
    assert_eq!(
        json!([
            asked["response_type"],
            asked["client_id"],
            asked["scope"],
            asked["code_challenge_method"],
            asked["tenant"]
        ]),
        json!(["code", "shop & more", "openid profile email", "S256", "a"])
    );
    assert_eq!(asked["redirect_uri"], json!(site.proxy.url("/oauth2/callback")));
    let long = |name: &str| asked[name].as_str().unwrap().len() >= 43;
    assert!(long("state") && long("nonce") && long("code_challenge"));
    assert_eq!(seen["token"].as_array().unwrap().len(), 1);
    // The session is one that no script reads and no other site has sent along.
    let jar = std::fs::read_to_string(site.jar("ada")).unwrap();
    let kept: Vec<&str> = jar.lines().filter(|line| line.contains("__Host-maitred-staff")).collect();
    assert_eq!(kept.len(), 1, "the login is over and forgotten: {jar}");
    assert!(kept[0].starts_with("#HttpOnly_127.0.0.1\tFALSE\t/\tTRUE\t"), "{jar}");
    let cookies = site.cookies("ada");
    let h2 = site.proxy.h2c().await;
    for turn in 0..3 {
        let asked = Request::get("/app/a").header("Cookie", &format!("a=1; {cookies}; b=2")).header("X-User", "root");
        let answer = if turn == 1 { h2.fetch(asked).await } else { site.proxy.fetch(asked).await }.expect(200);
        assert_eq!((answer.seen_all("x-user"), answer.seen_all("x-name")), (vec!["u-19".into()], vec!["Ada".into()]));
        assert_eq!(answer.seen_all("cookie"), ["a=1; b=2"], "the session is for nobody else");
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert_eq!(site.provider.exchanges().await, 1);
    let line = site.proxy.logged("/app/a").await;
    assert_eq!((&line["auth"], &line["user"]), (&"staff".into(), &"u-19".into()));
    let told = site.proxy.lines().join("\n");
    assert!(!told.contains(SECRET) && !cookies.split('=').any(|part| part.len() > 40 && told.contains(part)));
    assert!(site.proxy.metric("auth_total", &[("auth", "staff"), ("result", "ok")]).await >= 4.0);
    // An upgrade is asked as well.
    for (field, status) in [(String::new(), 401), (format!("Cookie: {cookies}\r\n"), 101)] {
        let mut connection = site.proxy.connect().await;
        let head = format!(
            "GET /app/live HTTP/1.1\r\nHost: a\r\n{field}Accept: text/html\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        connection.send(head).await;
        assert_eq!(connection.answer_head().await.0, status);
    }
}

#[tokio::test]
async fn over_tls_and_http2_curl_logs_in_too() {
    let (provider, origin, authority) =
        (Provider::start("shop & more", SECRET).await, Origin::echo().await, Authority::new());
    let jars = tempfile::tempdir().unwrap();
    let certificate = authority.issue(&["localhost"]);
    let listener = format!(
        "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {:?}, key = {:?} }}\n",
        certificate.cert_file, certificate.key_file
    );
    let text = text(&provider.url(), &origin, "", "").replace(BOTH, &listener);
    let proxy = Proxy::with(text).variable("SECRET", SECRET).start().await;
    let url = format!("https://localhost:{}/app/a", proxy.address().socket().port());
    let ca = authority.file().display().to_string();
    for version in ["--http1.1", "--http2"] {
        let jar = jars.path().join(version).display().to_string();
        let told =
            curl([version, "-L", "-b", &jar, "-c", &jar, "--cacert", &ca, "-H", "Accept: text/html", &url]).await.ok();
        let seen: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(seen["target"], "/app/a", "{told}");
    }
    let seen = provider.seen().await;
    assert_eq!(seen["authorize"][1]["redirect_uri"], json!(url.replace("/app/a", "/oauth2/callback")));
}

#[tokio::test]
async fn only_a_page_that_a_person_asks_for_leads_to_the_login() {
    let site = Site::open("", "").await;
    let leads = site.proxy.fetch(page("/app/a")).await.expect(302);
    assert!(leads.header("location").unwrap().starts_with(&format!("{}/authorize?tenant=a&", site.provider.url())));
    assert_eq!(
        (leads.header("cache-control"), leads.header("referrer-policy")),
        (Some("no-store"), Some("no-referrer"))
    );
    let login = leads.header("set-cookie").unwrap();
    assert!(login.starts_with("__Host-maitred-staff.login-"), "{login}");
    assert!(login.ends_with("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"), "{login}");
    let h2 = site.proxy.h2c().await;
    h2.fetch(page("/app/a")).await.expect(302);
    assert_eq!(site.proxy.logged_error("auth_missing").await["status"], 302);
    for asked in [
        Request::get("/app/a"),
        Request::get("/app/a").header("Accept", "application/json"),
        Request::post("/app/a", "a=1").header("Accept", "text/html"),
        page("/app/a").header("X-Requested-With", "XMLHttpRequest"),
        page("/app/a").header("Sec-Fetch-Mode", "cors"),
        Request::new("HEAD", "/app/a").header("Accept", "text/html"),
    ] {
        let answer = site.proxy.fetch(asked.clone()).await.expect(401);
        assert_eq!(answer.headers.all("www-authenticate"), ["OpenIDConnect realm=\"staff\""]);
        h2.fetch(asked).await.expect(401);
    }
    // In the clear a browser would keep no session and come again and again.
    let far = site.proxy.fetch(page("/app/a").host("app.example")).await.expect(401);
    assert!(far.text().contains("Logging in needs https"), "{}", far.text());
    site.proxy.get("/other").await.expect(200);
    assert_eq!(site.origin.requests().len(), 1);
    assert_eq!(site.provider.seen().await["authorize"], json!([]));
}

#[tokio::test]
async fn nobody_is_logged_in_by_an_answer_that_this_browser_did_not_ask_for() {
    let site = Site::open("", "").await;
    let begun = site.proxy.fetch(page("/app/a")).await.expect(302);
    let login = begun.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let location = begun.header("location").unwrap().to_owned();
    let back = site.surf("none", &location, &["-o", "/dev/null", "-w", "\n%{http_code} %{redirect_url}"]).await.1;
    let target = back.split_once("/oauth2").map(|(_, rest)| format!("/oauth2{rest}")).unwrap();
    let state = target.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    // Somebody else's code and state, in a browser that has begun nothing, or another login (RFC 6749 section 10.12).
    let other = site.proxy.fetch(page("/app/b")).await.expect(302);
    let other = other.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let renamed = format!("{}={}", login.split_once('=').unwrap().0, other.split_once('=').unwrap().1);
    for cookie in ["", &other, &renamed, &login.replace("login", "logon")] {
        let asked = page(&target).header("Cookie", cookie);
        site.proxy.fetch(asked.clone()).await.expect(401);
        site.proxy.h2c().await.fetch(asked).await.expect(401);
    }
    for wrong in [
        "/oauth2/callback".to_owned(),
        "/oauth2/callback?code=1".to_owned(),
        format!("/oauth2/callback?state={state}"),
        format!("/oauth2/callback?state={state}&code=made-up&state={state}"),
        format!("{target}&code=again"),
    ] {
        let answer = site.proxy.fetch(page(&wrong).header("Cookie", &login)).await.expect(401);
        assert!(
            !answer.headers.all("set-cookie").iter().any(|one| one.starts_with("__Host-maitred-staff=")),
            "{wrong}"
        );
    }
    let post = Request::post(&target, "").header("Cookie", &login);
    site.proxy.fetch(post).await.expect_problem(401, "auth_invalid");
    assert!(site.provider.exchanges().await <= 1, "{:?}", site.provider.seen().await);
    // The right one is let in, and once: the code is spent.
    let arrived = site.proxy.fetch(page(&target).header("Cookie", &login)).await.expect(303);
    assert_eq!(arrived.header("location"), Some("/app/a"));
    assert!(arrived.headers.all("set-cookie").iter().any(|one| one.starts_with("__Host-maitred-staff=1.")));
    assert!(
        arrived
            .headers
            .all("set-cookie")
            .iter()
            .any(|one| one.starts_with("__Host-maitred-staff.login-") && one.contains("Max-Age=0"))
    );
    let again = site.proxy.fetch(page(&target).header("Cookie", &login)).await.expect(401);
    assert_eq!(again.headers.all("www-authenticate"), ["OpenIDConnect realm=\"staff\""]);
    assert!(site.origin.requests().is_empty(), "what comes back from the provider is for nobody else");
}

#[tokio::test]
async fn a_provider_that_lies_lets_nobody_in() {
    let site = Site::open("", "").await;
    let refused = async |what: &str, wish: Value, status: u16| {
        site.provider.wish(wish).await;
        let (told, place, content) = site.browse(what, "/app/a").await;
        assert_eq!(told, status, "{what}: {content}");
        assert!(place.contains("/oauth2/callback"), "{what}: {place}");
        assert!(!site.cookies(what).contains("__Host-maitred-staff="), "{what}");
    };
    let fresh = |claims: Value| json!({ "claims": claims, "forge": false, "error": null, "id": true });
    refused("nonce", fresh(json!({ "nonce": "another" })), 401).await;
    refused("audience", fresh(json!({ "aud": "another" })), 401).await;
    refused("party", fresh(json!({ "aud": ["shop & more", "b"], "azp": "b" })), 401).await;
    refused("issuer", fresh(json!({ "iss": "https://evil.test" })), 401).await;
    refused("ended", fresh(json!({ "exp": 1000 })), 401).await;
    refused("early", fresh(json!({ "iat": 4_000_000_000_u64 })), 401).await;
    refused("forged", json!({ "claims": {}, "forge": true }), 401).await;
    refused("none", json!({ "forge": false, "id": false }), 401).await;
    refused("denied", json!({ "id": true, "error": "access_denied" }), 403).await;
    refused("broken", json!({ "error": "server_error" }), 503).await;
    refused("odd", json!({ "error": "invalid_scope" }), 401).await;
    refused("away", json!({ "error": null, "down": ["/token"] }), 503).await;
    refused("large", json!({ "down": [], "claims": { "much": "x".repeat(5900), "more": "y".repeat(200) } }), 401).await;
    assert!(site.origin.requests().is_empty());
    site.proxy.printed("the policy `staff` cannot tell who calls: ").await;
    // What is right is taken, spread over several cookies where it is long.
    site.provider.wish(json!({ "claims": { "much": "x".repeat(4000) } })).await;
    let cookies = site.log_in("long").await;
    assert!(cookies.contains("__Host-maitred-staff=3.") && cookies.contains("__Host-maitred-staff.1="), "{cookies}");
    let half = cookies.split("; ").find(|one| one.contains("staff=")).unwrap();
    site.proxy.fetch(Request::get("/app/a").header("Cookie", half)).await.expect(401);
    site.proxy.fetch(Request::get("/app/a").header("Cookie", &cookies)).await.expect(200);
}

#[tokio::test]
async fn a_provider_that_names_itself_has_to_be_the_right_one() {
    let provider = Provider::start("shop & more", SECRET).await;
    provider.wish(json!({ "iss": "https://evil.test", "post": true })).await;
    let origin = Origin::echo().await;
    let text = text(&provider.url(), &origin, "", "");
    let proxy = Proxy::with(text).variable("SECRET", SECRET).start().await;
    let site = Site { provider, origin, proxy, jars: tempfile::tempdir().unwrap() };
    assert_eq!(site.browse("mixed", "/app/a").await.0, 401, "RFC 9207");
    site.provider.wish(json!({ "iss": null })).await;
    assert_eq!(site.browse("silent", "/app/a").await.0, 401, "it has said that it names itself");
    assert_eq!(site.provider.exchanges().await, 0);
    // This one wants the client's secret among what is posted.
    site.provider.wish(json!({ "iss": site.provider.url() })).await;
    site.log_in("right").await;
}

#[tokio::test]
async fn a_session_is_renewed_before_it_ends_and_once_for_all() {
    let site = Site::open("leeway = \"0s\"", "").await;
    // Half a minute before its end it is renewed: at once.
    site.provider.wish(json!({ "lasts": 25, "claims": { "name": "Ada" } })).await;
    let (_, _, _) = site.surf("ada", &site.proxy.url("/app/in"), &["-L", "--max-redirs", "2"]).await;
    let cookies = site.cookies("ada");
    site.provider.wish(json!({ "lasts": 600, "claims": { "name": "Ada Lovelace" } })).await;
    let h2 = site.proxy.h2c().await;
    let asked = Request::get("/app/a").header("Cookie", &cookies);
    let (one, two, three) =
        tokio::join!(site.proxy.fetch(asked.clone()), h2.fetch(asked.clone()), h2.fetch(asked.clone()));
    for answer in [one, two, three] {
        let answer = answer.expect(200);
        assert_eq!(answer.seen("x-name").as_deref(), Some("Ada Lovelace"));
        let kept = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let next = site.proxy.fetch(Request::get("/app/a").header("Cookie", &kept)).await.expect(200);
        assert_eq!((next.seen("x-name").as_deref(), next.header("set-cookie")), (Some("Ada Lovelace"), None));
    }
    let seen = site.provider.seen().await;
    assert_eq!(seen["token"].as_array().unwrap().len(), 2, "{seen}");
    assert_eq!(seen["token"][1]["grant_type"], "refresh_token");
    // Of another user it is no renewal.
    let site = Site::open("leeway = \"0s\"", "").await;
    site.provider.wish(json!({ "lasts": 25 })).await;
    let _ = site.surf("ada", &site.proxy.url("/app/in"), &["-L", "--max-redirs", "2"]).await;
    site.provider.wish(json!({ "lasts": 600, "claims": { "sub": "u-20" } })).await;
    let asked = Request::get("/app/a").header("Cookie", &site.cookies("ada"));
    for _ in 0..3 {
        site.proxy.fetch(asked.clone()).await.expect_problem(401, "auth_expired");
    }
    assert_eq!(site.provider.exchanges().await, 2, "a session that is not renewed is not asked about at once again");
    let led = site.proxy.fetch(page("/app/a").header("Cookie", &site.cookies("ada"))).await.expect(302);
    assert!(led.header("location").unwrap().starts_with(&site.provider.url()));
}

#[tokio::test]
async fn a_provider_that_is_away_keeps_new_ones_out_and_nobody_else() {
    let site = Site::open("leeway = \"0s\"\ntimeout = \"500ms\"", "").await;
    site.provider.wish(json!({ "lasts": 600, "refresh": false })).await;
    let long = site.log_in("long").await;
    site.provider.wish(json!({ "lasts": 5, "refresh": true })).await;
    let _ = site.surf("short", &site.proxy.url("/app/in"), &["-L", "--max-redirs", "2"]).await;
    let short = site.cookies("short");
    assert!(short.contains("__Host-maitred-staff="), "{short}");
    site.provider.wish(json!({ "down": ["/token", "/keys", "/.well-known/openid-configuration"] })).await;
    let ask = |cookies: &str| site.proxy.fetch(Request::get("/app/a").header("Cookie", cookies));
    // Its renewal fails, and until its end that harms nobody.
    ask(&short).await.expect(200);
    testkit::within("the session to end", async {
        while ask(&short).await.status != 503 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ask(&short).await.reason().as_deref(), Some("auth_unavailable"));
    ask(&long).await.expect(200);
    assert_eq!(site.browse("new", "/app/a").await.0, 503);
    // A provider that was never there.
    let origin = Origin::echo().await;
    let text = text(&format!("http://{}", Address::refusing()), &origin, "", "");
    let proxy = Proxy::with(text).variable("SECRET", SECRET).start().await;
    proxy.fetch(page("/app/a")).await.expect(503);
    proxy.printed("the policy `staff` cannot tell who calls: the provider's discovery document cannot be had").await;
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn whoever_logs_out_is_out_here_and_there() {
    let site = Site::open("logout = \"/bye\"\nafter_logout = \"/other\"", "").await;
    let cookies = site.log_in("ada").await;
    let left = ["-o", "/dev/null", "-w", "\n%{http_code} %{redirect_url}"];
    let (status, location, _) = site.surf("ada", &site.proxy.url("/bye"), &left).await;
    assert_eq!(status, 303);
    let (status, place, _) = site.surf("there", &location, &["-L"]).await;
    assert_eq!((status, place), (200, site.proxy.url("/other")));
    assert!(!site.cookies("ada").contains("__Host-maitred"), "{}", site.cookies("ada"));
    let seen = site.provider.seen().await;
    assert_eq!(seen["logout"][0]["post_logout_redirect_uri"], json!(site.proxy.url("/other")));
    assert_eq!(seen["logout"][0]["client_id"], "shop & more");
    assert_eq!(seen["logout"][0]["id_token_hint"].as_str().unwrap().split('.').count(), 3);
    // Another site's picture does not log anybody out.
    let foreign = Request::get("/bye").header("Cookie", &cookies).header("Sec-Fetch-Site", "cross-site");
    let refused = site.proxy.fetch(foreign).await.expect(403);
    assert_eq!(refused.header("set-cookie"), None);
    site.proxy.fetch(Request::new("DELETE", "/bye").header("Cookie", &cookies)).await.expect(403);
    let left = site.proxy.h2c().await.fetch(Request::post("/bye", "").header("Cookie", &cookies)).await.expect(303);
    assert!(left.header("set-cookie").unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn secrets_are_exchanged_without_logging_anybody_out() {
    let (one, two) = ("1".repeat(32), "2".repeat(32));
    let site = Site::open(&format!("cookie_secret = \"{one}\""), "").await;
    let cookies = site.log_in("ada").await;
    let ask = || site.proxy.fetch(Request::get("/app/a").header("Cookie", &cookies));
    let with = |policy: &str| text(&site.provider.url(), &site.origin, policy, "");
    site.proxy.hang_up(with(&format!("cookie_secret = [\"{two}\", \"{one}\"]"))).await;
    ask().await.expect(200);
    let fresh = site.log_in("bob").await;
    site.proxy.hang_up(with(&format!("cookie_secret = \"{two}\""))).await;
    ask().await.expect_problem(401, "auth_invalid");
    site.proxy.fetch(Request::get("/app/a").header("Cookie", &fresh)).await.expect(200);
    // A session of another policy, or one that was tampered with, is none.
    site.proxy.hang_up(with(&format!("cookie_secret = \"{two}\"\n")).replace("shop & more", "another")).await;
    site.proxy.fetch(Request::get("/app/a").header("Cookie", &fresh)).await.expect_problem(401, "auth_invalid");
}

#[tokio::test]
async fn it_goes_with_keys_requirements_and_shadow() {
    let require = "require = { role = \"staff\", claims = { name = \"Ada\" } }";
    let site = Site::open("", require).await;
    let cookies = site.log_in("ada").await;
    site.proxy.fetch(Request::get("/app/a").header("Cookie", &cookies)).await.expect(200);
    site.provider.wish(json!({ "claims": { "roles": ["guest"] } })).await;
    assert_eq!(site.browse("guest", "/app/a").await.0, 403);
    let explained = site.proxy.command(["explain", "/app/a", "--as", "ada"]).await;
    assert!(explained.stdout.contains("403"), "{explained:?}");
    let explained = site.proxy.command(["explain", "/app/a", "-H", &format!("Cookie: {cookies}")]).await;
    assert!(explained.stdout.contains("u-19") && !explained.stdout.contains("staff=1."), "{explained:?}");
    let explained = site.proxy.command(["explain", "/oauth2/callback?state=x"]).await;
    assert!(explained.stdout.contains("→ app"), "{explained:?}");
    // With another way in, programs take that, and persons log in.
    let both = "auth = [\"staff\", { type = \"jwt\", secret = \"0123456789abcdef0123456789abcdef\" }]";
    let text = text(&site.provider.url(), &site.origin, "", "").replace("auth = \"staff\"", both);
    site.proxy.hang_up(&text).await;
    let refused = site.proxy.get("/app/a").await.expect_problem(401, "auth_missing");
    assert_eq!(refused.headers.all("www-authenticate").len(), 2);
    site.proxy.fetch(page("/app/a")).await.expect(302);
    site.proxy.fetch(page("/app/a").header("Authorization", "Bearer x")).await.expect(401);
    // The policy's own pages are nobody else's, whoever comes with whatever.
    let anybody = text.replace("[\"staff\",", "[\"anonymous\", \"staff\",");
    site.proxy.hang_up(&anybody).await;
    site.proxy.get("/app/a").await.expect(200);
    site.proxy.get("/oauth2/callback?state=x&code=y").await.expect(401);
    site.proxy
        .hang_up(
            text.replace("type = \"oidc\"", "type = \"oidc\"\nmode = \"shadow\"").replace(both, "auth = \"staff\""),
        )
        .await;
    site.proxy.fetch(page("/app/shadow")).await.expect(200);
    assert_eq!(site.proxy.logged("/app/shadow").await["shadow"], "auth_missing");
    site.proxy.fetch(page("/oauth2/callback?state=x&code=y")).await.expect(401);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = async |policy: &str, more: &str, texts: &[&str]| {
        let text = format!(
            "listen = \"127.0.0.1:0\"\n[auth.staff]\ntype = \"oidc\"\n{policy}\n[routes.app]\npath = \"/a\"\nauth = \"staff\"\n\
             respond = {{ status = 200 }}\n{more}\n"
        );
        std::fs::write(folder.path().join("maitred.toml"), text).unwrap();
        let exit = maitred(folder.path(), ["check"]).await.expect(3);
        for text in texts {
            assert!(exit.stdout.contains(text) || exit.stderr.contains(text), "{text}: {exit:?}");
        }
    };
    refused("", "", &["`issuer` is missing", "`client_id` is missing", "`client_secret` is missing"]).await;
    let known = "issuer = \"https://a.test\"\nclient_id = \"a\"\nclient_secret = \"hush\"\n";
    refused(known, "", &["too short to keep sessions with", "4 bytes, and 24 are needed", "cookie_secret"]).await;
    let long = known.replace("hush", &"hush".repeat(8));
    refused(&format!("{long}cookie_secret = [\"hush\"]"), "", &["4 bytes, and 32 are needed"]).await;
    refused(&format!("{long}callback = \"a?b\"\nlogout = \"//a\""), "", &["`callback` is not", "`logout` is not"])
        .await;
    refused(&format!("{long}callback = \"/oauth2/logout\""), "", &["are the same page"]).await;
    refused(
        &format!("{long}session = \"1s\"\ntimeout = \"1h\""),
        "",
        &["from \"1m\" to \"30d\"", "from \"1ms\" to \"30s\""],
    )
    .await;
    refused(
        &format!("{long}audience = \"b\"\nscopes = [\"a b\"]"),
        "",
        &["`audience` means nothing", "is not a scope"],
    )
    .await;
    let two = format!(
        "[auth.b]\ntype = \"oidc\"\n{long}[routes.b]\npath = \"/b\"\nauth = \"b\"\nrespond = {{ status = 200 }}"
    );
    refused(&long, &two, &["two policies have the page `/oauth2/callback` on one host"]).await;
    let text = format!("[auth.a]\ntype = \"api_key\"\nscopes = \"a\"\nkeys = \"keys.toml\"\n{}", "listen = \":0\"");
    std::fs::write(folder.path().join("maitred.toml"), text).unwrap();
    maitred(folder.path(), ["check"]).await.expect(3);
}
