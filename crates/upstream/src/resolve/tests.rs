//! The hosts file, `localhost`, and DNS from a name server of the test's own.

use std::fs;

use tempfile::TempDir;
use tokio::{net, time};

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn system(folder: &TempDir, hosts: &str, resolv: &str) -> System {
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    System::with_files(file("hosts", hosts), file("resolv.conf", resolv))
}

async fn resolve(system: &System, host: &str) -> Result<Answer, String> {
    time::timeout(SOON, system.resolve(host)).await.unwrap()
}

#[test]
fn a_hosts_file_is_read() {
    let hosts =
        "# comment\n10.0.0.1 users users.internal # users2\n\n  ::1\tUSERS\n10.0.0.1 users\nnonsense users\n10.0.0.2\n";
    let ips = |name| listed(hosts, name).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(ips("users"), ["10.0.0.1", "::1"]);
    assert_eq!(ips("users.internal"), ["10.0.0.1"]);
    assert_eq!(ips("users2"), [""; 0]);
    assert_eq!(ips("10.0.0.2"), [""; 0]);
}

#[test]
fn localhost_and_what_is_below_it() {
    for name in ["localhost", "LocalHost", "a.localhost"] {
        assert!(is_localhost(name));
    }
    assert!(!is_localhost("localhost.example"));
}

#[test]
fn there_is_a_way_to_this_machine() {
    assert!(has_route(Ipv4Addr::LOCALHOST.into()));
    let nowhere: IpAddr = "240.0.0.1".parse().unwrap();
    assert_eq!(usable(vec![nowhere]), [nowhere], "rather an address without a route than none");
}

#[tokio::test]
async fn the_system_resolves_localhost() {
    let answer = resolve(&System::default(), "localhost").await.unwrap();
    assert!(answer.addresses.contains(&Ipv4Addr::LOCALHOST.into()), "{answer:?}");
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = SocketAddr::new(answer.addresses[0], listener.local_addr().unwrap().port());
    time::timeout(SOON, net::TcpStream::connect(address)).await.unwrap().unwrap();
}

#[tokio::test]
async fn localhost_needs_neither_hosts_file_nor_dns() {
    let system = System::with_files("/nowhere/hosts", "/nowhere/resolv.conf");
    assert!(resolve(&system, "localhost").await.unwrap().addresses[0].is_loopback());
    assert!(resolve(&system, "users").await.unwrap_err().contains("/nowhere/resolv.conf"));
}

#[tokio::test]
async fn the_hosts_file_comes_before_dns_and_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let system = system(&folder, "127.0.0.5 users", "");
    let known = |answer: Result<Answer, String>| answer.unwrap().addresses[0].to_string();
    assert_eq!(known(resolve(&system, "users.").await), "127.0.0.5");
    fs::write(folder.path().join("hosts"), "127.0.0.6 users").unwrap();
    assert_eq!(known(resolve(&system, "users").await), "127.0.0.6");
}

/// A name server that knows `users.test.` (two A records, TTL 7) and no other name.
async fn name_server() -> SocketAddr {
    let socket = net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query).await {
            socket.send_to(&answer_to(&query[..length]), client).await.unwrap();
        }
    });
    address
}

/// The answer to a query, in the format of RFC 1035 section 4.
fn answer_to(query: &[u8]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|&byte| byte == 0).unwrap() + 1;
    let question = &query[12..name_end + 4];
    let known = query[12..name_end].eq_ignore_ascii_case(b"\x05users\x04test\x00");
    let addresses: &[[u8; 4]] = match query[name_end + 1] {
        1 if known => &[[127, 0, 0, 1], [127, 0, 0, 2]],
        _ => &[],
    };
    let code = if known { 0 } else { 3 };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses {
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 7, 0, 4]);
        answer.extend(address);
    }
    answer
}

#[tokio::test]
async fn dns_tells_all_addresses_and_how_long_they_hold() {
    let server = name_server().await;
    let folder = tempfile::tempdir().unwrap();
    let system = System::asking(server, folder.path());
    let answer = resolve(&system, "users.test").await.unwrap();
    let expected: [IpAddr; 2] = [[127, 0, 0, 1].into(), [127, 0, 0, 2].into()];
    let mut addresses = answer.addresses;
    addresses.sort();
    assert_eq!((&addresses[..], answer.ttl), (&expected[..], Duration::from_secs(7)));
    assert!(resolve(&system, "nobody.test").await.is_err());
}
