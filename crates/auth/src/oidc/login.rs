//! The way to the provider and back, and out again.

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use filter::{Body, Reason, Reply, Scheme, View, query};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Oidc,
    cookies::UNDER_WAY,
    seal::Purpose,
    session::{Session, claims},
};
use crate::{
    fetched::Endpoints,
    policy::{Doubt, Refused},
};

/// The longest place that one is brought back to; from a longer one one comes back to `/`.
const LONGEST: usize = 2048;
/// How long a hint may be that goes into a URL.
const LONGEST_HINT: usize = 4096;

/// A login under way: what only the browser that began it can show.
#[derive(Debug, Serialize, Deserialize)]
struct Login {
    state: String,
    nonce: String,
    verifier: String,
    /// The page that was asked for.
    back: String,
    since: i64,
}

impl Oidc {
    /// Sends a browser that asks for a page to the provider. Programs are told that they are nobody.
    pub(super) async fn begin(&self, request: &View<'_>, doubt: Doubt) -> Refused {
        if !matches!(doubt, Doubt::Missing | Doubt::Invalid | Doubt::Expired) || !is_navigation(request) {
            return doubt.into();
        }
        if request.client.scheme == Scheme::Http && !is_this_machine(request.host) {
            // A browser would keep no `__Host-` cookie, and go round in circles.
            return self.told(doubt, "Logging in needs https: browsers keep no session of a page in the clear.");
        }
        match self.departure(request).await {
            Ok((location, cookies)) => leaving(doubt, StatusCode::FOUND, &location, cookies),
            Err(doubt) => doubt.into(),
        }
    }

