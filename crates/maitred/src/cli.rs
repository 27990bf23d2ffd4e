//! The command line, as clap sees it; help, completions and the manual page derive from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

/// every request to the right table
#[derive(Debug, Parser)]
#[command(name = "maitred", version, about, propagate_version = true, disable_help_subcommand = true)]
#[command(override_usage = "maitred [OPTIONS] <COMMAND>", max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The configuration file [default: $MAITRED_CONFIG, ./maitred.toml, /etc/maitred/maitred.toml]
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Where the running maitred answers: unix:/path/admin.sock or http://127.0.0.1:9911
    /// [default: the run folder's admin.sock, then the addresses of the configuration file]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Say less: errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set; CLICOLOR_FORCE sets it elsewhere too.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a maitred.toml here
    Init(Init),
    /// See everything at once: three small backends, a proxy before them, and the curl commands to try
    Demo(Demo),
    /// Proxy to a URL without a file
    Proxy(Proxy),
    /// Run in the foreground
    Run(Run),
    /// Validate everything, report everything
    Check(Check),
    /// Format the file, keep comments
    Fmt(Fmt),
    /// Say which route a request takes and why
    Explain(Explain),
    /// Apply the file to the running server
    Reload(Reload),
    /// Keep the configuration that is on trial (`reload --confirm`)
    Confirm,
    /// Go back to a configuration of the history
    Rollback {
        /// Which one, by its number in `maitred history` [default: the one before the current]
        id: Option<u64>,
    },
    /// List the configurations that were in force
    History,
    /// Hand the sockets to the new binary; no connection is dropped
    Upgrade(Upgrade),
    /// Let `/ready` say 503, so that load balancers look elsewhere, and serve on
    Drain {
        /// Take it back
        #[arg(long)]
        undo: bool,
    },
    /// Let a backend run empty, take it out of use or back, or give it another weight
    #[command(subcommand)]
    Backend(Backend),
    /// Drain and stop
    Stop {
        /// Without waiting for requests under way
        #[arg(long)]
        now: bool,
    },
    /// One screen: version, uptime, load, listeners, backends, last reload; with --quiet only the exit code
    Status,
    /// Print the effective configuration: short forms spelt out, defaults applied, secrets left out
    Show(Show),
    /// Live view in the terminal: load, latency and errors of routes and upstreams; one frame where there is no terminal
    Top,
    /// Hash a password for a file of users; it is read from the terminal, or the first line of standard input
    Hash,
    /// Let go of kept answers: of a URL, of everything below a prefix, with a tag, or all
    Purge(Purge),
    /// Ask for what clients will ask for, so that the cache has it
    Warm(Warm),
    /// API keys: make, list and revoke them; a running server follows their file
    #[command(subcommand)]
    Key(Key),
    /// Check that the audit log is as it was written
    #[command(subcommand)]
    Audit(Audit),
    /// Change how much the server says of itself, or follow its access log
    #[command(subcommand)]
    Log(Log),
    /// Put a server of its own through what must lose nothing, and count what was lost
    #[command(subcommand)]
    Selftest(Selftest),
    /// Print the JSON schema of the configuration, for editors
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page a command into a folder
    Man {
        /// Where to write the pages
        dir: Option<PathBuf>,
    },
    /// Print the version
    Version {
        /// Also what was built in
        #[arg(long)]
        features: bool,
    },
    /// Write the generated pages of the manual (for `cargo xtask generate`)
    #[command(hide = true)]
    InternalDocs {
        /// The top of the repository
        dir: PathBuf,
    },
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Where requests go [default: the first of localhost 3000, 8000, 8081, 5000 that answers]
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,
}

/// Options of `proxy`.
#[derive(Debug, Args)]
pub struct Proxy {
    /// Where requests go, such as http://localhost:3000
    pub url: String,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = ":8080")]
    pub listen: String,
}

