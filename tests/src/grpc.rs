//! gRPC: the four kinds of call, trailers, deadlines and cancellation.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use testkit::{
    Answer, Authority, Gate, H2, Messages, Origin, Outcome, Proxy, Request, Seen, message, within, within_limit,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::setting::{BOTH, route};

fn call(method: &str) -> Request {
    Request::new("POST", &format!("/shop.v1.Orders/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// A proxy for h2c before the testkit's gRPC service, and a client of it.
async fn service() -> (Origin, Proxy, H2) {
    let respond = |seen: &Seen| match seen.target.rsplit('/').next() {
        Some("Never") => Answer::hang().early(),
        Some("Missing") => Answer::status(200)
            .header("content-type", "application/grpc")
            .header("grpc-status", "5")
            .header("grpc-message", "none"),
        _ => Answer::grpc(),
    };
    let origin = Origin::builder().h2c().start(respond).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "timeout = \"20s\""))).await;
    let client = proxy.h2c().await;
    (origin, proxy, client)
}

fn messages(body: &[u8]) -> Vec<String> {
    let mut messages = Messages::default();
    messages.feed(body);
    messages.map(|message| String::from_utf8_lossy(&message).into_owned()).collect()
}

#[tokio::test]
async fn a_unary_call_has_an_answer_and_trailers() {
    let (origin, proxy, client) = service().await;
    let answer = client.fetch(call("Unary").body(message(b"hello"))).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
    assert_eq!(messages(&answer.body.start), ["hello"]);
    assert_eq!(answer.body.trailers.get("grpc-status"), Some("0"));
    assert_eq!(answer.body.trailers.get("grpc-message"), Some("ok"));
    assert_eq!(origin.request().await.header("te"), Some("trailers"));
    assert_eq!(proxy.logged("/shop.v1.Orders/Unary").await["status"], 200);
}

#[tokio::test]
async fn a_client_streams() {
    let (_origin, _proxy, client) = service().await;
    let (mut out, mut incoming) = client.stream(call("Collect")).await;
    for part in ["a", "b", "c"] {
        out.send(message(part.as_bytes())).await.unwrap();
    }
    out.finish().await.unwrap();
    incoming.head().await.unwrap();
    let mut body = Vec::new();
    while let Some(piece) = incoming.piece().await.unwrap() {
        body.extend_from_slice(&piece);
    }
    assert_eq!(messages(&body), ["abc"]);
    assert_eq!(incoming.trailers().await.unwrap().get("grpc-status"), Some("0"));
}

#[tokio::test]
async fn a_server_streams() {
    let (_origin, _proxy, client) = service().await;
    let answer = client.fetch(call("Expand").body(message(b"x"))).await.expect(200);
    assert_eq!(messages(&answer.body.start), ["x", "x", "x"]);
    assert_eq!(answer.body.trailers.get("grpc-status"), Some("0"));
}

#[tokio::test]
async fn both_stream_at_once() {
    let (_origin, _proxy, client) = service().await;
    let (mut out, mut incoming) = client.stream(call("Chat")).await;
    let mut heard = Messages::default();
    for (n, word) in ["one", "two", "three"].into_iter().enumerate() {
        out.send(message(word.as_bytes())).await.unwrap();
        if n == 0 {
            incoming.head().await.unwrap();
        }
        let answer = loop {
            match heard.next() {
                Some(answer) => break answer,
                None => heard.feed(&incoming.piece().await.unwrap().expect("more to come")),
            }
        };
        assert_eq!(answer, word);
    }
    out.finish().await.unwrap();
    assert!(incoming.piece().await.unwrap().is_none());
    assert_eq!(incoming.trailers().await.unwrap().get("grpc-status"), Some("0"));
}

#[tokio::test]
async fn the_client_of_a_stream_may_be_silent_while_the_service_speaks() {
    let gates: Vec<Gate> = (0..8).map(|_| Gate::new()).collect();
    let script = gates.clone();
    let watch = move |_: &Seen| {
        let head = Answer::status(200).header("content-type", "application/grpc").early();
        script.iter().fold(head, |answer, gate| answer.wait(gate).chunk(message(b"event")))
    };
    let origin = Origin::builder().start(watch).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "websocket = { idle = \"400ms\" }"))).await;
    // Its half stays open.
    let (mut out, mut incoming) = proxy.h2c().await.stream(call("Watch")).await;
    out.send(message(b"orders")).await.unwrap();
    incoming.head().await.unwrap();
    let mut beat = tokio::time::interval(Duration::from_millis(150));
    for gate in gates {
        beat.tick().await;
        gate.open();
        assert_eq!(incoming.piece().await.unwrap(), Some(message(b"event")));
    }
}

#[tokio::test]
async fn an_error_without_a_body_passes_as_it_is() {
    let (_origin, _proxy, client) = service().await;
    let answer = client.fetch(call("Missing").body(message(b""))).await.expect(200);
    let status = answer.header("grpc-status").or_else(|| answer.body.trailers.get("grpc-status"));
    assert_eq!(status, Some("5"));
}

