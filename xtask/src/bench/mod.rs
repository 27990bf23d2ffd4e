//! `cargo xtask bench`: maitred and its peers in turn, on one core, before one origin.

mod caller;
mod count;
mod counts;
mod load;
mod meter;
mod options;
mod origin;
mod peer;
mod results;
mod scenario;
mod server;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cargo, packages,
    shell::{self, Failure, because},
};

use caller::Caller;
use counts::{Count, Counts};
use load::Turn;
use options::{Measure, Options};
use origin::Origin;
use peer::{Peer, Proxy};
use scenario::Scenario;
use table::{Row, Table};

pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    let options = Options::parse(words)?;
    if options.list {
        for scenario in Scenario::ALL {
            println!("{:<12} {}", scenario.name, scenario.title);
        }
        return Ok(());
    }
    packages::ensure(&[packages::BUILD, packages::BENCH, &options.tools()])?;
    let ground = Ground::prepare(&options)?;
    match options.measure {
        Measure::Load => time(&options, &ground),
        Measure::Instructions | Measure::Syscalls | Measure::Memory => tally(&options, &ground),
    }
}

/// Loads `binary` for what it learns from that, and measures nothing.
pub(crate) fn exercise(binary: &Path) -> Result<(), Failure> {
    let options = Options::exercise(binary)?;
    let ground = Ground::prepare(&options)?;
    options.scenarios.iter().try_for_each(|scenario| measure(scenario, &options, &ground).map(drop))
}

/// Times every scenario, and prints the table.
fn time(options: &Options, ground: &Ground) -> Result<(), Failure> {
    let mut table = Table::new(options, versions(options, ground)?);
    for scenario in &options.scenarios {
        table.rows.extend(measure(scenario, options, ground)?);
    }
    if options.save {
        results::write(&table)?;
    }
    if options.json {
        println!("{}", table.json());
    } else {
        print!("{}", table.markdown());
    }
    Ok(())
}

/// Counts in every scenario, and prints the table.
fn tally(options: &Options, ground: &Ground) -> Result<(), Failure> {
    let mut counts = Counts::new(options.measure);
    for scenario in &options.scenarios {
        eprintln!("{}: {}", scenario.name, scenario.title);
        let origin = Origin::start(ground, scenario.backends)?;
        let mut results = Vec::new();
        for peer in options.everyone(scenario) {
            let value = count::count(options.measure, peer, scenario, ground, &origin)?;
            eprintln!("  {:<8} {value:.1}", peer.name());
            results.push((peer, value));
        }
        counts.rows.extend(Count::all(scenario, &results));
    }
    if options.json {
        println!("{}", counts.json());
    } else {
        print!("{}", counts.markdown());
    }
    match (options.measure, options.save, options.check) {
        (Measure::Instructions, true, _) => counts.write(),
        (Measure::Instructions, false, true) => counts.check(),
        _ => Ok(()),
    }
}

/// What all scenarios share: the release, a folder for files, the certificate.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The release of maitred.
    binary: PathBuf,
    /// A folder for configurations, logs and the certificate.
    folder: PathBuf,
    /// Who asks.
    caller: Caller,
}

impl Ground {
    fn prepare(options: &Options) -> Result<Self, Failure> {
        ensure_cores()?;
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => cargo::build_release()?,
        };
        let folder = cargo::target().join("bench");
        fs::create_dir_all(&folder).map_err(because(format!("cannot make {}", folder.display())))?;
        make_certificate(&folder)?;
        let caller = Caller::prepare(&binary, &folder)?;
        Ok(Self { binary, folder, caller })
    }
}

/// Refuses a machine that has one core only.
pub(crate) fn ensure_cores() -> Result<(), Failure> {
    match shell::output(&mut Command::new("nproc"))?.trim_ascii() {
        b"1" => Err(Failure::new("the bench needs two cores: one for the proxy, one for the origin and the load")),
        _ => Ok(()),
    }
}

/// One certificate for everybody, made anew each time: P-256, as most of the web has.
fn make_certificate(folder: &Path) -> Result<(), Failure> {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    shell::output(openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert))?;
    let both = [cert, key].map(fs::read).into_iter().collect::<Result<Vec<_>, _>>();
    let both = both.map_err(because("cannot read the certificate"))?.concat();
    fs::write(folder.join("both.pem"), both).map_err(because("cannot write the certificate"))
}

/// All rounds of one scenario: the proxies take turns, so that a noisy minute hits all of them.
fn measure(scenario: &Scenario, options: &Options, ground: &Ground) -> Result<Vec<Row>, Failure> {
    eprintln!("{}: {}", scenario.name, scenario.title);
    let origin = Origin::start(ground, scenario.backends)?;
    let mut proxies = Vec::new();
    for peer in options.everyone(scenario) {
        let proxy = Proxy::start(peer, scenario, ground, &origin, &[])?;
        load::compare_answers(scenario, &proxy, &origin, ground)?;
        load::turn(scenario, &proxy, 1, ground)?; // warms pools and caches; not counted
        proxies.push((proxy, Turn::WORST));
    }
    for round in 1..=options.rounds {
        for (proxy, best) in &mut proxies {
            let turn = load::turn(scenario, proxy, options.seconds, ground)?;
            eprintln!("  round {round} {:<8} {turn}", proxy.peer.name());
            *best = best.better(&turn);
        }
    }
    let results: Vec<(Peer, Turn)> = proxies.iter().map(|(proxy, best)| (proxy.peer, *best)).collect();
    Ok(Row::all(scenario, &results))
}

/// What each proxy says of itself, and which build of ours it was, where it is not the one that cargo makes.
fn versions(options: &Options, ground: &Ground) -> Result<Vec<String>, Failure> {
    let mut own = Peer::Maitred.version(ground)?;
    if let Some(binary) = &options.binary {
        own = format!("{own}, {}", binary.display());
    }
    let others = options.peers.iter().map(|peer| peer.version(ground));
    std::iter::once(Ok(own)).chain(others).collect()
}
