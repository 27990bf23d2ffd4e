//! A stream of ours as Pingora's engine takes it: its trait for sessions of protocols that it does not know.

use std::{future::poll_fn, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, header};
use pingora_core::{
    Error, ErrorType, Result,
    protocols::{
        Digest,
        http::{
            HttpTask,
            body_buffer::FixedBuffer,
            custom::{CustomMessageWrite, server::Session},
        },
        l4::socket::SocketAddr,
    },
};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::timeout;

use super::stream::Stream;
use crate::{
    engine::{Client, Lines},
    persist::is_interim,
};

/// How much of a request is kept, so that it can be sent again.
const KEPT: usize = 64 * 1024;

/// What a protocol may say beside its messages, in Pingora's words. HTTP/2 says nothing there.
type Beside = Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// A request of which the stream is not served by our own engine.
pub(super) struct Handed {
    head: RequestHeader,
    stream: Stream,
    digest: Arc<Digest>,
    written: Option<ResponseHeader>,
    kept: Option<FixedBuffer>,
    received: usize,
    sent: usize,
    timeouts: Timeouts,
}

#[derive(Default)]
struct Timeouts {
    read: Option<Duration>,
    write: Option<Duration>,
    drain: Option<Duration>,
}

impl Handed {
    pub(super) fn new(head: RequestHeader, stream: Stream, digest: Arc<Digest>) -> Self {
        let timeouts = Timeouts::default();
        Self { head, stream, digest, written: None, kept: None, received: 0, sent: 0, timeouts }
    }

    /// Waits until everything is on its way.
    async fn flush(&mut self) -> Result<()> {
        let written = poll_fn(|cx| self.stream.poll_write(cx, &mut false));
        let in_time = match self.timeouts.write {
            Some(limit) => timeout(limit, written).await.map_err(|_| late(ErrorType::WriteTimedout))?,
            None => written.await,
        };
        in_time.map_err(|error| Error::because(ErrorType::WriteError, "the answer", error).into_down())
    }

    async fn task(&mut self, task: HttpTask) -> Result<bool> {
        match task {
            HttpTask::Header(head, end) => self.write_response_header(head, end).await.map(|()| end),
            HttpTask::Body(content, end) => {
                if let Some(content) = content.filter(|content| !content.is_empty()) {
                    self.write_body(content, end).await?;
                }
                Ok(end)
            }
            HttpTask::UpgradedBody(..) => Error::e_explain(ErrorType::InternalError, "no upgrade over HTTP/2"),
            HttpTask::Trailer(trailers) => {
                if let Some(trailers) = trailers {
                    self.write_trailers(*trailers).await?;
                }
                Ok(true)
            }
            HttpTask::Done => Ok(true),
            HttpTask::Failed(error) => Err(error),
        }
    }
}

#[async_trait]
impl Session for Handed {
    fn req_header(&self) -> &RequestHeader {
        &self.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let piece = poll_fn(|cx| self.stream.poll_content(cx, 0)).await?;
        self.received += piece.len();
        if let Some(kept) = &mut self.kept {
            kept.write_to_buffer(&piece);
        }
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let limit = self.timeouts.drain;
        let drained = async {
            while self.read_body_bytes().await?.is_some() {}
            Ok(())
        };
        match limit {
            Some(limit) => timeout(limit, drained).await.map_err(|_| late(ErrorType::ReadTimedout))?,
            None => drained.await,
        }
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if is_interim(head.status) {
            self.stream.put_interim(&head);
            return Ok(());
        }
        if self.written.is_some() {
            return Ok(());
        }
        // Whoever asks what was written wants to know the status.
        let written = ResponseHeader::build(head.status, Some(0))?;
        self.stream.put_final(*head, &Lines::default(), &self.head, !end, true, |_, _| {})?;
        self.written = Some(written);
        Ok(())
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), end).await
    }

    async fn write_body(&mut self, content: Bytes, end: bool) -> Result<()> {
        if self.written.is_none() {
            return Err(Error::explain(ErrorType::H2Error, "content before its head"));
        }
        if !self.stream.is_ended() {
            let count = content.len();
            self.stream.put(content, end);
            self.flush().await?;
            self.sent += count;
        }
        Ok(())
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.stream.put_trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        for task in tasks {
            ended |= self.task(task).await.map_err(|error| error.into_down())?;
        }
        if ended {
            self.finish().await?;
        }
        Ok(ended)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        // `pulse` sees to it that content comes: it knows whether it is the origin that makes it wait.
        self.timeouts.read = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.timeouts.read
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.timeouts.write = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.timeouts.write
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.timeouts.drain = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.timeouts.drain
    }

    fn request_summary(&self) -> String {
        let host =
            self.head.headers.get(header::HOST).map_or("".into(), |host| String::from_utf8_lossy(host.as_bytes()));
        format!("{} {}, Host: {host}", self.head.method, self.head.uri.path())
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_ref()
    }

    async fn shutdown(&mut self, _code: u32, _why: &str) {
        self.stream.reset(h2::Reason::INTERNAL_ERROR);
    }

    fn is_body_done(&mut self) -> bool {
        self.stream.is_body_read()
    }

    async fn finish(&mut self) -> Result<()> {
        if self.written.is_some() && !self.stream.is_ended() {
            self.stream.put(Bytes::new(), true);
            self.flush().await?;
        }
        Ok(())
    }

    fn is_body_empty(&mut self) -> bool {
        self.received == 0 && self.stream.is_body_read()
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_body_done() {
            return self.read_body_bytes().await;
        }
        poll_fn(|cx| self.stream.poll_gone(cx)).await;
        Err(Error::explain(ErrorType::ConnectionClosed, "the client left").into_down())
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.received
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref().and_then(|socket| socket.peer_addr())
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref().and_then(|socket| socket.local_addr())
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        // For sub-requests, of which there are none.
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.kept.get_or_insert_with(|| FixedBuffer::new(KEPT));
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.kept.as_ref().is_some_and(FixedBuffer::is_truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.kept.as_ref().filter(|kept| !kept.is_truncated()).and_then(FixedBuffer::get_buffer)
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Beside> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Beside) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}

fn late(what: ErrorType) -> Box<Error> {
    Error::explain(what, "the client is too slow").into_down()
}
