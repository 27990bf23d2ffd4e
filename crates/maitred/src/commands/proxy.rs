//! `maitred proxy URL`: a proxy without a file.

use crate::{
    cli,
    cli::Global,
    exit::{Failure, Outcome},
    server,
};

/// Runs with a configuration of one route.
pub fn run(global: &Global, proxy: &cli::Proxy) -> Outcome {
    let url = backend_url(&proxy.url)?;
    let text = format!("listen = {:?}\n\n[routes]\n\"/*\" = {url:?}\n", proxy.listen);
    server::run_text(global, "command line", &text, None)
}

/// `localhost:3000` and `3000` are URLs too, for whoever types.
pub fn backend_url(text: &str) -> Result<String, Failure> {
    let url = match text {
        _ if text.contains("://") || text.starts_with("unix:") => text.to_owned(),
        _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => format!("http://localhost:{text}"),
        _ => format!("http://{text}"),
    };
    match url.split_once("://") {
        Some((_, rest)) if rest.trim_end_matches('/').is_empty() => {
            Err(Failure { code: 2, message: format!("{text:?} is no URL such as http://localhost:3000") })
        }
        _ => Ok(url.trim_end_matches('/').to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::backend_url;

    #[test]
    fn what_people_type_becomes_a_url() {
        for (typed, url) in [
            ("http://localhost:3000/", "http://localhost:3000"),
            ("localhost:3000", "http://localhost:3000"),
            ("3000", "http://localhost:3000"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ] {
            assert_eq!(backend_url(typed).unwrap(), url);
        }
        assert!(backend_url("http://").is_err());
    }
}
