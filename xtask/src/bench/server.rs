//! A server started for the bench: pinned to a core, waited for, stopped with us.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::shell::{self, Failure, because, describe};

/// How long a server may take to start or to stop, also under valgrind with ten thousand routes.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often we look.
const GLANCE: Duration = Duration::from_millis(10);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts the program that `words` call on these cores, and waits until something listens on every port. What it prints goes
    /// into `log`.
    pub(crate) fn start<'w>(
        cores: Range<u8>,
        words: impl Iterator<Item = &'w String>,
        ports: &[u16],
        log: &Path,
    ) -> Result<Self, Failure> {
        let output = File::create(log).map_err(because(format!("cannot make {}", log.display())))?;
        let errors = output.try_clone().map_err(because("cannot share the log"))?;
        let mut pinned = Command::new("taskset");
        let cores: Vec<String> = cores.map(|core| core.to_string()).collect();
        pinned.args(["-c", &cores.join(",")]).args(words);
        let line = describe(&pinned);
        let child = pinned.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let mut server = Self { child: child.map_err(because(format!("cannot start `{line}`")))? };
        for port in ports {
            server.wait_for(*port).map_err(|why| Failure::new(format!("`{line}` {why}; see {}", log.display())))?;
        }
        Ok(server)
    }

    /// Starts an nginx of that configuration on one core, with everything that it writes in `folder`.
    pub(crate) fn nginx(core: u8, folder: &Path, config: &str, ports: &[u16]) -> Result<Self, Failure> {
        let file = folder.join("nginx.conf");
        fs::write(&file, config).map_err(because(format!("cannot write {}", file.display())))?;
        let program = shell::which("nginx").unwrap_or_else(|| "nginx".into());
        let line = format!("{} -p {f} -c {} -e {f}/error.log", program.display(), file.display(), f = folder.display());
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Self::start(core..core + 1, words.iter(), ports, &folder.join("log"))
    }

    fn wait_for(&mut self, port: u16) -> Result<(), &'static str> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&address, PATIENCE).is_err() {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return Err("ended at once");
            }
            if Instant::now() > deadline {
                return Err("does not listen");
            }
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Asks it to end and waits until it has, so that what it writes at its end is there.
    pub(crate) fn stop(self) {
        drop(self);
    }

    /// The process; taskset has become the server.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    /// Asks politely, so that nginx's master takes its workers along; insists after a while.
    fn drop(&mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let deadline = Instant::now() + PATIENCE;
        while asked.is_ok() && Instant::now() < deadline {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            thread::sleep(GLANCE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports on the loopback address that nobody has now.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], Failure> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(because("cannot find a free port"))?;
        *port = listener.local_addr().map_err(because("cannot find a free port"))?.port();
        held.push(listener); // all of them at once, or the same one would be found again
    }
    Ok(ports)
}
