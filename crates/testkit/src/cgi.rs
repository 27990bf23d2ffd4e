//! An origin that runs a program for each request (CGI, RFC 3875): what `git http-backend` needs to be a server.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, sync::Arc};

use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    process::Command,
    task::{JoinHandle, JoinSet},
};

use crate::{Fields, Framing, Stream, Wire, client::tool};

/// A program and the variables that it gets besides those of the request.
#[derive(Debug)]
struct Program {
    file: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

/// An HTTP/1 origin on a free port whose answers a program makes. Stops when it is dropped.
#[derive(Debug)]
pub struct Cgi {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Cgi {
    /// Serves the repositories below `root` with `git http-backend`: clones, and pushes where a repository's
    /// `http.receivepack` allows them.
    pub async fn git(root: &std::path::Path) -> Self {
        let file = tool("git", "git").as_std().get_program().into();
        let variables = [("GIT_PROJECT_ROOT", root.display().to_string()), ("GIT_HTTP_EXPORT_ALL", "1".into())];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self::start(Program { file, arguments: vec!["http-backend".into()], variables }).await
    }

    async fn start(program: Program) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let program = Arc::new(program);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let program = program.clone();
                connections.spawn(async move {
                    let mut wire = Wire::new(Stream::Tcp(tcp));
                    while program.serve(&mut wire).await.is_some() {}
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Cgi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Display for Cgi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

impl Program {
    /// Answers one request; `None` when the connection is over.
    async fn serve(&self, wire: &mut Wire) -> Option<()> {
        let head = wire.read_head().await.ok()??;
        let text = String::from_utf8_lossy(&head).into_owned();
        let (line, fields) = text.split_once("\r\n")?;
        let fields = Fields::parse(fields);
        if fields.has_token("expect", "100-continue") {
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
        }
        let mut body = Vec::new();
        wire.read_body(Framing::of_request(&fields), |piece| body.extend_from_slice(piece)).await.ok()?;
        let output = self.run(line, &fields, body).await;
        wire.write(&answer(&output)).await.ok()
    }

    async fn run(&self, line: &str, fields: &Fields, body: Vec<u8>) -> Vec<u8> {
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut command = Command::new(&self.file);
        command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
        command.env("CONTENT_LENGTH", body.len().to_string()).env("SERVER_PROTOCOL", "HTTP/1.1");
        for (variable, name) in [
            ("CONTENT_TYPE", "content-type"),
            ("HTTP_CONTENT_ENCODING", "content-encoding"),
            ("GIT_PROTOCOL", "git-protocol"),
            ("REMOTE_ADDR", "x-forwarded-for"),
        ] {
            command.envs(fields.get(name).map(|value| (variable, value)));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feed = async move {
            // A program that does not read its input is free not to.
            let _ = stdin.write_all(&body).await;
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        output.unwrap().stdout
    }
}

/// The answer that a program's output stands for: its `Status` becomes the status line.
fn answer(output: &[u8]) -> Vec<u8> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end else { return b"HTTP/1.1 500 No Answer\r\nContent-Length: 0\r\n\r\n".to_vec() };
    let mut fields = Fields::parse(&String::from_utf8_lossy(&output[..end]));
    let body = &output[end + 4..];
    let status = fields.get("status").unwrap_or("200 OK").to_owned();
    fields.0.retain(|(name, _)| !name.eq_ignore_ascii_case("status"));
    let lines: String = fields.0.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut answer = format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}
