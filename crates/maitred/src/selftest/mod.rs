//! `maitred selftest`: load of every kind on a server of its own that is reloaded and upgraded meanwhile.

mod folder;
mod load;
mod operator;
mod report;
mod server;
mod service;
mod tally;
mod wire;

use std::{fs, thread::sleep, time::Duration};

use tokio::runtime::Runtime;

use self::{
    folder::{Folder, Wording},
    load::{House, Load},
    operator::{Operator, Seen, acts},
    report::Report,
    server::Server,
    tally::Phase,
};
use crate::{
    cli::{Global, SelftestReload},
    exit::{FAILED, Failure, Outcome},
    out,
    style::Style,
    words::count,
};

/// How long the load runs before anything is measured.
const WARM: Duration = Duration::from_secs(1);

/// How much longer than its longest stream a process may take to drain: nothing is to be cut.
const SLACK: Duration = Duration::from_secs(60);

/// Runs it, prints what came of it, and fails when anything was lost.
pub fn reload(global: &Global, options: &SelftestReload) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = Folder::new()?;
    let report = run(global, options, &folder, &runtime);
    let report = report.inspect_err(|_| tell_log(&folder))?;
    if global.json {
        out::line(serde_json::to_string_pretty(&report).unwrap_or_default())?;
    } else {
        out::text(&report.screen(Style::of(global.color, &std::io::stdout())))?;
    }
    if report.held { Ok(()) } else { Err(Failure { code: FAILED, message: String::new() }) }
}

fn run(global: &Global, options: &SelftestReload, folder: &Folder, runtime: &Runtime) -> Result<Report, Failure> {
    let time = Duration::from_secs(options.seconds.max(1));
    let service = runtime.block_on(service::start())?;
    let wording = Wording { service, grace: time * 2 + SLACK };
    folder.renew_certificate()?;
    folder.configure(0, &wording)?;
    let mut server = Server::start(folder)?;
    let (resuming, fresh) = (folder.client(true), folder.client(false));
    let house = House { plain: server.address("http")?, secure: server.address("https")?, resuming, fresh };
    let guard = runtime.enter();
    let mut load = Load::start(&house, time);
    drop(guard);
    let seconds = options.seconds.max(1);
    tell(global, &format!("{seconds} s of load"));
    sleep(WARM);
    load.course.enter(Phase::Before);
    sleep(time);
    let before = server.footprint()?;
    let (reloads, upgrades) = (count(options.reloads, "reload"), count(options.upgrades, "upgrade"));
    tell(global, &format!("{seconds} s of load, {reloads} and {upgrades}"));
    load.course.enter(Phase::During);
    let mut operator = Operator {
        folder,
        wording: &wording,
        server: &mut server,
        house: &house,
        runtime: runtime.handle(),
        seen: Seen::default(),
    };
    operator.work(&acts(options.reloads, options.upgrades), time)?;
    let mut seen = operator.seen;
    let after = server.footprint()?;
    tell(global, "waiting for streams to end and old processes to drain");
    runtime.block_on(load.end());
    if let Err(failure) = server.end() {
        seen.complaints.push(failure.message);
    }
    Ok(Report::new(&load, seen, [before, after], options.p99_ratio))
}

/// What happens meanwhile, for people.
fn tell(global: &Global, text: &str) {
    if !global.quiet && !global.json {
        eprintln!("{text} …");
    }
}

/// The end of what the server has logged, for whoever wonders why a run broke off.
fn tell_log(folder: &Folder) {
    let log = fs::read_to_string(folder.file("maitred.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(20)..] {
        eprintln!("  {line}");
    }
}
