//! Kubernetes: the plain manifests and what the chart renders are valid, fit together, and hold configurations that
//! maitred takes; the chart refuses values that it does not know. No cluster runs here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{check_configuration, scratch, tools};
use crate::{
    shell::{self, Failure, because},
    source,
};

/// Values that the chart renders, and the values that it is given.
const RENDERED: &[(&str, Option<&str>)] = &[
    ("default", None),
    ("everything", Some("xtask/deploy/values/everything.yaml")),
    ("elsewhere", Some("xtask/deploy/values/elsewhere.yaml")),
];

/// Values that the chart must refuse, each with a word that its message has.
const REFUSED: &[(&str, &str)] = &[
    ("replicas=3", "replicas"),
    ("reload=never", "reload"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("service.ports[0].containerPort=80", "containerPort"),
    ("serviceMonitor.enabled=true", "admin.existingSecret"),
    ("admin.existingSecret=token", "[admin]"),
];

pub(super) fn check() -> Result<(), Failure> {
    let folder = scratch("chart")?;
    shell::output(helm(&["lint", "--strict"]).arg(chart()))?;
    for (name, values) in RENDERED {
        render(name, *values, &folder)?;
    }
    for (value, word) in REFUSED {
        refuse(value, word)?;
    }
    let plain = folder.join("plain.yaml");
    write(&plain, &shell::output(tools::cluster_program("kubectl").arg("kustomize").arg(kubernetes()))?)?;
    validate(&plain, &folder.join("plain"))
}

fn render(name: &str, values: Option<&str>, folder: &Path) -> Result<(), Failure> {
    let values = values.map(|values| shell::root().join(values));
    let mut template = helm(&["template", "shop"]);
    template.arg(chart());
    if let Some(values) = &values {
        template.arg("--values").arg(values);
    }
    let rendered = folder.join(format!("{name}.yaml"));
    write(&rendered, &shell::output(&mut template)?)?;
    validate(&rendered, &folder.join(name))?;
    if name == "elsewhere" {
        return Ok(());
    }
    let values = values.unwrap_or_else(|| chart().join("values.yaml"));
    shell::output(tools::look("verbatim").arg(values).arg(rendered)).map(drop)
}

fn refuse(value: &str, word: &str) -> Result<(), Failure> {
    let said = shell::captured(helm(&["template", "shop", "--set", value]).arg(chart()))?;
    if said.status.success() {
        return Err(Failure::new(format!("the chart takes `{value}`")));
    }
    match said.text().contains(word) {
        true => Ok(()),
        false => Err(Failure::new(format!("the chart refuses `{value}` without a word of `{word}`\n{}", said.text()))),
    }
}

/// The objects in `file`, and the configurations in them, which are written to `folder`.
fn validate(file: &Path, folder: &Path) -> Result<(), Failure> {
    shell::empty(folder)?;
    let elsewhere = ["front", "front-admin", "front-tls"];
    shell::output(tools::look("manifests").arg(file).arg(folder).args(elsewhere))?;
    for configuration in source::files_below(folder)? {
        let text = fs::read_to_string(folder.join(&configuration)).map_err(because("cannot read a configuration"))?;
        check_configuration(&text, &format!("{} in {}", configuration.display(), file.display()), folder)?;
    }
    Ok(())
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(file, bytes).map_err(because(format!("cannot write {}", file.display())))
}

fn helm(words: &[&str]) -> Command {
    let mut helm = tools::cluster_program("helm");
    helm.args(words);
    helm
}

fn chart() -> PathBuf {
    shell::root().join("deploy/helm/maitred")
}

fn kubernetes() -> PathBuf {
    shell::root().join("deploy/kubernetes")
}
