//! The codes of errors and warnings, each with the page that the manual has for it.

use std::fmt;

macro_rules! codes {
    ($($code:ident $title:literal $explanation:literal;)+) => {
        /// A code such as `E0102`. E00xx syntax · E01xx shape · E02xx references · E03xx routes · E04xx TLS · E05xx
        /// authentication and limits · E06xx files and environment · E07xx discovery · E08xx tests; warnings
        /// are numbered alike.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $code,)+ }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Code] = &[$(Code::$code),+];

            /// The code as printed.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$code => stringify!($code),)+ }
            }

            /// What is wrong, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$code => $title,)+ }
            }

            /// The page of the manual: why it is refused and how to mend it.
            pub const fn explanation(self) -> &'static str {
                match self { $(Code::$code => $explanation,)+ }
            }
        }
    };
}

codes! {
    E0001 "not valid TOML"
        "The file is not TOML 1.0. The label shows where reading stopped making sense; a missing quote or bracket often stands a line above.";
    E0101 "wrong type"
        "The value has another type than the key takes, for example a number where a string belongs. The label says what was expected.";
    E0102 "unknown key"
        "maitred never ignores a key that it does not know, because a misspelt policy would leave a door open. The help names the nearest key that exists.";
    E0103 "value out of range"
        "The value is of the right type but outside what the key allows.";
    E0104 "missing unit"
        "Durations and sizes carry their unit in the text: \"30s\", \"5m\", \"1MiB\". A bare number could mean seconds or milliseconds.";
    E0105 "invalid name"
        "Names of listeners, upstreams and routes are made of a-z, 0-9 and -, so that they can stand in metrics, logs and URLs as they are.";
    E0106 "missing key"
        "The table lacks a key that it cannot do without.";
    E0107 "keys that exclude each other"
        "Two keys of one table contradict each other; delete one.";
    E0108 "invalid value"
        "The text cannot be read as what the key needs, such as a URL, an address, a header name or a status code.";
    E0109 "invalid template"
        "A placeholder in braces is not one that this place may use, or a brace is not closed. Write {{ for a literal brace.";
    E0201 "reference to something that does not exist"
        "A name refers to an upstream, listener or policy that is not defined in any of the files read.";
    E0202 "defined twice"
        "The same name is defined in two places. Files are merged by name, so neither definition could win.";
    E0203 "address listened on twice"
        "Two listeners take the same address, or one of them takes every address of the machine on that port. Only one of them could get the connections.";
    E0301 "invalid path pattern"
        "A path is exact (/health), a template (/users/{id}), a prefix (/users/*) or a regular expression (~^/v[0-9]+/).";
    E0302 "routes that nothing tells apart"
        "Two routes match exactly the same requests. Order in the file never decides, so neither could win: tell them apart by method, host, header or query.";
    E0303 "invalid host pattern"
        "A host is an exact name (api.example.com) or a wildcard for the first labels (*.example.com).";
    E0304 "invalid match"
        "A condition on method, header, query or cookie cannot be read.";
    E0305 "route without a destination"
        "A route needs exactly one of upstream, split, redirect and respond.";
    E0306 "upstream does not fit"
        "A route sends HTTP requests, so the backends of its upstream speak HTTP: not tcp://. A listener of mode \"tcp\" or \"tls-passthrough\" passes bytes on as they are, so the backends of its upstream are tcp:// or unix:, or else http:// for plaintext and https:// for TLS. And a route cannot take requests from such a listener, since none come in there.";
    E0401 "certificate cannot be used"
        "A certificate, its key or its chain cannot be read, does not match, or is not yet or no longer valid.";
    E0501 "file of a policy cannot be used"
        "A file that a policy of [auth] names, such as its keys, cannot be read or is not written as it should be. A running server that finds a changed file like this goes on with the last good state of it and says so in its log.";
    E0502 "requirement without authentication"
        "`require` says what the caller has to be, and the route has no `auth` that would find out who calls. Nothing could ever hold.";
    E0503 "file can be changed by others"
        "A file that decides who may enter can be written by every user of the machine, who could let anybody in.";
    E0504 "not part of this build"
        "The key belongs to an optional feature that this binary was built without. It is never ignored: what it would refuse would be let through.";
    E0601 "file cannot be read"
        "A file that the configuration names does not exist or cannot be read by this user.";
    E0602 "variable not set"
        "An environment variable that the configuration names is not set and has no default. Write ${NAME:-default} to give one.";
    E0603 "invalid interpolation"
        "${...} is not closed or not one of ${NAME}, ${NAME:-default} and ${file:/path}. Write $$ for a literal dollar sign.";
    E0604 "address cannot be taken"
        "Nobody can listen on the address: another process has it, it is not this machine's, or it needs a capability. A running server that is given such a configuration goes on with the one that it has.";
    E0701 "backends cannot be looked for"
        "What `discover` says is not a place where backends can be looked for, or a file of backends cannot be used. A running server whose file becomes unusable goes on with the backends that it knows and says so in its log.";
    E0801 "test of the configuration fails"
        "A test of [tests] expects of a request what does not become of it. The labels say what happens instead, and which route decides it. Either the test or the configuration is wrong: mend one of them. A failing test refuses a start and a reload like every other error.";
    W0204 "open admin-like route"
        "The route's name or path suggests administration, and nothing restricts who may call it.";
    W0301 "path is exact"
        "The path \"/\" matches only the root. To match everything below it as well write \"/*\".";
    W0302 "route can never match"
        "No request can reach this route, because of its listener, scheme or host, or because a more specific route takes all of its requests.";
    W0303 "balanced by a user that nobody knows"
        "The upstream's `balance` is \"hash:user\", and this route to it has no `auth` that would find out who calls. Its requests go to any backend; those of other routes, which ask, go where their user belongs.";
    W0304 "plan that nobody has"
        "A limit names a plan in `plans` that no consumer of a file of keys and no user of a file of users has. It is a slip of the pen, or a plan that is yet to be given to somebody. Where a policy has a `plan` of its own, the claim or field that names it, nobody can know which plans there are, and nothing is warned of.";
    W0305 "amount that no limit goes by"
        "A consumer of a file of keys, or a user of a file of users, has an amount of its own in `limits` for a limit that does not exist, or for one that goes by no such amount: it does not count by who calls (`key` is \"user\", \"api_key\" or \"claim:NAME\" then), or it counts bytes. A limit of `[limits]` is called by its name; one of a route's own has the route's name, and its number behind it (`orders-2`) where the route has several. The files are looked at when the configuration is checked or loaded, and not when they change.";
    W0401 "certificate expires soon or does not cover a host"
        "The certificate ends within 14 days, or no certificate of the listener covers the route's host.";
    W0402 "certificate not verified"
        "The backend's certificate is not checked, so that anyone who can redirect the traffic can read and change it.";
    W0503 "cache key without what the origin sees"
        "A route keeps answers, and its origin sees something of a request that does not tell them apart: what one client sends is then what all others get. Add it to `key` or `vary`, keep such requests out with `bypass`, or do not show it to the origin.";
    W0601 "secret written in clear"
        "A password, token or key stands in the file itself. Take it from ${VAR} or ${file:/path} instead.";
    W0602 "file can be read by others"
        "A private key, or a file that says who may enter, can be read by every user of the machine.";
    W0702 "host has no address"
        "A backend's host name cannot be resolved from here. maitred starts all the same and keeps asking, and answers 503 until the name has an address. `maitred check --offline` does not ask.";
    W0701 "plaintext to a public address"
        "Requests leave this machine unencrypted for a public address.";
}

impl Code {
    /// Whether the code is a warning's.
    pub fn is_warning(self) -> bool {
        self.as_str().starts_with('W')
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
