//! Which process has a socket that we want, as far as `/proc` tells (proc(5)).

use std::{
    collections::HashSet,
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its name: the first 15 bytes of the program's.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {})", self.command, self.pid)
    }
}

/// Who listens on a TCP port; with `address`, on that address or on every one. Other users' processes are only seen
/// by root.
pub(crate) fn of_port(port: u16, address: Option<IpAddr>) -> Option<Holder> {
    let wanted = |line: &Line| {
        line.port == port
            && address.is_none_or(|address| {
                line.address.is_unspecified() || address.is_unspecified() || line.address == address
            })
    };
    let read = |table| fs::read_to_string(table).unwrap_or_default();
    let tables = [read("/proc/net/tcp"), read("/proc/net/tcp6")];
    let lines = tables.iter().flat_map(|table| table.lines()).filter_map(listening);
    holding(&lines.filter(wanted).map(|line| line.inode).collect())
}

/// Who listens on a unix socket.
pub(crate) fn of_path(path: &Path) -> Option<Holder> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let inodes = table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(6);
        let inode = fields.next()?.parse().ok()?;
        (fields.next().map(Path::new) == Some(path)).then_some(inode)
    });
    holding(&inodes.collect())
}

/// A listening socket of `/proc/net/tcp`.
struct Line {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// Reads a line; `None` for one that is not of a listening socket (state 0A).
fn listening(line: &str) -> Option<Line> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != "0A" {
        return None;
    }
    // Each group of eight digits is a word in network order, printed as a number of this machine.
    let words: Option<Vec<[u8; 4]>> = (0..address.len() / 8)
        .map(|word| u32::from_str_radix(address.get(8 * word..8 * word + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    let bytes = words?.concat();
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::from(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Line { address: address.to_canonical(), port, inode: fields.get(9)?.parse().ok()? })
}

/// The first process that has one of these sockets open.
fn holding(inodes: &HashSet<u64>) -> Option<Holder> {
    if inodes.is_empty() {
        return None;
    }
    let has_one = |process: &Path| {
        fs::read_dir(process.join("fd")).is_ok_and(|open| {
            open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| {
                let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
                inode.and_then(|inode| inode.parse().ok()).is_some_and(|inode| inodes.contains(&inode))
            })
        })
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let process = entry.path();
        has_one(&process).then(|| {
            let command = fs::read_to_string(process.join("comm")).unwrap_or_default();
            Holder { pid, command: command.trim_end().to_owned() }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4242 1 0 100";
        let line = listening(line).unwrap();
        assert_eq!((line.address.to_string().as_str(), line.port, line.inode), ("127.0.0.1", 8080, 4242));
        let v6 =
            "  1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7 1";
        let line = listening(v6).unwrap();
        assert_eq!((line.address.to_string().as_str(), line.port, line.inode), ("::1", 80, 7));
        for other in ["", "  sl  local_address rem_address   st", "0: 0100007F:1F90 0100007F:A0 01 0:0 0:0 0 0 0 1 1"] {
            assert!(listening(other).is_none());
        }
    }

    #[test]
    fn this_process_is_found_by_its_own_socket() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let holder = of_port(address.port(), Some(address.ip())).unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.command.is_empty());
        drop(socket);
    }
}
