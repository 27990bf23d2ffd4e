//! The image: the Dockerfile is one, the Compose file is one, and maitred takes the configurations that come with them.
//! No engine runs here, so no image is built.

use super::{check_configuration, scratch, tools};
use crate::shell::{self, Failure};

pub(super) fn check() -> Result<(), Failure> {
    let folder = scratch("image")?;
    let below = shell::root().join("deploy/docker");
    shell::output(tools::python_program("hadolint").arg("--no-color").arg(below.join("Dockerfile")))?;
    shell::output(tools::look("compose").arg(below.join("compose.yaml")))?;
    for name in ["maitred.toml", "compose.toml"] {
        let text = crate::source::read(format!("deploy/docker/{name}").as_ref())?;
        check_configuration(&text, &format!("deploy/docker/{name}"), &folder)?;
    }
    Ok(())
}