    async fn departure(&self, request: &View<'_>) -> Result<(String, Vec<HeaderValue>), Doubt> {
        let endpoints = self.endpoints().await?;
        let login = Login {
            state: random()?,
            nonce: random()?,
            verifier: random()?,
            back: back(request),
            since: jiff::Timestamp::now().as_second(),
        };
        let sealed = self.seal.close(Purpose::Login, &login).ok_or(Doubt::Unavailable)?;
        let mut cookies = self.cookies.end_logins(request);
        cookies.push(self.cookies.keep_login(&login.state, &sealed).ok_or(Doubt::Unavailable)?);
        let here = self.callback_url(request);
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, login.verifier.as_bytes()));
        let parameters = [
            ("response_type", "code"),
            ("client_id", &*self.client_id),
            ("redirect_uri", &*here),
            ("scope", &*self.scopes),
            ("state", &*login.state),
            ("nonce", &*login.nonce),
            ("code_challenge", &*challenge),
            ("code_challenge_method", "S256"),
        ];
        Ok((with_parameters(&endpoints.authorization, &parameters), cookies))
    }

    /// The provider has sent the browser back.
    pub(super) async fn come_back(&self, request: &View<'_>) -> Refused {
        if request.head.method != Method::GET {
            return self.told(Doubt::Invalid, "The provider's answer comes by GET.");
        }
        let asked = Returned::of(request.query.unwrap_or(""));
        let login = asked.state.as_deref().and_then(|state| self.under_way(state, request));
        // Whoever is sent here by somebody else has begun no login (RFC 6749 section 10.12).
        let Some(login) = login else {
            return self
                .told(Doubt::Invalid, "This login was not begun by this browser, or too long ago. Begin again.");
        };
        match self.arrive(&asked, &login, request).await {
            Ok((session, mut cookies)) => {
                let identity = self.identity(&session, Box::default()).ok().map(std::sync::Arc::new);
                cookies.extend(self.cookies.end_login(&login.state));
                let mut refused = leaving(Doubt::Answered, StatusCode::SEE_OTHER, &local(&login.back), cookies);
                refused.identity = identity;
                refused
            }
            Err((doubt, Some(sentence))) => self.told(doubt, sentence),
            Err((doubt, None)) => doubt.into(),
        }
    }

    fn under_way(&self, state: &str, request: &View<'_>) -> Option<Login> {
        let login: Login = self.seal.open(Purpose::Login, self.cookies.login(state, request)?)?;
        verify_slices_are_equal(login.state.as_bytes(), state.as_bytes()).ok()?;
        let age = jiff::Timestamp::now().as_second().saturating_sub(login.since);
        (0..=UNDER_WAY).contains(&age).then_some(login)
    }

    async fn arrive(
        &self,
        asked: &Returned,
        login: &Login,
        request: &View<'_>,
    ) -> Result<(Session, Vec<HeaderValue>), (Doubt, Option<&'static str>)> {
        let bare = |doubt: Doubt| (doubt, None);
        let endpoints = self.endpoints().await.map_err(bare)?;
        self.check_origin(&endpoints, asked)?;
        match asked.error.as_deref() {
            None => {}
            Some("access_denied") => return Err((Doubt::Forbidden, Some("The provider has refused the login."))),
            Some("server_error" | "temporarily_unavailable") => return Err(bare(Doubt::Unavailable)),
            Some(_) => return Err((Doubt::Invalid, Some("The provider could not complete the login."))),
        }
        let code = asked.code.as_deref().filter(|code| !code.is_empty());
        let code = code.ok_or((Doubt::Invalid, Some("The provider's answer has no code.")))?;
        let here = self.callback_url(request);
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &*here),
            ("code_verifier", &*login.verifier),
        ];
        let tokens = self.exchange(&endpoints, &grant).await.map_err(|doubt| match doubt {
            Doubt::Invalid => (doubt, Some("The provider does not take the code any more. Begin again.")),
            doubt => bare(doubt),
        })?;
        let (token, until) = self.checked(tokens.id, login).await?;
        let now = jiff::Timestamp::now().as_second();
        let session = Session { token, refresh: tokens.refresh, until, since: now };
        let cookies = self.kept(&session, now).map_err(bare)?;
        Ok((session, cookies.into()))
    }

    /// That an answer is of this provider and of no other that the client might have been lured to (RFC 9207).
    fn check_origin(&self, endpoints: &Endpoints, asked: &Returned) -> Result<(), (Doubt, Option<&'static str>)> {
        let own = self.tokens.rules.claims.issuer.as_deref();
        match asked.issuer.as_deref() {
            Some(told) if Some(told) == own => Ok(()),
            None if !endpoints.names_itself => Ok(()),
            _ => Err((Doubt::Invalid, Some("The answer is of another provider."))),
        }
    }

    /// OpenID Connect Core section 3.1.3.7.
    async fn checked(
        &self,
        token: Option<String>,
        login: &Login,
    ) -> Result<(String, i64), (Doubt, Option<&'static str>)> {
        const BAD: Option<&str> = Some("The provider's token is not good.");
        let refused = |doubt: Doubt, why: &str| {
            self.grumble.warn(&self.policy, why);
            (doubt, BAD.filter(|_| doubt != Doubt::Unavailable))
        };
        let token = token.ok_or_else(|| refused(Doubt::Invalid, "the provider gives no ID token"))?;
        let (claims, until) =
            self.tokens.claims(&token).await.map_err(|doubt| refused(doubt, "the provider's ID token is not good"))?;
        let nonce = claims.get("nonce").and_then(Value::as_str).unwrap_or("");
        if verify_slices_are_equal(nonce.as_bytes(), login.nonce.as_bytes()).is_err() {
            return Err(refused(Doubt::Invalid, "the provider's ID token is of another login"));
        }
        if !is_for(&claims, &self.client_id) {
            return Err(refused(Doubt::Invalid, "the provider's ID token is for another client"));
        }
        let until = until.ok_or_else(|| refused(Doubt::Invalid, "the provider's ID token has no end"))?;
        Ok((token, until))
    }

    /// Ends the session here and, where the provider can, there.
    pub(super) fn leave(&self, request: &View<'_>, session: Option<&str>) -> Refused {
        if request.header("sec-fetch-site") == Some("cross-site") {
            return self.told(Doubt::Forbidden, "Another site has no business logging anybody out.");
        }
        if !matches!(request.head.method, Method::GET | Method::POST) {
            return self.told(Doubt::Forbidden, "One logs out by GET or POST.");
        }
        let cookies = self.cookies.end(request);
        let known = self.issuer.endpoints();
        let Some(end) = known.as_ref().and_then(|known| known.end_session.as_deref()) else {
            return leaving(Doubt::Answered, StatusCode::SEE_OTHER, &self.after_logout, cookies);
        };
        let session: Option<Session> = session.and_then(|text| self.seal.open(Purpose::Session, text));
        let hint =
            session.map(|session| session.token).filter(|token| token.len() <= LONGEST_HINT && claims(token).is_some());
        let after = format!("{}{}", self.here(request), self.after_logout);
        let mut parameters = vec![("client_id", &*self.client_id), ("post_logout_redirect_uri", &*after)];
        parameters.extend(hint.as_deref().map(|hint| ("id_token_hint", hint)));
        leaving(Doubt::Answered, StatusCode::SEE_OTHER, &with_parameters(end, &parameters), cookies)
    }

    fn callback_url(&self, request: &View<'_>) -> String {
        format!("{}{}", self.here(request), self.callback)
    }

    /// The scheme and authority that the browser sees.
    fn here(&self, request: &View<'_>) -> String {
        let authority = request.head.uri.authority().map(http::uri::Authority::as_str);
        let authority = authority.or_else(|| request.header(header::HOST)).unwrap_or(request.host);
        format!("{}://{authority}", request.client.scheme)
    }

    fn told(&self, doubt: Doubt, sentence: &str) -> Refused {
        Refused { doubt, reply: Some(Box::new(Reply::refuse(doubt.reason()).detail(sentence))), identity: None }
    }
}

