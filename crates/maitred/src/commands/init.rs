//! `maitred init`: a first file, without a question.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cli,
    cli::Global,
    commands::docs,
    exit::{Failure, Outcome},
    out,
};

/// Where development servers listen by habit; the first that answers becomes the upstream.
const USUAL_PORTS: [u16; 4] = [3000, 8000, 8081, 5000];

/// The name of the schema that the file's first line refers to.
const SCHEMA: &str = "maitred.schema.json";

/// Writes the file; never over one that is there, unless told to.
pub fn run(global: &Global, init: &cli::Init) -> Outcome {
    let path = global.config.clone().unwrap_or_else(|| PathBuf::from("maitred.toml"));
    let (to, found) = match &init.to {
        Some(to) => (crate::commands::proxy::backend_url(to)?, None),
        None => match USUAL_PORTS.into_iter().find(|port| answers(*port)) {
            Some(port) => (format!("http://localhost:{port}"), Some(port)),
            None => ("http://localhost:3000".to_owned(), None),
        },
    };
    write(&path, &text(&to), init.force)?;
    // Beside it, so that the first line of the file finds it. It is ours alone, so that writing it anew is no loss.
    let schema = path.with_file_name(SCHEMA);
    write(&schema, &docs::schema(), true)?;
    if global.quiet {
        return Ok(());
    }
    if let Some(port) = found {
        out::line(format!("found something on localhost:{port}"))?;
    }
    out::line(format!("wrote {}: everything on :8080 goes to {to}", path.display()))?;
    out::line(format!("wrote {}: completion for editors", schema.display()))?;
    out::line("next: maitred run")
}

fn text(to: &str) -> String {
    format!(
        "#:schema ./{SCHEMA}\n\
         listen = \":8080\"            # where clients come in\n\
         \n\
         [routes]                    # the most specific match wins; order never matters\n\
         \"/*\" = \"{to}\"\n\
         \n\
         # check it: maitred check    run it: maitred run    why?: maitred explain /\n"
    )
}

fn answers(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

fn write(path: &Path, text: &str, force: bool) -> Outcome {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::new(format!("{} is there already\nhint: --force writes over it", path.display()))
        }
        _ => Failure::new(format!("cannot write {}: {error}", path.display())),
    })?;
    Ok(file.write_all(text.as_bytes())?)
}
