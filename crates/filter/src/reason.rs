//! Why maitred answered for itself: one closed table.

use http::StatusCode;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident $word:literal $status:literal $title:literal;)+) => {
        /// Why maitred answered instead of the origin, or why a request ended early.
        ///
        /// The table gives each reason its status, its stable word (access log `error`, metric label, suffix of the
        /// problem document's `type`) and its title. Words never change meaning once released.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum Reason {
            /// Nothing went wrong.
            #[default]
            None,
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason there is, in the order of the manual.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),+];

            /// The stable word; empty for [`Reason::None`].
            pub const fn word(self) -> &'static str {
                match self { Reason::None => "", $(Reason::$name => $word,)+ }
            }

            /// The status that a refusal for this reason has.
            pub const fn status_code(self) -> u16 {
                match self { Reason::None => 200, $(Reason::$name => $status,)+ }
            }

            /// The problem document's title.
            pub const fn title(self) -> &'static str {
                match self { Reason::None => "", $(Reason::$name => $title,)+ }
            }

            /// The sentence in the manual, and the problem document's detail.
            pub const fn sentence(self) -> &'static str {
                match self { Reason::None => "", $(Reason::$name => concat!($($doc),+).trim_ascii_start(),)+ }
            }
        }
    };
}

reasons! {
    // What the client sent.
    /// The request is not well-formed HTTP, or its framing is ambiguous (RFC 9112).
    BadRequest "bad_request" 400 "Bad request";
    /// The Host field is missing, repeated or not a host name (RFC 9112 section 3.2).
    BadHost "bad_host" 400 "Bad host";
    /// The path holds an encoded slash, a backslash, a NUL or a dot segment that climbs above the root.
    BadPath "bad_path" 400 "Bad path";
    /// The target is longer than the listener or the route allows.
    UrlTooLong "url_too_long" 414 "URI too long";
    /// The header block is larger than the listener or the route allows, or has too many fields.
    HeaderTooLarge "header_too_large" 431 "Request header fields too large";
    /// The body is larger than the route's `max_body`, or unpacks to more than `decompress` allows.
    BodyTooLarge "body_too_large" 413 "Content too large";
    /// The content is packed in a way that the route's `decompress` does not know. `Accept-Encoding` says which it does.
    UnknownCoding "unknown_coding" 415 "Unsupported media type";
    /// The content is not what its `Content-Encoding` says it is.
    BadContent "bad_content" 400 "Bad content";
    /// The client did not finish its request head in time.
    HeaderTimeout "header_timeout" 408 "Request timeout";
    /// The client stopped sending its body, or sent it more slowly than `timeouts.min_rate`.
    BodyTimeout "body_timeout" 408 "Request timeout";
    /// The client stopped taking its answer, took it more slowly than `timeouts.min_rate`, or held up others for whom the same is fetched.
    AnswerTimeout "answer_timeout" 408 "Request timeout";
    /// The client said more beside its requests than any needs to, or gave up too many of them: its HTTP/2 connection was ended (RFC 9113 section 10.5).
    Flood "flood" 429 "Too many requests";
    /// The HTTP version is not one that this listener speaks.
    BadVersion "bad_version" 505 "HTTP version not supported";
    /// The listener asks for client certificates, and the request is for another host than the one that the connection was made for (RFC 9110 section 15.5.20).
    Misdirected "misdirected" 421 "Misdirected request";
    /// CONNECT and TRACE are not proxied by this listener.
    MethodRefused "method_refused" 405 "Method not allowed";
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    BadExpectation "bad_expectation" 417 "Expectation failed";
    /// The connection does not begin with the PROXY header that the listener requires, or is not from a trusted proxy.
    BadProxyHeader "bad_proxy_header" 400 "Bad PROXY header";
    /// The connection does not begin as TLS does, though its listener passes TLS through.
    NotTls "not_tls" 400 "Not TLS";
    /// The TLS client asks for a name that the listener passes to no upstream, or for none.
    UnknownServerName "unknown_server_name" 421 "Misdirected request";
    /// The client went away before the answer was complete.
    ClientClosed "client_closed" 499 "Client closed request";
    // What the configuration says.
    /// No route matches the request.
    NoRoute "no_route" 404 "Not found";
    /// The request is to be answered from the cache only, and nothing that would do is kept (RFC 9111 section 5.2.1.7).
    NotCached "not_cached" 504 "Gateway timeout";
    /// The listener has as many connections as it may have.
    TooManyConnections "too_many_connections" 503 "Service unavailable";
    /// The client's address has as many connections as one may have.
    TooManyConnectionsPerIp "too_many_connections_per_ip" 429 "Too many connections";
    /// The client's address is not among those that may enter.
    AddressDenied "address_denied" 403 "Forbidden";
    /// The country or network of the client's address is not among those that may enter, or not known.
    CountryDenied "country_denied" 403 "Forbidden";
    /// The request's content is not of a type that the route takes, or its type is not told.
    ContentTypeRefused "content_type_refused" 415 "Unsupported media type";
    /// The route asks who calls, and the request brings no credentials.
    AuthMissing "auth_missing" 401 "Unauthorized";
    /// The credentials are not good.
    AuthInvalid "auth_invalid" 401 "Unauthorized";
    /// The credentials were good until lately.
    AuthExpired "auth_expired" 401 "Unauthorized";
    /// The caller is known, and may not do this.
    Forbidden "forbidden" 403 "Forbidden";
    /// Whoever could say who calls cannot be asked at the moment.
    AuthUnavailable "auth_unavailable" 503 "Service unavailable";
    /// The client has used up a limit. `Retry-After` says when it may come again.
    Limited "limited" 429 "Too many requests";
    /// A limit counts by a header, cookie, user or claim that the request does not have, and its `on_missing` is `"deny"`.
    LimitKeyMissing "limit_key_missing" 400 "Bad request";
    /// The Redis that a limit is counted in is away, and its `when_store_is_down` is `"deny"`.
    LimitStoreDown "limit_store_down" 503 "Service unavailable";
    // What the upstream did.
    /// No backend of the upstream has an address, or all are out of use.
    NoBackend "no_backend" 503 "Service unavailable";
    /// All backends of the upstream have as many requests as they may have, and none was free in time.
    UpstreamBusy "upstream_busy" 503 "Service unavailable";
    /// The circuit breaker of every backend that could be asked is open.
    CircuitOpen "circuit_open" 503 "Service unavailable";
    /// The upstream has as many requests as it can work on in the usual time. `Retry-After` says when to come again.
    UpstreamOverloaded "upstream_overloaded" 503 "Service unavailable";
    /// What the upstream has to be shown so that it lets maitred in cannot be had from its issuer.
    UpstreamCredentials "upstream_credentials" 502 "Bad gateway";
    /// The backend refused the connection.
    UpstreamRefused "upstream_refused" 502 "Bad gateway";
    /// The backend could not be reached.
    UpstreamUnreachable "upstream_unreachable" 502 "Bad gateway";
    /// The TLS handshake with the backend failed.
    UpstreamTls "upstream_tls" 502 "Bad gateway";
    /// The connection to the backend was not made in time.
    ConnectTimeout "connect_timeout" 504 "Gateway timeout";
    /// The backend did not answer in time.
    UpstreamTimeout "upstream_timeout" 504 "Gateway timeout";
    /// The backend closed or reset the connection before its answer was complete.
    UpstreamReset "upstream_reset" 502 "Bad gateway";
    /// The backend's answer is not well-formed HTTP.
    UpstreamProtocol "upstream_protocol" 502 "Bad gateway";
    /// The backend answered with a status that the request is tried again for.
    UpstreamStatus "upstream_status" 502 "Bad gateway";
    /// The backend had not begun its answer when another one, which was asked as well, did.
    Outrun "outrun" 504 "Gateway timeout";
    /// Nothing passed either way for as long as the listener or the route allows.
    Idle "idle" 408 "Idle";
    // What we did.
    /// maitred ran out of a resource of its own: file descriptors, ports or memory.
    LocalResource "local_resource" 503 "Service unavailable";
    /// maitred was told to stop, and the request was not over when the grace period was.
    Stopping "stopping" 503 "Service unavailable";
    /// A fault in maitred itself. Please report it.
    Internal "internal" 500 "Internal server error";
}