/// Options of `run`.
#[derive(Debug, Default, Args)]
pub struct Run {
    /// Apply the configuration whenever its files change
    #[arg(long)]
    pub watch: bool,
    /// Take the sockets of the running maitred over, when that one is told to hand them over (QUIT)
    #[arg(long)]
    pub upgrade: bool,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Fail on warnings too
    #[arg(long)]
    pub strict: bool,
    /// Do not look at what the file names outside itself: no DNS, no ports
    #[arg(long)]
    pub offline: bool,
}

/// Options of `fmt`.
#[derive(Debug, Args)]
pub struct Fmt {
    /// Change nothing; exit 1 when something would change
    #[arg(long)]
    pub check: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub diff: bool,
}

/// Options of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// A method and a URL, or a URL alone; a path stands for a URL on the first listener
    #[arg(num_args = 1..=2, required = true, value_names = ["METHOD", "URL"])]
    pub request: Vec<String>,
    /// A header of the request
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Who is taken to call, whatever the headers show
    #[arg(long = "as", value_name = "USER")]
    pub user: Option<String>,
    /// Ask the running server, whose limits say where the client stands; nothing is charged
    #[arg(long)]
    pub live: bool,
}

/// What to do with API keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a key and print it, this once
    Add(KeyAdd),
    /// List the keys by the letters that they are shown by
    List(KeyFile),
    /// Take a key out of the file
    Revoke(KeyRevoke),
}

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check the chain of hashes: whether a line was changed, inserted, moved or removed
    Verify(AuditVerify),
}

/// Options of `audit verify`.
#[derive(Debug, Args)]
pub struct AuditVerify {
    /// The files, the oldest first [default: the one that the configuration names]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// A hash that has to be in it, which was kept elsewhere: without one nobody knows whether the last lines were cut off
    #[arg(long, value_name = "HASH")]
    pub head: Option<String>,
}

