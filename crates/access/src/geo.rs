//! Which countries and networks may enter, by the databases that the operator has (MaxMind DB).

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use document::Followed;
use filter::{Admit, Mode, Reason, Reply, View};
use maxminddb::{PathElement, Reader, WithinOptions};

/// How many networks of a database are looked at to find out what it knows.
const SAMPLE: usize = 4096;

/// What is known of where addresses are: one database or several, each as it is now.
#[derive(Clone)]
pub struct Databases(pub(crate) Arc<[Arc<Followed<Database>>]>);

/// One database.
pub(crate) struct Database {
    reader: Reader<Vec<u8>>,
    pub knows: Knows,
}

/// What a database knows of addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Knows {
    pub countries: bool,
    pub networks: bool,
}

/// Which countries and networks may enter, as run. What is denied stays out, whatever is allowed.
pub struct Geo {
    pub(crate) mode: Mode,
    /// `None`: everybody that is not denied.
    pub(crate) allow: Option<Places>,
    pub(crate) deny: Places,
    pub(crate) databases: Databases,
    /// What has to be looked up.
    pub(crate) asks: Knows,
}

/// Countries and networks, sorted.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// ISO 3166-1, two letters.
    pub countries: Box<[Country]>,
    /// Numbers of autonomous systems.
    pub networks: Box<[u32]>,
    /// Addresses of which no country is known.
    pub unknown: bool,
}

/// A country, by its two letters.
pub(crate) type Country = [u8; 2];

impl Places {
    fn has(&self, country: Option<Country>, network: Option<u32>) -> bool {
        let listed = match country {
            Some(country) => self.countries.binary_search(&country).is_ok(),
            None => self.unknown,
        };
        listed || network.is_some_and(|network| self.networks.binary_search(&network).is_ok())
    }
}

impl Geo {
    /// Whether refusals are only told of.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Admit for Geo {
    type Proof = ();

    fn admit(&self, request: &View<'_>) -> Result<(), Reply> {
        self.judge(request)
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        let address = request.client.address;
        let country = address.filter(|_| self.asks.countries).and_then(|address| self.databases.country(address));
        let network = address.filter(|_| self.asks.networks).and_then(|address| self.databases.network(address));
        let allowed =
            !self.deny.has(country, network) && self.allow.as_ref().is_none_or(|allow| allow.has(country, network));
        if allowed { Ok(()) } else { Err(Reason::CountryDenied.into()) }
    }
}

impl Databases {
    /// What all of them know.
    pub(crate) fn know(&self) -> Knows {
        self.0.iter().fold(Knows::default(), |known, one| {
            let own = one.get().knows;
            Knows { countries: known.countries || own.countries, networks: known.networks || own.networks }
        })
    }

    /// The country of an address, by the first database that knows one.
    pub fn country(&self, address: IpAddr) -> Option<[u8; 2]> {
        self.0.iter().find_map(|one| one.get().country(address))
    }

    /// The number of the autonomous system that an address belongs to.
    pub fn network(&self, address: IpAddr) -> Option<u32> {
        self.0.iter().find_map(|one| one.get().network(address))
    }
}

