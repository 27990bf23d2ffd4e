//! API keys over the admin API: made, listed without their secrets, revoked, and each of it written down.

use serde_json::{Value, json};
use testkit::{Connection, Origin, Proxy, Request, Response, within};

const TOKEN: &str = "0123456789abcdef";

fn text(origin: &Origin, more: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\naudit = \"audit.jsonl\"\n\
         [auth.partners]\ntype = \"api_key\"\nkeys = \"keys.toml\"\nforward = {{ user = \"X-User\", plan = \"X-Plan\" }}\n\
         [routes.app]\npath = \"/*\"\nauth = \"partners\"\nupstream = \"{origin}\"\n{more}"
    )
}

async fn ask(proxy: &Proxy, method: &str, target: &str, order: Option<Value>) -> Response {
    let mut request = Request::new(method, target);
    if let Some(order) = order {
        request = request.header("Content-Type", "application/json").body(order.to_string());
    }
    Connection::to(&proxy.admin_socket()).await.fetch(request).await
}

async fn until(proxy: &Proxy, key: &str, status: u16) -> Response {
    let reached = async {
        loop {
            let answer = proxy.fetch(Request::get("/a").header("X-API-Key", key)).await;
            if answer.status == status {
                return answer;
            }
        }
    };
    within(format!("a key to get {status}"), reached).await
}

#[tokio::test]
async fn a_key_is_made_listed_and_revoked_and_its_secret_is_seen_once() {
    let origin = Origin::echo().await;
    let proxy = Proxy::with(text(&origin, "")).file("keys.toml", "# ours\n").start().await;
    let order =
        json!({ "consumer": "acme", "expires": "90d", "plan": "gold", "scopes": ["orders"], "roles": ["buyer"] });
    let made = ask(&proxy, "POST", "/api/v1/keys", Some(order)).await.expect(200).json();
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(key.starts_with(&format!("mtd_{id}_")) && made["expires"].as_str().unwrap().ends_with('Z'), "{made}");
    let answer = until(&proxy, key, 200).await;
    assert_eq!((answer.seen("x-user").as_deref(), answer.seen("x-plan").as_deref()), (Some("acme"), Some("gold")));
    let listed = ask(&proxy, "GET", "/api/v1/keys", None).await.expect(200);
    assert!(!listed.text().contains(key) && !listed.text().contains("sha256"), "{}", listed.text());
    let one = &listed.json()[0];
    assert_eq!(
        json!([one["id"], one["consumer"], one["policies"], one["live"], one["plan"], one["scopes"], one["roles"]]),
        json!([id, "acme", ["partners"], true, "gold", ["orders"], ["buyer"]])
    );
    // The command and the API change one and the same file.
    let by_command = proxy.command(["key", "list"]).await.expect(0).stdout;
    assert!(by_command.contains(id), "{by_command}");
    let revoked = ask(&proxy, "DELETE", &format!("/api/v1/keys/{id}"), None).await.expect(200).json();
    assert_eq!(revoked, json!({ "revoked": id }));
    until(&proxy, key, 401).await;
    ask(&proxy, "DELETE", &format!("/api/v1/keys/{id}"), None).await.expect(404);
    let file = std::fs::read_to_string(proxy.folder().join("keys.toml")).unwrap();
    assert!(file.starts_with("# ours\n") && !file.contains(id), "{file}");
    // Each change is in the audit log, and the key is not.
    let audit = proxy.folder().join("audit.jsonl");
    let written = within("the audit log", async {
        loop {
            let text = std::fs::read_to_string(&audit).unwrap_or_default();
            if text.lines().filter(|line| line.contains("key_revoke")).count() >= 2 {
                return text;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(written.contains("key_add") && written.contains("acme"), "{written}");
    assert!(!written.contains(key) && !proxy.lines().join("\n").contains(key));
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_and_strangers_change_nothing() {
    let origin = Origin::echo().await;
    let other = format!(
        "[auth.others]\ntype = \"api_key\"\nkeys = \"others.toml\"\n[routes.b]\npath = \"/b\"\nauth = \"others\"\nupstream = \"{origin}\"\n"
    );
    let starter = Proxy::with(text(&origin, &other)).file("keys.toml", "").file("others.toml", "");
    let proxy = starter.start().await;
    let make =
        async |order: Value, status: u16| ask(&proxy, "POST", "/api/v1/keys", Some(order)).await.expect(status).text();
    let told = make(json!({ "consumer": "acme" }), 422).await;
    assert!(told.contains("one of others, partners"), "{told}");
    for wrong in [
        json!({ "policy": "partners" }),
        json!({ "policy": "partners", "consumer": "a b" }),
        json!({ "policy": "partners", "consumer": "a", "expires": "soon" }),
        json!({ "policy": "partners", "consumer": "a", "scopes": ["a\nb"] }),
    ] {
        make(wrong, 422).await;
    }
    make(json!({ "consumer": "a", "polcy": "partners" }), 400).await;
    make(json!({ "consumer": "a", "policy": "nobody" }), 404).await;
    for _ in 0..2 {
        make(json!({ "consumer": "a", "policy": "others" }), 200).await;
    }
    assert!(make(json!({ "consumer": "a", "policy": "others" }), 409).await.contains("2 live keys already"));
    let listed = ask(&proxy, "GET", "/api/v1/keys", None).await.expect(200).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    ask(&proxy, "DELETE", &format!("/api/v1/keys/{id}?policy=partners"), None).await.expect(404);
    ask(&proxy, "DELETE", &format!("/api/v1/keys/{id}?policy=others"), None).await.expect(200);
    // Over TCP one may look, and changes nothing without the token.
    let tcp = async |method: &str, token: &str| {
        let request = Request::new(method, "/api/v1/keys").header("Content-Type", "application/json");
        let request =
            request.header("Authorization", token).body(json!({ "consumer": "b", "policy": "others" }).to_string());
        Connection::to(proxy.listener("admin")).await.fetch(request).await.status
    };
    assert!(matches!(tcp("POST", "Bearer wrong").await, 401 | 403));
    assert!(matches!(tcp("POST", "").await, 401 | 403));
    assert_eq!(tcp("POST", &format!("Bearer {TOKEN}")).await, 200);
}
