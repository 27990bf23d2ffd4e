//! What it costs to find an address in a list: a hundred thousand networks beside ten; and to find out where it is.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::{fmt::Write as _, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use document::{At, Followers, OneOrMany, Report, Toggle};
use filter::Admit;
use maitred_access::{Addresses, Config, Databases, Geo, GeoConfig, Ip, Section};
use testkit::{Caller, Mmdb};

fn networks(count: u32) -> String {
    let mut text = String::new();
    for number in 0..count {
        // Apart from each other, so that none is taken for another's part.
        let _ = writeln!(text, "{}/31", std::net::Ipv4Addr::from_bits(0x0a00_0000 + number * 8));
    }
    text
}

fn measure(criterion: &mut Criterion, name: &str, judge: &impl Admit, address: &str) {
    let mut caller = Caller::new();
    caller.client.address = Some(address.parse().unwrap());
    let view = caller.view();
    assert!(judge.judge(&view).is_err(), "{name}");
    criterion.bench_function(name, |bencher| bencher.iter(|| black_box(judge.judge(&view).is_err())));
}

fn bench(criterion: &mut Criterion) {
    let (folder, followers, mut report) = (tempfile::tempdir().unwrap(), Followers::default(), Report::new());
    for count in [10, 100_000] {
        let path = folder.path().join(format!("{count}.txt"));
        std::fs::write(&path, networks(count)).unwrap();
        let deny = Some(OneOrMany(vec![path.to_str().unwrap().to_owned()]));
        let config = Config { ip: Some(Toggle::On(Ip { deny, ..Ip::default() })), ..Config::default() };
        let list = Addresses::compile(&config, &At::root(), &followers, &mut report).unwrap().unwrap();
        let last = std::net::Ipv4Addr::from_bits(0x0a00_0000 + (count - 1) * 8).to_string();
        measure(criterion, &format!("address in one of {count} networks"), &list, &last);
    }
    let path = folder.path().join("places.mmdb");
    let mmdb = (0..=255).fold(Mmdb::default(), |mmdb, byte| mmdb.country(&format!("10.{byte}.0.0/16"), "KP"));
    std::fs::write(&path, mmdb.bytes()).unwrap();
    let section = Section { geoip: Some(OneOrMany(vec![path.to_str().unwrap().to_owned()])) };
    let databases = Databases::compile(&section, &At::root(), &followers, &mut report).unwrap().unwrap();
    let deny = Some(OneOrMany(vec!["KP".to_owned()]));
    let config = Config { geo: Some(Toggle::On(GeoConfig { deny, ..GeoConfig::default() })), ..Config::default() };
    let geo = Geo::compile(&config, Some(Some(&databases)), &At::root(), &mut report).unwrap().unwrap();
    measure(criterion, "country of an address", &geo, "10.17.2.3");
}

criterion_group!(benches, bench);
criterion_main!(benches);