#[tokio::test]
async fn a_deadline_is_kept() {
    let (origin, proxy, client) = service().await;
    let began = Instant::now();
    let answer = client.fetch(call("Never").header("grpc-timeout", "300m").body(message(b"x"))).await.expect(200);
    assert_eq!(answer.header("grpc-status"), Some("4"));
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < Duration::from_secs(5));
    assert!((1..=300_000).contains(&told(&origin.request().await).unwrap()));
    assert_eq!(origin.ended(0).await.outcome, Outcome::Cancelled);
    assert_eq!(proxy.logged("/shop.v1.Orders/Never").await["error"], "upstream_timeout");
}

/// How long the caller waits, as the origin was told it: in microseconds.
fn told(seen: &Seen) -> Option<u64> {
    let text = seen.header("grpc-timeout")?;
    let (digits, unit) = text.split_at(text.len() - 1);
    assert!((1..=8).contains(&digits.len()), "{text}");
    let number: u64 = digits.parse().unwrap();
    Some(match unit {
        "u" => number,
        "m" => number * 1_000,
        "S" => number * 1_000_000,
        _ => panic!("{text}"),
    })
}

#[tokio::test]
async fn each_attempt_is_told_what_is_left_of_the_deadline() {
    let unavailable = || Answer::status(200).header("content-type", "application/grpc").header("grpc-status", "14");
    for origin in
        [Origin::start(move |_| unavailable()).await, Origin::builder().h2c().start(move |_| unavailable()).await]
    {
        let retries = "timeout = \"5s\"\nretries = { attempts = 2, on = [\"unavailable\"] }";
        let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, retries))).await;
        let client = proxy.h2c().await;
        let answer = client.fetch(call("Unary").header("grpc-timeout", "90S").body(message(b"x"))).await;
        assert_eq!(answer.header("grpc-status"), Some("14"));
        let seen = origin.requests();
        let left: Vec<u64> = seen.iter().map(|seen| told(seen).unwrap()).collect();
        assert_eq!(left.len(), 3);
        assert!(left[0] < 90_000_000 && left.is_sorted_by(|before, after| after < before), "{left:?}");
        assert!(left[2] > 30_000_000, "the route's own time ends with the head: {left:?}");

        client.fetch(call("Unary").body(message(b"x"))).await;
        assert_eq!(told(&origin.nth(3).await), None, "who says nothing is not spoken for");
        let plain = Request::get("/").header("grpc-timeout", "7M");
        client.fetch(plain).await.expect(200);
        assert!(origin.requests().iter().any(|seen| seen.header("grpc-timeout") == Some("7M")), "not a call");
    }
}

#[tokio::test]
async fn a_deadline_is_for_all_attempts_together() {
    let origin = Origin::builder().h2c().start(|_| Answer::hang()).await;
    let retries = "timeout = \"20s\"\nretries = { attempts = 5, on = [\"timeout\"] }";
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, retries))).await;
    let call = Request::get("/").header("content-type", "application/grpc").header("grpc-timeout", "300m");
    let answer = proxy.h2c().await.fetch(call).await.expect(200);
    assert_eq!(answer.header("grpc-status"), Some("4"));
    assert_eq!(origin.requests().len(), 1, "there was no time left for another");
}