/// What the provider has the browser bring.
#[derive(Default)]
struct Returned {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

impl Returned {
    fn of(text: &str) -> Self {
        let mut returned = Self::default();
        for (name, value) in query::parameters(text) {
            let place = match &*query::decode(name) {
                b"state" => &mut returned.state,
                b"code" => &mut returned.code,
                b"error" => &mut returned.error,
                b"iss" => &mut returned.issuer,
                _ => continue,
            };
            // RFC 6749 section 3.1: no parameter comes twice; where one does, none is taken.
            let value = String::from_utf8(query::decode(value).into_owned()).unwrap_or_default();
            *place = Some(if place.is_some() { String::new() } else { value });
        }
        returned
    }
}

/// An answer of the policy's own that sends the browser somewhere.
fn leaving(doubt: Doubt, status: StatusCode, location: &str, cookies: Vec<HeaderValue>) -> Refused {
    let Ok(location) = HeaderValue::try_from(location) else { return Doubt::Unavailable.into() };
    let reason = if doubt == Doubt::Answered { Reason::None } else { doubt.reason() };
    let mut reply = Reply { status, reason, headers: Default::default(), body: Body::Empty }
        .with(header::LOCATION, location)
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .with(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    reply.headers.extend(cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie)));
    Refused { doubt, reply: Some(Box::new(reply)), identity: None }
}

/// Whether a person looks at what comes of it: scripts and forms cannot be sent elsewhere to log in.
fn is_navigation(request: &View<'_>) -> bool {
    let accepts = |value: &str| value.split(',').any(|one| one.split(';').next().unwrap_or("").trim() == "text/html");
    request.head.method == Method::GET
        && request.header(header::ACCEPT).is_some_and(accepts)
        && request.header("sec-fetch-mode").is_none_or(|mode| mode == "navigate")
        && !request.header("x-requested-with").is_some_and(|by| by.eq_ignore_ascii_case("XMLHttpRequest"))
        && !request.head.headers.contains_key(header::UPGRADE)
}

fn is_this_machine(host: &str) -> bool {
    matches!(host, "localhost" | "[::1]") || host.ends_with(".localhost") || host.starts_with("127.")
}

/// The page that was asked for: path and query of this very host.
fn back(request: &View<'_>) -> String {
    let mut back = request.path.to_owned();
    if let Some(query) = request.query {
        back.push('?');
        back.push_str(query);
    }
    if back.len() > LONGEST { "/".into() } else { local(&back) }
}

/// A reference that cannot lead to another host (RFC 3986 section 4.2; browsers read `\` as `/`, and skip what is no letter).
fn local(target: &str) -> String {
    let mut bytes = target.bytes();
    let begins = bytes.next() == Some(b'/') && !matches!(bytes.next(), Some(b'/' | b'\\'));
    let plain = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if begins && plain { target.into() } else { "/".into() }
}

/// Whether a token's `aud` and `azp` say that it is for this client.
fn is_for(claims: &Map<String, Value>, client: &str) -> bool {
    let several = matches!(claims.get("aud"), Some(Value::Array(all)) if all.len() > 1);
    match claims.get("azp") {
        None => !several,
        Some(party) => party.as_str() == Some(client),
    }
}

fn with_parameters(url: &str, parameters: &[(&str, &str)]) -> String {
    let text: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{url}{}{text}", if url.contains('?') { '&' } else { '?' })
}

/// 256 random bits (RFC 7636 section 4.1 for the verifier, RFC 6749 section 10.10 for the state).
fn random() -> Result<String, Doubt> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Doubt::Unavailable)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nobody_is_brought_to_another_host() {
        for good in ["/", "/a/b?c=d//e", "/a%2Fb", "/a//b"] {
            assert_eq!(local(good), good);
        }
        for bad in [
            "//evil.test",
            "/\\evil.test",
            "\\\\evil.test",
            "https://evil.test",
            "evil.test",
            "",
            "/\t/evil.test",
            "/a\nb",
            "/ü",
            "/a\\b",
        ] {
            assert_eq!(local(bad), "/", "{bad:?}");
        }
    }

    #[test]
    fn a_parameter_that_comes_twice_is_no_answer() {
        let returned = Returned::of("state=a%2Db&code=1&code=2&iss=https%3A%2F%2Fa");
        assert_eq!(returned.state.as_deref(), Some("a-b"));
        assert_eq!(returned.code.as_deref(), Some(""));
        assert_eq!(returned.issuer.as_deref(), Some("https://a"));
        assert!(returned.error.is_none());
    }

    #[test]
    fn a_token_for_several_has_to_say_who_asked_for_it() {
        let claims = |value: Value| if let Value::Object(object) = value { object } else { Map::new() };
        assert!(is_for(&claims(json!({ "aud": "app" })), "app"));
        assert!(is_for(&claims(json!({ "aud": ["app"] })), "app"));
        assert!(is_for(&claims(json!({ "aud": ["app", "b"], "azp": "app" })), "app"));
        assert!(!is_for(&claims(json!({ "aud": ["app", "b"] })), "app"));
        assert!(!is_for(&claims(json!({ "aud": "app", "azp": "b" })), "app"));
        assert!(!is_for(&claims(json!({ "aud": "app", "azp": 1 })), "app"));
    }
}
