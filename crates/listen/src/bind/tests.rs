//! Sockets taken on real ports and paths, and the words for those that cannot be.

use std::io::{Read, Write};

use super::*;

fn take(address: &str) -> Result<BoundSocket, BindError> {
    let address = address.parse().unwrap();
    let bound = bind(&address, &[])?;
    listen(&address, &bound, &[])?;
    Ok(bound)
}

fn port(bound: &BoundSocket) -> u16 {
    bound.local.unwrap().port()
}

#[test]
fn every_address_means_ipv4_as_well_as_ipv6() {
    for everywhere in [":0", "[::]:0"] {
        let bound = take(everywhere).unwrap();
        let port = port(&bound);
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            std::net::TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }
}

#[test]
fn a_port_in_use_names_its_holder() {
    let first = take("127.0.0.1:0").unwrap();
    let taken = port(&first);
    for again in [format!("127.0.0.1:{taken}"), format!(":{taken}")] {
        let error = take(&again).unwrap_err();
        let BindCause::InUse(Some(holder)) = &error.cause else { panic!("{error:?}") };
        assert_eq!(holder.pid, std::process::id());
        let expected = format!("`{again}` is in use by `{}` (pid {})", holder.command, std::process::id());
        assert_eq!(error.to_string(), expected);
        assert!(error.help()[0].starts_with("stop it, or listen elsewhere: `--listen :"), "{:?}", error.help());
    }
    drop(first);
    take(&format!("127.0.0.1:{taken}")).unwrap();
}

#[test]
fn an_address_of_another_machine_is_named() {
    let error = take("192.0.2.1:0").unwrap_err();
    assert_eq!(error.to_string(), "`192.0.2.1:0` is not an address of this machine");
}

#[test]
fn a_privileged_port_is_explained() {
    let error = BindError { address: Address::Any(80), cause: BindCause::Privileged };
    assert_eq!(error.to_string(), "`:80` needs CAP_NET_BIND_SERVICE");
    let help = error.help().join("\n");
    assert!(help.contains("sudo setcap cap_net_bind_service=+ep /") && help.contains("AmbientCapabilities="));
}

#[test]
fn what_a_listener_sets_its_connections_inherit() {
    let bound = take("127.0.0.1:0").unwrap();
    let _client = std::net::TcpStream::connect(bound.local.unwrap()).unwrap();
    let Kind::Tcp(socket) = &bound.kind else { panic!() };
    socket.set_nonblocking(false).unwrap();
    let (accepted, _) = socket.accept().unwrap();
    assert!(accepted.nodelay().unwrap());
    let accepted = Socket::from(accepted);
    assert!(accepted.keepalive().unwrap());
    assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
}

#[test]
fn a_unix_socket_is_made_used_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let address = format!("unix:{}", path.display());
    let bound = take(&address).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);

    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"hello").unwrap();
    let Kind::Unix(socket, _) = &bound.kind else { panic!() };
    socket.set_nonblocking(false).unwrap();
    let mut read = [0; 5];
    socket.accept().unwrap().0.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"hello");

    let error = take(&address).unwrap_err();
    assert!(matches!(&error.cause, BindCause::InUse(Some(holder)) if holder.pid == std::process::id()), "{error:?}");
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_nobody_answers_on_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    drop(UnixListener::bind(&path).unwrap()); // leaves its file behind
    assert!(path.exists());
    let first = take(&format!("unix:{}", path.display())).unwrap();
    // Somebody else's socket in the same place is not removed with ours.
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    fs::write(&path, "precious").unwrap();
    let error = take(&format!("unix:{}", path.display())).unwrap_err();
    assert!(matches!(error.cause, BindCause::NotASocket));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}
