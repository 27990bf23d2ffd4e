//! What has to be on the machine besides Rust, and how it gets there.

use std::process::Command;

use crate::shell::{self, Failure};

/// A program that something of ours calls, and Debian's package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    /// The program's name.
    pub(crate) program: &'static str,
    /// The package, as `apt-get install` takes it.
    pub(crate) package: &'static str,
    /// Who calls it.
    pub(crate) why: &'static str,
}

/// What building needs.
pub(crate) const BUILD: &[Tool] = &[
    Tool { program: "cc", package: "gcc libc6-dev", why: "aws-lc, zstd and mimalloc are C" },
    Tool { program: "c++", package: "g++", why: "cmake looks for it when it configures zlib-ng" },
    Tool { program: "make", package: "make", why: "cmake builds zlib-ng with it" },
    Tool { program: "cmake", package: "cmake", why: "Pingora's zlib-ng is built with it" },
];

/// What the tests call.
pub(crate) const TEST: &[Tool] = &[
    Tool { program: "curl", package: "curl ca-certificates", why: "the client that everyone has" },
    Tool { program: "nginx", package: "nginx-light", why: "an origin that is not ours" },
    Tool { program: "wrk", package: "wrk", why: "HTTP/1.1 load" },
    Tool { program: "h2load", package: "nghttp2-client", why: "HTTP/2 load" },
    Tool { program: "git", package: "git", why: "clones over smart HTTP" },
    Tool { program: "python3", package: "python3", why: "a file server as origin" },
    Tool { program: WEBSOCKETS, package: "python3-websockets", why: "a WebSocket client that is not ours" },
    Tool { program: GRPC, package: "python3-grpcio", why: "a gRPC client and service that are not ours" },
    Tool { program: JWT, package: "python3-jwt python3-cryptography", why: "tokens that are not ours" },
    Tool { program: "node", package: "nodejs", why: "runs jose" },
    Tool { program: JOSE, package: "node-jose", why: "tokens of yet another library" },
    Tool { program: "openssl", package: "openssl", why: "a TLS client that says what it was shown" },
];

/// Modules of Python's rather than programs: looked for by the file that each is.
const WEBSOCKETS: &str = "/usr/lib/python3/dist-packages/websockets/__init__.py";
const JWT: &str = "/usr/lib/python3/dist-packages/jwt/__init__.py";
const GRPC: &str = "/usr/lib/python3/dist-packages/grpc/__init__.py";
/// The same of Node's. Debian's node would find it by itself; whose node it is, is left open.
const JOSE: &str = "/usr/share/nodejs/jose/package.json";

/// What the bench calls besides the proxies that it compares with.
pub(crate) const BENCH: &[Tool] = &[
    Tool { program: "wrk", package: "wrk", why: "HTTP/1.1 load" },
    Tool { program: "h2load", package: "nghttp2-client", why: "HTTP/2 load" },
    Tool { program: "curl", package: "curl ca-certificates", why: "compares the answers before anything is timed" },
    Tool { program: "openssl", package: "openssl", why: "makes the certificate" },
    Tool { program: "taskset", package: "util-linux", why: "gives the proxy a core of its own" },
    Tool { program: "nginx", package: "nginx-light", why: "the origin, and a peer" },
];

/// What the checks of deploy/ call.
pub(crate) const DEPLOY: &[Tool] = &[
    Tool { program: "systemd-analyze", package: "systemd", why: "looks at the unit" },
    Tool { program: "deb-systemd-helper", package: "init-system-helpers", why: "the package's scripts call it" },
    Tool { program: "dpkg-shlibdeps", package: "dpkg-dev", why: "finds the libraries that the package depends on" },
    Tool { program: "strip", package: "binutils", why: "makes the package small" },
    Tool { program: "lintian", package: "lintian", why: "knows what a Debian package must be" },
    Tool { program: "shellcheck", package: "shellcheck", why: "reads the package's scripts" },
    Tool { program: "logrotate", package: "logrotate", why: "reads its configuration" },
    Tool { program: "promtool", package: "prometheus", why: "checks and tests the alerts" },
    Tool { program: "pip3", package: "python3-pip", why: "has the tools that Debian has not" },
    Tool { program: "openssl", package: "openssl", why: "makes a certificate" },
    Tool { program: "curl", package: "curl ca-certificates", why: "asks the installed server" },
    Tool { program: "wrk", package: "wrk", why: "load while the package is upgraded" },
    Tool { program: "ip", package: "iproute2", why: "brings loopback up in a namespace" },
    Tool { program: "unshare", package: "util-linux", why: "namespaces for a systemd of our own" },
    Tool { program: "pgrep", package: "procps", why: "finds process 1 of a container" },
];

/// Installs as root. Debian starts a service when it is installed; a tool that a test starts by itself must not take
/// port 80 meanwhile, so the policy file of invoke-rc.d says no for that time.
const INSTALL: &str = r#"
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
"#;

/// Makes sure that `tools` are there: installs what is missing where that is allowed, else says exactly what to install.
pub(crate) fn ensure(tools: &[&[Tool]]) -> Result<(), Failure> {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        eprintln!("missing: `{}` — {}", tool.program, tool.why);
    }
    let packages: Vec<&str> = missing.iter().flat_map(|tool| tool.package.split(' ')).collect();
    let Some(mut installer) = installer() else {
        return Err(refusal(&packages));
    };
    eprintln!("installing {} with apt-get", packages.join(" "));
    let status = installer.args(["sh", "-c", INSTALL, "install"]).args(&packages).status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(refusal(&packages));
    }
    match self::missing(tools).first() {
        None => Ok(()),
        Some(tool) => Err(Failure::new(format!("`{}` is still missing after the installation", tool.program))),
    }
}

fn missing(tools: &[&[Tool]]) -> Vec<Tool> {
    let mut missing: Vec<Tool> = Vec::new();
    for tool in tools.iter().copied().flatten() {
        if shell::which(tool.program).is_none() && !missing.iter().any(|other| other.program == tool.program) {
            missing.push(*tool);
        }
    }
    missing
}

/// A command that runs its arguments as root without asking anybody anything, where the machine allows that.
fn installer() -> Option<Command> {
    shell::which("apt-get")?;
    if shell::is_root() {
        return Some(Command::new("env"));
    }
    shell::succeeds(Command::new("sudo").args(["-n", "true"])).then(|| {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env"]);
        sudo
    })
}

fn refusal(packages: &[&str]) -> Failure {
    let packages = packages.join(" ");
    Failure::new(format!(
        "install these first, then run the same command again\n\n    sudo apt-get install {packages}\n\n\
         (elsewhere: the packages of your system that have the same programs)"
    ))
}
