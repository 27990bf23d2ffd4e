//! What the provider's token endpoint gives for a code or a refresh token (RFC 6749 sections 4.1.3 and 6).

use fetch::{Ask, Service};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};

use super::Oidc;
use crate::{fetched::Endpoints, policy::Doubt};

/// The longest answer that is read.
const MOST: usize = 64 * 1024;

/// What it gives.
pub(super) struct Tokens {
    pub id: Option<String>,
    pub refresh: Option<String>,
    /// How many seconds the access token lasts.
    pub lasts: Option<i64>,
}

impl Oidc {
    /// Exchanges a grant. [`Doubt::Invalid`] where the provider does not take it.
    pub(super) async fn exchange(&self, endpoints: &Endpoints, grant: &[(&str, &str)]) -> Result<Tokens, Doubt> {
        self.granted(endpoints, grant).await.map_err(|why| match why {
            Ungranted::Spent => Doubt::Invalid,
            Ungranted::Why(why) => {
                self.grumble.warn(&self.policy, &why);
                Doubt::Unavailable
            }
        })
    }

    async fn granted(&self, endpoints: &Endpoints, grant: &[(&str, &str)]) -> Result<Tokens, Ungranted> {
        let fixed = |name: HeaderName, text: &'static str| (name, HeaderValue::from_static(text));
        let mut fields = vec![
            fixed(header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
            fixed(header::ACCEPT, "application/json"),
        ];
        if !endpoints.posts_secret {
            let shown = fetch::basic(&self.client_id, self.client_secret.expose());
            fields.extend(shown.map(|shown| (header::AUTHORIZATION, shown)));
        }
        let content = self.form(endpoints, grant).into();
        let ask = Ask { method: Method::POST, fields, content, most: MOST };
        let service = Service { url: endpoints.token.clone(), ..self.service.clone() };
        let answer = self.client.ask(&service, &ask).await.map_err(Ungranted::Why)?;
        let told = |what: &str| Ungranted::Why(format!("{}: {what}", service.url));
        let object = fetch::object(&answer.content);
        match (answer.status, object) {
            (StatusCode::OK, Some(object)) => Ok(Tokens::of(&object)),
            (StatusCode::OK, None) => Err(told("the answer is not JSON")),
            (_, object) => match object.as_ref().and_then(|object| object.get("error")?.as_str()) {
                Some("invalid_grant") => Err(Ungranted::Spent),
                Some("invalid_client" | "unauthorized_client") => {
                    Err(told("it does not take `client_id` and `client_secret`"))
                }
                _ => Err(told(&format!("the answer is {}", answer.status.as_u16()))),
            },
        }
    }

    fn form(&self, endpoints: &Endpoints, grant: &[(&str, &str)]) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(grant);
        if endpoints.posts_secret {
            form.append_pair("client_id", &self.client_id).append_pair("client_secret", self.client_secret.expose());
        }
        form.finish()
    }
}

/// Why nothing was given.
enum Ungranted {
    /// The grant is not good, or no longer.
    Spent,
    /// For another reason.
    Why(String),
}

impl Tokens {
    fn of(object: &Map<String, Value>) -> Self {
        let text =
            |name: &str| object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            id: text("id_token"),
            refresh: text("refresh_token"),
            lasts: object.get("expires_in").and_then(Value::as_i64).filter(|seconds| *seconds > 0),
        }
    }
}
