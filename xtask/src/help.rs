//! `cargo xtask help`: the commands, and what each takes.

use crate::shell::Failure;

const TEXT: &str = "\
What a maintainer of maitred runs

Usage: cargo xtask <COMMAND>

  test [ARG…]        Install what the tests need, build, run every test; ARGs go to the test runner
  demo [ARG…]        Install what the build needs, build the release, run `maitred demo`
  bench [SCENARIO…]  Time maitred and other proxies in turn on this machine
                       --peers nginx,haproxy  whom to compare with: nginx, haproxy, envoy, caddy, varnish (`none`: nobody)
                       --rounds N             how often each takes its turn; the best round counts (default 5)
                       --seconds N            how long one turn lasts (default 3)
                       --json                 print one JSON document instead of tables
                       --instructions         count user-space instructions a request instead (callgrind)
                       --syscalls             count system calls a request instead (strace)
                       --check                fail where instructions are 3 % above bench/instructions.txt
                       --save                 write bench/results.md, or bench/instructions.txt where those are counted
                       --binary FILE          measure this release instead of building one
                       --list                 name the scenarios
  pgo                Build the release twice, the second time with a profile of what the first one does under load
  package            Make the Debian package of the release with a profile
                       --no-pgo               of the release as `cargo build --release` makes it, in half of the time
  deploy [PART…]     Check deploy/: metrics, image, chart, package, unit, container, boot
  generate           Write what is derived from the code: reference, schema, sample file
                       --check                write nothing; fail where a file is stale
  tidy               Check the rules of the house: sizes, layers, names, links
                       --ratchet              record that an exception has shrunk
  help               This page
";

pub(crate) fn run(_words: &[String]) -> Result<(), Failure> {
    print!("{TEXT}");
    Ok(())
}
