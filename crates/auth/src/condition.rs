//! Conditions in CEL, the Common Expression Language, in builds that have it (feature `cel`).

use document::{At, Report};
use filter::{Identity, View};

/// What a condition may look at.
#[cfg(feature = "cel")]
const VARIABLES: [&str; 7] = ["user", "key", "plan", "scopes", "roles", "claims", "request"];

/// A condition, as run.
#[cfg(feature = "cel")]
pub(crate) struct Condition {
    program: cel::Program,
    environment: std::sync::Arc<cel::Env>,
    /// Which of [`VARIABLES`] it looks at: the others are not made.
    seen: [bool; VARIABLES.len()],
}

/// None can be made.
#[cfg(not(feature = "cel"))]
#[derive(Debug)]
pub(crate) enum Condition {}

#[cfg(not(feature = "cel"))]
impl Condition {
    pub(crate) fn compile(_: &str, at: &At, report: &mut Report) -> Option<Self> {
        report.push(
            document::Diagnostic::new(document::Code::E0504, "this maitred was built without conditions")
                .label(at, "a condition in CEL")
                .help("use a build with the feature `cel` (`cargo build -p maitred --features cel`), or `claims`, `role` and `scope`"),
        );
        None
    }

    pub(crate) fn holds(&self, _: &Identity, _: &View<'_>) -> bool {
        match *self {}
    }

    pub(crate) fn looks_at_request(&self) -> bool {
        match *self {}
    }
}

#[cfg(feature = "cel")]
mod run {
    use std::{collections::HashMap, fmt, sync::Arc};

    use cel::{
        Context, Env, IdedExpr, Value,
        common::ast::{EntryExpr, Expr},
    };
    use document::{Code, Diagnostic};
    use filter::Claim;

    use super::{At, Condition, Identity, Report, VARIABLES, View};

    /// How long a condition may be: it is parsed by recursion.
    const LONGEST: usize = 4096;

    impl Condition {
        pub(crate) fn compile(text: &str, at: &At, report: &mut Report) -> Option<Self> {
            if text.len() > LONGEST {
                report.add(Code::E0103, at, "a condition as long as this is not read", "at most 4096 bytes");
                return None;
            }
            let environment = Arc::new(Env::stdlib());
            let program = match environment.compile(text) {
                Ok(program) => program,
                Err(why) => {
                    let first =
                        why.errors.first().map_or_else(|| "it cannot be read".to_owned(), |one| one.msg.clone());
                    report.add(Code::E0108, at, "this is not a condition in CEL", first);
                    return None;
                }
            };
            let (references, mut bounds) = (program.references(), Vec::new());
            bound(program.expression(), &mut bounds);
            let known = |name: &&str| VARIABLES.contains(name) || bounds.contains(name);
            let unknown: Vec<_> = references.variables().into_iter().filter(|name| !known(name)).collect();
            if let [first, ..] = unknown[..] {
                let message = format!("a condition knows nothing of `{first}`");
                let known = VARIABLES.map(|name| format!("`{name}`")).join(", ");
                report.push(Diagnostic::new(Code::E0108, message).label(at, "here").help(format!("there is {known}")));
                return None;
            }
            let seen = VARIABLES.map(|name| references.has_variable(name));
            Some(Self { program, environment, seen })
        }

        /// Whether it holds. What cannot be told, such as a claim that is not there, does not.
        pub(crate) fn holds(&self, identity: &Identity, request: &View<'_>) -> bool {
            let mut context = Context::with_env(Arc::clone(&self.environment));
            for (name, _) in VARIABLES.iter().zip(self.seen).filter(|(_, seen)| *seen) {
                context.add_variable_from_value(*name, value(name, identity, request));
            }
            matches!(self.program.execute(&context), Ok(Value::Bool(true)))
        }

        /// Whether it looks at what is asked for.
        pub(crate) fn looks_at_request(&self) -> bool {
            VARIABLES.iter().zip(self.seen).any(|(name, seen)| seen && *name == "request")
        }
    }