#[tokio::test]
async fn what_is_not_grpc_sets_no_deadline() {
    for origin in [Origin::start(|_| Answer::hang()).await, Origin::builder().h2c().start(|_| Answer::hang()).await] {
        let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "timeout = \"300ms\""))).await;
        let began = Instant::now();
        let asked = proxy.fetch(Request::get("/").header("grpc-timeout", "10M"));
        within("the route's own timeout", asked).await.expect_problem(504, "upstream_timeout");
        assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
        let asked = proxy.fetch(Request::get("/").header("grpc-timeout", "1n"));
        within("it is not shortened either", asked).await.expect_problem(504, "upstream_timeout");
        assert_eq!(origin.request().await.header("grpc-timeout"), Some("10M"));
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_cancelled_at_the_origin() {
    let (origin, _proxy, client) = service().await;
    let (mut out, mut incoming) = client.stream(call("Chat")).await;
    out.send(message(b"one")).await.unwrap();
    incoming.head().await.unwrap();
    incoming.piece().await.unwrap();
    out.reset(h2::Reason::CANCEL);
    let ended = within_limit(Duration::from_secs(1), "the call to be cancelled", origin.ended(0)).await;
    assert_eq!(ended.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_service_that_is_down_is_unavailable() {
    let text = format!("{BOTH}[routes]\n\"/*\" = \"h2c://{}\"\n", testkit::Address::refusing());
    let proxy = Proxy::start(text).await;
    let answer = proxy.h2c().await.fetch(call("Unary").body(message(b"x"))).await.expect(200);
    assert_eq!((answer.header("grpc-status"), answer.header("grpc-message")), (Some("14"), Some("upstream_refused")));
}

#[tokio::test]
async fn calls_pass_over_tls_on_both_sides() {
    let authority = Authority::new();
    let ours = authority.issue(&["localhost"]);
    let origin = Origin::builder().h2(authority.issue(&["127.0.0.1"])).start(|_| Answer::grpc()).await;
    let text = format!(
        "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {:?}, key = {:?} }}\n\
         [upstreams.app]\nbackends = \"{origin}\"\ntls = {{ ca = {:?} }}\n[routes]\n\"/*\" = \"app\"\n",
        ours.cert_file,
        ours.key_file,
        authority.file()
    );
    let proxy = Proxy::start(text).await;
    let stream = authority.client().alpn(&["h2"]).connect(proxy.address()).await;
    let client = H2::over(stream, "localhost").await;
    let answer = client.fetch(call("Expand").body(message(b"x"))).await.expect(200);
    assert_eq!(messages(&answer.body.start).len(), 3);
    assert_eq!(answer.body.trailers.get("grpc-status"), Some("0"));
}

#[tokio::test]
async fn a_message_of_megabytes_comes_through_whole() {
    let (_origin, _proxy, client) = service().await;
    let large = vec![b'x'; 3 << 20];
    let answer = client.fetch(call("Unary").body(message(&large))).await.expect(200);
    assert_eq!(answer.body.length, 5 + large.len() as u64);
    assert_eq!(answer.body.trailers.get("grpc-status"), Some("0"));
}

/// A service and its client, both of gRPC's own library, which speak bytes and need no generated code.
const SERVE: &str = r#"
import grpc, sys, time
from concurrent import futures
class Calls(grpc.GenericRpcHandler):
    def service(self, details):
        def unary(request, context):
            if request == b"fail":
                context.abort_with_status(grpc_status(grpc.StatusCode.NOT_FOUND, "no such thing"))
            if request == b"slow":
                time.sleep(30)
            context.set_trailing_metadata((("x-trailer", "told"),))
            return b"got " + request
        def download(request, context):
            for n in range(200):
                yield b"%d" % n
        def upload(requests, context):
            return b"%d" % sum(len(one) for one in requests)
        def talk(requests, context):
            for one in requests:
                yield b"echo " + one
        kinds = {
            "/a.B/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/a.B/Download": grpc.unary_stream_rpc_method_handler(download),
            "/a.B/Upload": grpc.stream_unary_rpc_method_handler(upload),
            "/a.B/Talk": grpc.stream_stream_rpc_method_handler(talk),
        }
        return kinds.get(details.method)
class grpc_status(grpc.Status):
    def __init__(self, code, details):
        self.code, self.details, self.trailing_metadata = code, details, ()
server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((Calls(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"#;

const CALL: &str = r#"
import grpc, sys
channel = grpc.insecure_channel(sys.argv[1])
reply, call = channel.unary_unary("/a.B/Unary").with_call(b"hello", timeout=20)
assert reply == b"got hello" and ("x-trailer", "told") in call.trailing_metadata(), call.trailing_metadata()
assert list(channel.unary_stream("/a.B/Download")(b"", timeout=20)) == [b"%d" % n for n in range(200)]
assert channel.stream_unary("/a.B/Upload")(iter([b"x" * 100000] * 20), timeout=20) == b"2000000"
assert list(channel.stream_stream("/a.B/Talk")(iter([b"a", b"b", b"c"]), timeout=20)) == [b"echo a", b"echo b", b"echo c"]
def refused(request, timeout, path="/a.B/Unary"):
    try:
        channel.unary_unary(path)(request, timeout=timeout)
    except grpc.RpcError as error:
        return error.code().name, error.details()
assert refused(b"fail", 20) == ("NOT_FOUND", "no such thing"), refused(b"fail", 20)
assert refused(b"slow", 1)[0] == "DEADLINE_EXCEEDED"
assert refused(b"x", 20, "/a.B/Nothing")[0] == "UNIMPLEMENTED"
print("well")
"#;

#[tokio::test]
async fn grpcs_own_library_is_understood_on_both_sides() {
    let python = |program: &str| {
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", program]).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
        python
    };
    let mut service = python(SERVE).spawn().expect("`/usr/bin/python3` is missing: install the package `python3`");
    let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
    let port = within("the service to listen", lines.next_line()).await.unwrap();
    let port = port.expect("no port was told: install the package `python3-grpcio`");
    let proxy = Proxy::start(format!(
        "[listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = \"h2c\"\n[routes]\n\"/*\" = \"h2c://127.0.0.1:{port}\"\n"
    ))
    .await;
    let output = within_limit(
        Duration::from_secs(90),
        "the client to end",
        python(CALL).arg(proxy.address().to_string()).output(),
    );
    let output = output.await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "well\n", "{}", String::from_utf8_lossy(&output.stderr));
}
