//! Keys that somebody looks for who does not stay to see them.

use testkit::{Answer, Gate, Origin};

use super::*;

/// RFC 8037 appendix A.2.
const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"new","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

#[tokio::test]
async fn keys_are_fetched_though_the_one_who_looked_for_them_has_left() {
    let gate = Gate::new();
    let script = gate.clone();
    let issuer = Origin::start(move |_| Answer::text(KEYS).after(&script)).await;
    let url = Url::parse(&format!("{issuer}/keys")).unwrap();
    let state = State::default();
    let keys = state.get(Publisher::Jwks(Service { url, trust: fetch::Trust::default(), timeout: PATIENCE }));
    let leaving = tokio::spawn({
        let keys = keys.clone();
        async move { keys.renew().await }
    });
    gate.reached().await;
    leaving.abort();
    assert!(leaving.await.is_err_and(|error| error.is_cancelled()));
    gate.open();
    // Within the time in which nobody asks again.
    keys.renew().await;
    assert!(keys.keys(Timestamp::now().as_second()).is_some());
    assert_eq!(issuer.requests().len(), 1);
}