    /// Adds the names that macros such as `exists` give to what they look at in turn.
    fn bound<'e>(expression: &'e IdedExpr, names: &mut Vec<&'e str>) {
        match &expression.expr {
            Expr::Call(call) => {
                call.target.iter().for_each(|target| bound(target, names));
                call.args.iter().for_each(|one| bound(one, names));
            }
            Expr::Comprehension(own) => {
                names.push(&own.iter_var);
                names.extend(own.iter_var2.as_deref());
                [&own.iter_range, &own.accu_init, &own.loop_cond, &own.loop_step, &own.result]
                    .into_iter()
                    .for_each(|one| bound(one, names));
            }
            Expr::List(list) => list.elements.iter().for_each(|one| bound(one, names)),
            Expr::Select(select) => bound(&select.operand, names),
            Expr::Map(map) => map.entries.iter().for_each(|entry| match &entry.expr {
                EntryExpr::StructField(field) => bound(&field.value, names),
                EntryExpr::MapEntry(entry) => {
                    bound(&entry.key, names);
                    bound(&entry.value, names);
                }
            }),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        }
    }

    fn value(name: &str, identity: &Identity, request: &View<'_>) -> Value {
        match name {
            "user" => maybe(identity.user.as_deref()),
            "key" => maybe(identity.key.as_deref()),
            "plan" => maybe(identity.plan.as_deref()),
            "scopes" => list(identity.scopes.iter().map(|scope| &**scope)),
            "roles" => list(identity.roles.iter().map(|role| &**role)),
            "claims" => map(identity.claims.iter().map(|(name, own)| (name.to_owned(), claim(own)))),
            _ => asked(request),
        }
    }

    fn asked(request: &View<'_>) -> Value {
        let headers = &request.head.headers;
        let fields = headers.keys().map(|name| {
            // RFC 9110 section 5.3: lines of one name are one list.
            let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
            (name.as_str().to_owned(), text(&lines.collect::<Vec<_>>().join(", ")))
        });
        let facts = [
            ("method", text(request.head.method.as_str())),
            ("scheme", text(request.client.scheme.as_str())),
            ("host", text(request.host)),
            ("path", text(&filter::spelled(request.path))),
            ("query", text(request.query.unwrap_or(""))),
            ("client_ip", maybe(request.client.address.map(|address| address.to_string()).as_deref())),
            ("headers", map(fields)),
        ];
        map(facts.into_iter().map(|(name, value)| (name.to_owned(), value)))
    }

    fn claim(claim: &Claim) -> Value {
        if claim.is_list() { list(claim.values()) } else { text(claim.as_str()) }
    }

    fn text(text: &str) -> Value {
        Value::String(Arc::new(text.to_owned()))
    }

    fn maybe(found: Option<&str>) -> Value {
        found.map_or(Value::Null, text)
    }

    fn list<'t>(items: impl Iterator<Item = &'t str>) -> Value {
        Value::List(Arc::new(items.map(text).collect()))
    }

    fn map(items: impl Iterator<Item = (String, Value)>) -> Value {
        Value::Map(items.collect::<HashMap<String, Value>>().into())
    }

    impl fmt::Debug for Condition {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Condition")
        }
    }

    #[cfg(test)]
    mod tests {
        use filter::{Captures, Client, Credential};
        use pingora_http::RequestHeader;

        use super::*;

        fn holds(text: &str) -> Result<bool, String> {
            holds_of(text, "/orders/acme")
        }

        fn holds_of(text: &str, path: &str) -> Result<bool, String> {
            let mut report = Report::new();
            let condition = Condition::compile(text, &At::root().key("when"), &mut report);
            let Some(condition) = condition else { return Err(format!("{report:?}")) };
            let identity = Identity {
                user: Some("ada".into()),
                roles: ["staff".into()].into(),
                claims: [
                    ("tenant".into(), Claim::one("acme")),
                    ("groups".into(), Claim::list(["a".into(), "b".into()])),
                ]
                .into_iter()
                .collect(),
                ..Identity::new("p".into(), Credential::Jwt)
            };
            let mut head = RequestHeader::build("PUT", b"/orders/acme", None).unwrap();
            head.insert_header("X-Level", "7").unwrap();
            let (client, captures) = (Client::local("a".into()), Captures::new());
            Ok(condition.holds(
                &identity,
                &View {
                    generation: 1,
                    head: &head,
                    client: &client,
                    identity: None,
                    host: "a.test",
                    path,
                    query: Some("x=1"),
                    captures: &captures,
                },
            ))
        }

        #[test]
        fn no_spelling_of_a_path_gets_past_it() {
            for path in ["/admin", "/admin;x=1", "/admin%3Bx"] {
                assert_eq!(holds_of("request.path != '/admin'", path), Ok(false), "{path}");
            }
            assert_eq!(holds_of("request.path == '/@a/b'", "/%40a;v=1/b;w"), Ok(true));
        }

        #[test]
        fn it_looks_at_who_calls_and_what_for() {
            for good in [
                "user == 'ada'",
                "claims.tenant == 'acme' && request.path.startsWith('/orders/' + claims.tenant)",
                "'staff' in roles && 'b' in claims.groups && scopes.size() == 0",
                "request.method in ['PUT', 'POST'] && request.headers['x-level'] == '7' && request.query == 'x=1'",
                "plan == null && request.client_ip == '127.0.0.1' && request.host == 'a.test'",
                "claims.groups.exists(group, group == 'a') && !has(claims.admin)",
            ] {
                assert_eq!(holds(good), Ok(true), "{good}");
            }
            // What is not so, is no yes or no, or cannot be told.
            for bad in
                ["user == 'bob'", "1", "'true'", "claims.admin == 'x'", "1 / 0 == 1", "user", "claims.tenant > 1"]
            {
                assert_eq!(holds(bad), Ok(false), "{bad}");
            }
            for wrong in ["user ==", "(", "nobody == 'a'", "user == 'a' || nothing.at.all", ""] {
                assert!(holds(wrong).is_err(), "{wrong}");
            }
            assert!(holds(&format!("{}true{}", "(".repeat(3000), ")".repeat(3000))).is_err());
        }
    }
}
