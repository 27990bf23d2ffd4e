//! `cargo xtask bench`: maitred and its peers in turn, on one core, before one origin.

mod caller;
mod count;
mod counts;
mod idle;
mod load;
mod meter;
mod options;
mod origin;
mod peer;
mod presenter;
mod provider;
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
use scenario::{Habit, Scenario};
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
        Measure::Instructions | Measure::Syscalls => tally(&options, &ground),
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
        if scenario.habit == Habit::Idle {
            let memory = |peer, origin: &Origin| idle::memory(peer, scenario, ground, origin);
            table.idle.rows.extend(count_all(scenario, options, ground, memory)?);
        } else {
            table.rows.extend(measure(scenario, options, ground)?);
        }
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
    let mut counts = Counts::new(count::unit(options.measure));
    for scenario in &options.scenarios {
        let count = |peer, origin: &Origin| count::count(options.measure, peer, scenario, ground, origin);
        counts.rows.extend(count_all(scenario, options, ground, count)?);
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

/// Counts something of everybody in one scenario, one proxy after the other.
fn count_all(
    scenario: &Scenario,
    options: &Options,
    ground: &Ground,
    count: impl Fn(Peer, &Origin) -> Result<f64, Failure>,
) -> Result<Vec<Count>, Failure> {
    eprintln!("{}: {}", scenario.name, scenario.title);
    let origin = Origin::start(ground, scenario.backends)?;
    let mut results = Vec::new();
    for peer in options.everyone(scenario) {
        let value = count(peer, &origin)?;
        eprintln!("  {:<8} {value:.1}", peer.name());
        results.push((peer, value));
    }
    Ok(Count::all(scenario, &results))
}

/// What a process opens besides the connections of its clients.
const SPARE: u64 = 2_000;

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
        ensure_descriptors(options)?;
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

/// Lets us and whomever we start open as many files as the system allows us, and refuses where that is too few.
fn ensure_descriptors(options: &Options) -> Result<(), Failure> {
    let most = options.scenarios.iter().map(|scenario| u64::from(scenario.connections) + scenario.slow as u64).max();
    let wanted = most.unwrap_or_default() + SPARE;
    let limits = fs::read_to_string("/proc/self/limits").map_err(because("cannot read /proc/self/limits"))?;
    let (soft, hard) = descriptors(&limits).ok_or_else(|| Failure::new("cannot read /proc/self/limits"))?;
    if hard < wanted {
        return Err(Failure::new(format!(
            "{wanted} open files are needed and no more than {hard} allowed: raise that by `ulimit -Hn` as root, or name \
             scenarios that do with fewer"
        )));
    }
    // HAProxy wants two for each connection, and nobody more than that.
    let limit = hard.min(2 * wanted);
    if soft >= limit {
        return Ok(());
    }
    let mut prlimit = Command::new("prlimit");
    let own = std::process::id().to_string();
    shell::output(prlimit.args(["--pid", &own, &format!("--nofile={limit}:")])).map(drop)
}

/// How many files we may open, and how many we might allow ourselves to.
fn descriptors(limits: &str) -> Option<(u64, u64)> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
    Some((numbers.next()?, numbers.next()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read() {
        let limits =
            |words: &str| format!("Max processes  7  7  processes\nMax open files            {words}  files\n");
        assert_eq!(descriptors(&limits("1024                 524288")), Some((1024, 524_288)));
        assert_eq!(descriptors(&limits("1024                 unlimited")), Some((1024, u64::MAX)));
        assert_eq!(descriptors("Max processes  7  7  processes\n"), None);
    }
}
