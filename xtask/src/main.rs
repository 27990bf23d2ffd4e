//! What a maintainer runs: test, demo, bench, pgo, package, deploy, generate, tidy.

mod bench;
mod cargo;
mod demo;
mod deploy;
mod generate;
mod help;
mod packages;
mod pgo;
mod shell;
mod source;
mod test;
mod tidy;

use std::process::ExitCode;

use shell::Failure;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// One command, one file.
fn dispatch(words: &[String]) -> Result<(), Failure> {
    let (command, rest) = words.split_first().map_or(("help", words), |(first, rest)| (first.as_str(), rest));
    match command {
        "test" => test::run(rest),
        "demo" => demo::run(rest),
        "bench" => bench::run(rest),
        "pgo" => pgo::run(rest),
        "package" => deploy::package(rest),
        "deploy" => deploy::run(rest),
        "generate" => generate::run(rest),
        "tidy" => tidy::run(rest),
        "help" | "--help" | "-h" => help::run(rest),
        other => Err(Failure::usage(format!("no command is named `{other}`; `cargo xtask help` lists them"))),
    }
}