/// Options of `key add`.
#[derive(Debug, Args)]
pub struct KeyAdd {
    /// Whose key it is; nobody may have more than two live ones
    pub consumer: String,
    /// When it ends: after a time such as 90d, or on a day such as 2027-01-31 [default: never]
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<String>,
    /// What the consumer has subscribed to
    #[arg(long)]
    pub plan: Option<String>,
    /// How much the consumer may of what a limit counts, in the place of what the limit says or the plan; may be given more than once
    #[arg(long, value_name = "LIMIT=AMOUNT", value_parser = amount)]
    pub limit: Vec<(String, u32)>,
    /// What the consumer's keys are good for; may be given more than once
    #[arg(long)]
    pub scope: Vec<String>,
    /// What the consumer is; may be given more than once
    #[arg(long)]
    pub role: Vec<String>,
    /// The file of keys [default: the one that the configuration names]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

/// Options of `key list`.
#[derive(Debug, Args)]
pub struct KeyFile {
    /// The file of keys [default: the one that the configuration names]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

/// Options of `key revoke`.
#[derive(Debug, Args)]
pub struct KeyRevoke {
    /// The letters that the key is shown by
    pub id: String,
    /// The file of keys [default: the one that the configuration names]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

/// Options of `reload`.
#[derive(Debug, Args)]
pub struct Reload {
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Go back by itself after this time, unless `maitred confirm` comes first
    #[arg(long, value_name = "TIME", conflicts_with = "dry_run")]
    pub confirm: Option<document::Duration>,
    /// Go back as soon as this holds, such as "5xx>1%"
    #[arg(long, value_name = "CONDITION", conflicts_with = "dry_run")]
    pub abort_if: Option<String>,
    /// Go on with an upgrade where a change needs a new process
    #[arg(long, conflicts_with_all = ["dry_run", "confirm"])]
    pub upgrade_if_needed: bool,
}

/// Options of `upgrade`.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// The new binary [default: the one that the server was started from]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub binary: Option<PathBuf>,
    /// How long the new process may take to become ready
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub timeout: document::Duration,
}

/// What a server of its own is put through.
#[derive(Debug, Subcommand)]
pub enum Selftest {
    /// Reloads and upgrades under load of every kind; exit 1 when a request failed or was slow
    Reload(SelftestReload),
}

/// Options of `selftest reload`.
#[derive(Debug, Args)]
pub struct SelftestReload {
    /// How many reloads
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub reloads: usize,
    /// How many upgrades
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub upgrades: usize,
    /// How long the load runs, in seconds: once before the changes, once during them
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub seconds: u64,
    /// How many times as long as before the 99th percentile may take during the changes
    #[arg(long, value_name = "RATIO", default_value_t = 2.0)]
    pub p99_ratio: f64,
}

/// Options of `show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Only this part: routes.users, or listeners.http.address
    pub path: Option<String>,
    /// Say behind each value in which file and line it stands
    #[arg(long)]
    pub source: bool,
    /// Say what differs between what the running maitred has in force and the file; exit 1 where anything does
    #[arg(long, conflicts_with = "source")]
    pub diff: bool,
    /// Show what the running maitred has in force instead of the file
    #[arg(long, conflicts_with_all = ["source", "diff"])]
    pub live: bool,
}

/// What to do with a backend.
#[derive(Debug, Subcommand)]
pub enum Backend {
    /// Use it again as health and weight say
    Ready(BackendTarget),
    /// Send it no further requests but those of clients that are kept there; those under way end
    Drain(BackendTarget),
    /// Treat it as one that has failed
    Down(BackendTarget),
    /// Give it another weight
    Weight {
        #[command(flatten)]
        target: BackendTarget,
        /// From 0 to 1000
        weight: u32,
    },
}

/// Which backend, and for how long.
#[derive(Debug, Args)]
pub struct BackendTarget {
    /// Upstream and backend, such as users/10.0.1.11:8080
    pub backend: String,
    /// Go back to the configuration by itself after this time [default: when told so, or when the service is started
    /// anew]
    #[arg(long = "for", value_name = "TIME")]
    pub time: Option<document::Duration>,
}

/// Options of `purge`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["url", "tag", "all"])))]
pub struct Purge {
    /// A URL, or a path on every host; without a query all its queries are meant, with a * at the end everything below
    pub url: Option<String>,
    /// Answers with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// All answers
    #[arg(long)]
    pub all: bool,
    /// Make them stale instead: they are still given where stale answers are, while they are asked for anew
    #[arg(long)]
    pub soft: bool,
}

/// Options of `warm`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["urls", "file"])))]
pub struct Warm {
    /// URLs, or paths on the first listener
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,
    /// A file with one URL a line, where # begins a remark; - for standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// A header of each request, where answers depend on it
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// How many are asked for at the same time, up to 64
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    pub concurrency: usize,
}

/// What to do with the logs.
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Change the level of the process log, or print it
    Level(Level),
    /// Print the access log as it is written
    Follow(Follow),
}

/// Options of `log level`.
#[derive(Debug, Args)]
pub struct Level {
    /// The level, such as debug or "info,maitred_upstream=debug" [default: print the one that holds]
    pub level: Option<String>,
    /// Go back to the configured level by itself after this time
    #[arg(long = "for", value_name = "TIME", requires = "level")]
    pub time: Option<document::Duration>,
    /// Go back to the configured level now
    #[arg(long, conflicts_with = "level")]
    pub reset: bool,
}

/// Options of `log follow`.
#[derive(Debug, Args)]
pub struct Follow {
    /// Only requests of this route; - for those that none took
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// Only answers with such a status: 404, 5xx, or "404,5xx"
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
}

/// `calls=5000`.
fn amount(text: &str) -> Result<(String, u32), &'static str> {
    let wrong = "expected the name of a limit and a number of requests, such as calls=5000";
    let (name, amount) = text.rsplit_once('=').ok_or(wrong)?;
    Ok((name.to_owned(), amount.parse().map_err(|_| wrong)?))
}