impl Reason {
    /// The status that a refusal for this reason has. 499 is nginx's word for a client that left; it is logged, never sent.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// This reason, or `other` where there is none yet: the first that would have refused a request is the one that is told.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::None { other } else { self }
    }

    /// What RFC 9209 section 2.3 calls it: the `error` of `Proxy-Status`. Empty for [`Reason::None`].
    pub const fn proxy_error(self) -> &'static str {
        use Reason::*;
        match self {
            None => "",
            BadRequest | BadHost | BadPath | UrlTooLong | HeaderTooLarge | BodyTooLarge | UnknownCoding
            | BadContent | HeaderTimeout | BodyTimeout | AnswerTimeout | BadVersion | Misdirected | MethodRefused
            | BadExpectation | BadProxyHeader | NotTls | ClientClosed | ContentTypeRefused => "http_request_error",
            Flood
            | TooManyConnections
            | TooManyConnectionsPerIp
            | AddressDenied
            | CountryDenied
            | AuthMissing
            | AuthInvalid
            | AuthExpired
            | Forbidden
            | Limited
            | LimitKeyMissing => "http_request_denied",
            NoRoute | UnknownServerName => "destination_not_found",
            NoBackend | CircuitOpen | UpstreamStatus => "destination_unavailable",
            UpstreamBusy | UpstreamOverloaded => "connection_limit_reached",
            UpstreamRefused => "connection_refused",
            UpstreamUnreachable => "destination_ip_unroutable",
            UpstreamTls => "tls_protocol_error",
            ConnectTimeout => "connection_timeout",
            UpstreamTimeout | Outrun => "http_response_timeout",
            UpstreamReset => "connection_terminated",
            UpstreamProtocol => "http_protocol_error",
            Idle => "connection_read_timeout",
            // Without a word to an origin, and for no fault.
            NotCached | Stopping => "proxy_internal_response",
            AuthUnavailable | LimitStoreDown | UpstreamCredentials | LocalResource | Internal => "proxy_internal_error",
        }
    }

    /// The reason's place in [`Reason::ALL`], for tables of pre-resolved metric handles; `None` for [`Reason::None`].
    pub fn index(self) -> Option<usize> {
        (self as usize).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_indexes_agree_with_the_table() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), Some(index));
            assert_eq!(Reason::ALL.iter().filter(|other| other.word() == reason.word()).count(), 1);
            assert!(!reason.proxy_error().is_empty());
        }
        assert_eq!(Reason::None.index(), None);
    }
}
