//! Alerts and the dashboard: promtool takes them, their tests pass, and every metric that they ask for exists.

use std::process::Command;

use super::{scratch, tools};
use crate::shell::{self, Failure};

pub(super) fn check() -> Result<(), Failure> {
    let folder = scratch("metrics")?;
    let below = shell::root().join("deploy");
    let rules = below.join("prometheus/maitred.rules.yml");
    shell::output(promtool(&["check", "rules"]).arg(&rules))?;
    shell::output(promtool(&["check", "config"]).arg(below.join("prometheus/scrape.yml")))?;
    // Names a file of the container that Prometheus runs in, so what it names is not looked for.
    shell::output(promtool(&["check", "config", "--syntax-only"]).arg(below.join("docker/prometheus.yml")))?;
    shell::output(promtool(&["test", "rules"]).arg(below.join("prometheus/maitred.rules.test.yml")))?;
    let board = below.join("grafana/maitred.json");
    let queries = folder.join("queries.yml");
    shell::output(tools::look("dashboard").arg(&board).arg(&queries))?;
    shell::output(promtool(&["check", "rules"]).arg(&queries))?;
    shell::output(tools::look("metrics").arg(board).arg(rules)).map(drop)
}

fn promtool(words: &[&str]) -> Command {
    let mut promtool = Command::new("promtool");
    promtool.args(words);
    promtool
}
