//! A set of networks, asked once or more for every request.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks as sorted ranges without overlap: a search takes as many steps as their number has bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Networks {
    /// The addresses that lie in any of `networks`.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push((network.network().to_bits(), network.broadcast().to_bits())),
                IpNet::V6(network) => v6.push((network.network().to_bits(), network.broadcast().to_bits())),
            }
        }
        Self { v4: merge(v4), v6: merge(v6) }
    }

    /// Whether `address` lies in one of the networks. An IPv4 address that is written as IPv6 (RFC 4291 section
    /// 2.5.5.2) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => within(&self.v6, address.to_bits()),
        }
    }

    /// Whether there is no network at all.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn within<N: Ord>(ranges: &[(N, N)], address: N) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after > 0 && ranges[after - 1].1 >= address
}

/// Two networks either lie within one another or apart, so a range that begins within the last one ends there too.
fn merge<N: Ord + Copy>(mut ranges: Vec<(N, N)>) -> Box<[(N, N)]> {
    ranges.sort_unstable_by(|one, two| one.0.cmp(&two.0).then(two.1.cmp(&one.1)));
    ranges.dedup_by(|later, kept| later.0 <= kept.1);
    ranges.into()
}

/// A network (`10.0.0.0/8`), or an address that stands for itself; the error is what was probably meant.
pub fn parse(text: &str) -> Result<IpNet, Option<IpNet>> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| None)?;
    let trunc = network.trunc();
    if trunc == network { Ok(network) } else { Err(Some(trunc)) }
}

#[cfg(test)]
mod tests;
