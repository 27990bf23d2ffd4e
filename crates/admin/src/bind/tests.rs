//! Sockets: who may use them, what they leave behind, and what they find.

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// No other process has handed anything over.
fn nobody(_: &Address) -> Option<OwnedFd> {
    None
}

#[test]
fn a_unix_socket_is_for_its_owner_and_group_and_goes_when_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let socket = Socket::unix(&path).unwrap();
    assert_eq!(mode(&path), 0o660);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn what_a_dead_process_left_behind_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = Socket::unix(&path).unwrap();
    assert_eq!(Socket::unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);

    // A successor puts its own there; the predecessor leaves it alone.
    let successor = folder.path().join("new");
    let _listener = UnixListener::bind(&successor).unwrap();
    fs::rename(&successor, &path).unwrap();
    drop(first);
    assert!(path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    fs::write(&path, "data").unwrap();
    assert_eq!(Socket::unix(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}

#[test]
fn the_run_folder_is_the_first_that_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let (nowhere, there) = (folder.path().join("none/maitred"), folder.path().join("maitred"));
    let found = run_folder_in([nowhere.clone(), there.clone()]);
    assert_eq!(found, Some(there.clone()));
    assert_eq!(mode(&there) & 0o007, 0);
    assert_eq!(run_folder_in([nowhere]), None);
}

#[test]
fn the_run_folder_that_systemd_names_is_the_only_one() {
    let folders = |given: &str, user: &str| {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty()).map(std::ffi::OsString::from);
        run_folders_of(some(given).as_deref(), some(user).as_deref())
    };
    assert_eq!(folders("", ""), [PathBuf::from("/run/maitred")]);
    assert_eq!(folders("", "/run/user/7"), [PathBuf::from("/run/maitred"), PathBuf::from("/run/user/7/maitred")]);
    assert_eq!(folders("/run/edge", "/run/user/7"), [PathBuf::from("/run/edge")]);
    assert_eq!(folders("/run/edge:/run/other", ""), [PathBuf::from("/run/edge")]);
}

#[test]
fn an_address_in_use_is_fatal_only_when_somebody_wrote_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = vec![Address::Tcp(taken.local_addr().unwrap())];
    let written = Settings { addresses, token: None, assumed: false, run_socket: false, audit: None };
    let error = bind_in(&written, None, nobody).unwrap_err();
    assert_eq!(error.error.kind(), io::ErrorKind::AddrInUse);
    let folder = tempfile::tempdir().unwrap();
    let assumed = bind_in(&Settings { assumed: true, ..written }, Some(folder.path()), nobody).unwrap();
    let addresses: Vec<_> = assumed.iter().map(|socket| socket.address.clone()).collect();
    assert_eq!(addresses, [Address::Unix(folder.path().join("admin.sock"))]);
    let second = bind_in(
        &Settings { addresses: Vec::new(), token: None, assumed: false, run_socket: false, audit: None },
        Some(folder.path()),
        nobody,
    );
    assert!(second.unwrap().is_empty(), "the first server keeps the socket of the run folder");
}

#[test]
fn the_network_is_asked_for_the_token_and_this_machine_is_not() {
    let token = Secret::new("0123456789abcdef");
    let all = Socket::tcp("[::]:0".parse().unwrap(), Some(&token)).unwrap();
    assert!(matches!(all.reach, Reach::Network(_)));
    let own = Socket::tcp("127.0.0.1:0".parse().unwrap(), Some(&token)).unwrap();
    assert!(matches!(own.reach, Reach::Loopback(Some(_))));
    assert!(Socket::tcp("0.0.0.0:0".parse().unwrap(), None).is_err());
}

#[test]
fn a_socket_that_was_handed_over_is_found_by_its_configured_address_and_keeps_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = vec![Address::Tcp("127.0.0.1:0".parse().unwrap())];
    let settings = Settings { addresses, token: None, assumed: false, run_socket: true, audit: None };
    let old = bind_in(&settings, Some(folder.path()), nobody).unwrap();
    let shared: Vec<Shared> = old.iter().map(|socket| socket.share().unwrap()).collect();
    let given = |wanted: &Address| {
        let shared = shared.iter().find(|shared| shared.written() == wanted)?;
        shared.as_fd().try_clone_to_owned().ok()
    };
    let new = bind_in(&settings, Some(folder.path()), given).unwrap();
    let places = |sockets: &[Socket]| sockets.iter().map(|socket| socket.address.clone()).collect::<Vec<_>>();
    assert_eq!(places(&new), places(&old));

    shared.iter().for_each(|shared| shared.keep_file(true));
    drop((old, shared));
    assert!(UnixStream::connect(folder.path().join(RUN_SOCKET)).is_ok(), "the successor accepts at the old file");
    new.iter().for_each(|socket| socket.share().unwrap().keep_file(false));
    drop(new);
    assert!(!folder.path().join(RUN_SOCKET).exists());
}

#[test]
fn a_successor_that_failed_takes_no_file_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let old = Socket::unix(&path).unwrap();
    let shared = old.share().unwrap();
    let given = shared.as_fd().try_clone_to_owned().unwrap();
    drop(Socket::inherited(Address::Unix(path.clone()), given, None).unwrap());
    assert!(UnixStream::connect(&path).is_ok(), "it was not the successor's to remove");
    shared.keep_file(true);
    shared.keep_file(false);
    drop((old, shared));
    assert!(!path.exists(), "this process still had it alone");
}

#[test]
fn a_descriptor_of_another_kind_is_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let unix = UnixListener::bind(folder.path().join("other")).unwrap();
    let tcp = Address::Tcp("127.0.0.1:0".parse().unwrap());
    assert!(Socket::inherited(tcp, unix.into(), None).is_err());
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(Socket::inherited(Address::Unix(folder.path().join("x")), tcp.into(), None).is_err());
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let written = Address::Tcp(open.local_addr().unwrap());
    assert!(Socket::inherited(written, open.into(), None).is_err(), "the network needs a token");
}
