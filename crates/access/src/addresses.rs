//! Which addresses may enter.

use std::{fmt, net::IpAddr, sync::Arc};

use document::Followed;
use filter::{Admit, Mode, Reason, Reply, View, networks::Networks};

/// Lists of addresses, as run. What is denied stays out, whatever is allowed.
#[derive(Debug)]
pub struct Addresses {
    pub(crate) mode: Mode,
    /// `None`: everybody that is not denied.
    pub(crate) allow: Option<List>,
    pub(crate) deny: List,
}

/// Networks of the configuration, and of files as they are now.
#[derive(Default)]
pub(crate) struct List {
    pub written: Networks,
    pub files: Box<[Arc<Followed<Networks>>]>,
}

impl List {
    fn has(&self, address: IpAddr) -> bool {
        self.written.contains(address) || self.files.iter().any(|file| file.get().contains(address))
    }
}

impl Addresses {
    /// Whether refusals are only told of.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Admit for Addresses {
    type Proof = ();

    fn admit(&self, request: &View<'_>) -> Result<(), Reply> {
        self.judge(request)
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        let allowed = match (request.client.address, &self.allow) {
            (Some(address), allow) => !self.deny.has(address) && allow.as_ref().is_none_or(|allow| allow.has(address)),
            // A client without an address is nobody's neighbour.
            (None, allow) => allow.is_none(),
        };
        if allowed { Ok(()) } else { Err(Reason::AddressDenied.into()) }
    }
}

/// Reads a file of networks: one a line, `#` begins a remark.
pub(crate) fn read(text: &str) -> Result<Networks, String> {
    let mut networks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or("").trim();
        if entry.is_empty() {
            continue;
        }
        networks.push(filter::networks::parse(entry).map_err(|meant| {
            let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
            format!("line {}: {entry:?} is neither an address nor a network{meant}", index + 1)
        })?);
    }
    Ok(Networks::new(networks))
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List({} files)", self.files.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_network_a_line_and_its_mistakes_have_their_line() {
        let networks = read("# nobody\n10.0.0.0/8\n\n2001:db8::/32 # docs\n192.0.2.7\n").unwrap();
        let has = |text: &str| networks.contains(text.parse().unwrap());
        assert!(has("10.1.2.3") && has("2001:db8::1") && has("192.0.2.7") && has("::ffff:10.0.0.1"));
        assert!(!has("11.0.0.0") && !has("192.0.2.8"));
        assert_eq!(read("10.0.0.0/8\nx").unwrap_err(), "line 2: \"x\" is neither an address nor a network");
        assert!(read("10.0.0.1/8").unwrap_err().contains("did you mean 10.0.0.0/8?"));
    }
}