/// Where databases keep the country: MaxMind and DB-IP, then IPinfo.
const COUNTRY: [&[PathElement<'_>]; 3] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
];
/// Where they keep the network's number.
const NUMBER: &[PathElement<'_>] = &[PathElement::Key("autonomous_system_number")];
/// Where IPinfo does, as `AS64496`.
const NAMED_NUMBER: &[PathElement<'_>] = &[PathElement::Key("asn")];

impl Database {
    /// Reads a database; one that knows less than the one before it in `first` is refused: lists would mean less than they say.
    pub(crate) fn read(bytes: &[u8], first: &OnceLock<Knows>) -> Result<Self, String> {
        let unfit = |error: maxminddb::MaxMindDbError| format!("it is not a MaxMind DB: {error}");
        let mut database =
            Self { reader: Reader::from_source(bytes.to_vec()).map_err(unfit)?, knows: Knows::default() };
        for found in database.reader.networks(WithinOptions::default()).map_err(unfit)?.take(SAMPLE) {
            let found = found.map_err(unfit)?;
            database.knows.countries |= country(&found).is_some();
            database.knows.networks |= number(&found).is_some();
            if database.knows.countries && database.knows.networks {
                break;
            }
        }
        let (knows, before) = (database.knows, *first.get_or_init(|| database.knows));
        if knows == Knows::default() {
            return Err("it knows neither countries nor networks".into());
        }
        if before.countries && !knows.countries || before.networks && !knows.networks {
            return Err("it knows less than the one before it".into());
        }
        Ok(database)
    }

    fn country(&self, address: IpAddr) -> Option<Country> {
        if self.knows.countries { country(&self.reader.lookup(address.to_canonical()).ok()?) } else { None }
    }

    fn network(&self, address: IpAddr) -> Option<u32> {
        if self.knows.networks { number(&self.reader.lookup(address.to_canonical()).ok()?) } else { None }
    }
}

type Found<'d> = maxminddb::LookupResult<'d, Vec<u8>>;

fn country(found: &Found<'_>) -> Option<Country> {
    COUNTRY.iter().find_map(|path| {
        let text: &str = found.decode_path(path).ok()??;
        <Country>::try_from(text.as_bytes()).ok().filter(|code| code.iter().all(u8::is_ascii_uppercase))
    })
}

fn number(found: &Found<'_>) -> Option<u32> {
    if let Ok(Some(number)) = found.decode_path(NUMBER) {
        return Some(number);
    }
    let text: &str = found.decode_path(NAMED_NUMBER).ok()??;
    text.strip_prefix("AS")?.parse().ok()
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|one| one.path())).finish()
    }
}

impl fmt::Debug for Geo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Geo({:?})", self.databases)
    }
}

#[cfg(test)]
mod tests {
    use testkit::Mmdb;

    use super::*;

    fn read(mmdb: &Mmdb) -> Database {
        Database::read(&mmdb.bytes(), &OnceLock::new()).unwrap()
    }

    #[test]
    fn the_longest_network_says_where_an_address_is() {
        let mmdb = Mmdb::default()
            .country("10.0.0.0/8", "DE")
            .country("10.1.0.0/16", "KP")
            .country("2001:db8::/32", "FR")
            .number("10.0.0.0/8", 64496);
        let database = read(&mmdb);
        let country = |text: &str| database.country(text.parse().unwrap());
        assert_eq!(country("10.2.3.4"), Some(*b"DE"));
        assert_eq!(country("10.1.2.3"), Some(*b"KP"));
        assert_eq!(country("::ffff:10.1.2.3"), Some(*b"KP"));
        assert_eq!(country("2001:db8::1"), Some(*b"FR"));
        assert_eq!(country("11.0.0.1"), None);
        assert_eq!(database.network("10.2.3.4".parse().unwrap()), Some(64496));
        assert_eq!(database.network("10.1.2.3".parse().unwrap()), None, "one record for each network");
    }

    #[test]
    fn what_knows_nothing_or_less_than_before_is_refused() {
        let both = Mmdb::default().country("10.0.0.0/8", "DE").number("11.0.0.0/8", 1);
        let (less, first) = (Mmdb::default().country("10.0.0.0/8", "DE"), OnceLock::new());
        Database::read(&both.bytes(), &first).unwrap();
        assert!(Database::read(&less.bytes(), &first).is_err_and(|why| why.contains("less than")));
        Database::read(&both.bytes(), &first).unwrap();
        for wrong in [&b""[..], b"x", &both.bytes()[..100], &vec![0; 4096], &Mmdb::default().bytes()] {
            assert!(Database::read(wrong, &OnceLock::new()).is_err());
        }
    }
}
