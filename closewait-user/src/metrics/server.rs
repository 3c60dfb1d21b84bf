//! The endpoint: HTTP on the event loop that everything runs on.
//!
//! Whoever can connect can ask, so everything is bounded: connections at once, the size of
//! a request's head, the time from the first byte to the last, and how often the driver is
//! asked. One request to a connection: what keeps one open keeps others out.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::answers::{Answer, Ask};
use super::exposition;
use super::listen::Listen;
use crate::clock::{Clock, MonoNs};

/// Connections at once; for each that comes beyond, another is closed.
pub const MAX_CONNECTIONS: usize = 32;
/// Bytes of a request's head, the least that hyper takes.
pub const MAX_HEAD: usize = 8192;
/// Headers of a request.
const MAX_HEADERS: usize = 64;
/// To send the head of a request.
pub const HEAD_TIME: Duration = Duration::from_secs(5);
/// From connect to close.
pub const TIME: Duration = Duration::from_secs(10);
/// A text this young is given to whoever asks: nobody makes the tool count its sockets more
/// often.
pub const FRESH: Duration = Duration::from_secs(1);
/// And for so many times what it took to make, so that nobody makes the tool spend more than
/// a twentieth of a core: that begins at some 400,000 stuck sockets.
const SPARE: u32 = 20;
/// After a failed accept, as when descriptors are used up.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound endpoint that does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    texts: Arc<Texts>,
}

/// The last text, and whom to ask for a newer one.
#[derive(Debug)]
struct Texts {
    asks: mpsc::Sender<Ask>,
    last: Mutex<Option<Text>>,
}

/// One text, for all who ask while it is fresh.
#[derive(Debug)]
struct Text {
    fresh_until: MonoNs,
    plain: Bytes,
    /// Compressed, once somebody has asked for that: a third of a quiet host's, a ninth of a busy one's.
    packed: Option<Bytes>,
}

/// What a response is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Plain,
    Gzip,
}

impl Server {
    /// Listens at `at`; questions come out of the receiver.
    ///
    /// # Errors
    /// The system's, when it cannot listen there.
    pub async fn bind(at: Listen) -> io::Result<(Self, mpsc::Receiver<Ask>)> {
        let listener = TcpListener::bind(at.0).await?;
        let (asks, asked) = mpsc::channel(1);
        Ok((Self { listener, texts: Arc::new(Texts { asks, last: Mutex::new(None) }) }, asked))
    }

    /// Where it listens, with the port that the system gave.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the event loop ends.
    pub async fn serve(self) {
        let mut open = Connections::default();
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    log::debug!("a scrape could not be accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            if open.make_room() {
                // It is closed when its task is dropped, before another is accepted.
                tokio::task::yield_now().await;
            }
            let (texts, has_asked) = (Arc::clone(&self.texts), Arc::new(AtomicBool::new(false)));
            let asked = Arc::clone(&has_asked);
            let task = tokio::spawn(async move {
                let _ = tokio::time::timeout(TIME, connection(stream, texts, asked)).await;
            });
            open.0.push(Connection { task: task.abort_handle(), has_asked });
        }
    }
}

/// Those that are open, the oldest first.
#[derive(Debug, Default)]
struct Connections(Vec<Connection>);

#[derive(Debug)]
struct Connection {
    task: AbortHandle,
    /// The whole head of a request has come.
    has_asked: Arc<AtomicBool>,
}

impl Connections {
    /// Ends one where there are as many as may be: the oldest that has asked for nothing yet, else
    /// the oldest. Who holds many open does not keep out who comes to ask.
    fn make_room(&mut self) -> bool {
        self.0.retain(|it| !it.task.is_finished());
        let is_full = self.0.len() >= MAX_CONNECTIONS;
        if is_full {
            let idle = self.0.iter().position(|it| !it.has_asked.load(Ordering::Relaxed));
            self.0.remove(idle.unwrap_or(0)).task.abort();
        }
        is_full
    }
}

async fn connection(stream: TcpStream, texts: Arc<Texts>, has_asked: Arc<AtomicBool>) {
    let service = service_fn(move |request| {
        has_asked.store(true, Ordering::Relaxed);
        let texts = Arc::clone(&texts);
        async move { Ok::<_, Infallible>(texts.respond(&request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        log::debug!("a scrape failed: {error}");
    }
}

impl Texts {
    async fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/metrics") => {
                let form = Form::wanted_by(request);
                let Some(text) = self.get(form).await else {
                    return plain(StatusCode::SERVICE_UNAVAILABLE, "the trace has ended\n");
                };
                let mut response = response(StatusCode::OK, exposition::CONTENT_TYPE, text);
                if form == Form::Gzip {
                    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                response
            }
            (&Method::GET | &Method::HEAD, "/") => {
                plain(StatusCode::OK, "closewait-trace: metrics are at /metrics\n")
            }
            (_, "/metrics" | "/") => {
                let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
            _ => plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n"),
        }
    }

    /// A text that is fresh; `None` when there is nobody to make one.
    async fn get(&self, form: Form) -> Option<Bytes> {
        // Those who ask meanwhile wait here, and get the same one.
        let mut last = self.last.lock().await;
        if last.as_ref().is_none_or(|text| Clock::mono_now() >= text.fresh_until) {
            let (ask, answer) = oneshot::channel();
            self.asks.send(ask).await.ok()?;
            let Answer { text: plain, took } = answer.await.ok()?;
            let fresh_until = Clock::mono_now() + FRESH.max(took * SPARE);
            *last = Some(Text { fresh_until, plain, packed: None });
        }
        let Text { plain, packed, .. } = last.as_mut()?;
        match form {
            Form::Plain => Some(plain.clone()),
            Form::Gzip => {
                if packed.is_none() {
                    *packed = Some(gzip(plain).ok()?.into());
                }
                packed.clone()
            }
        }
    }
}

impl Form {
    fn wanted_by(request: &Request<Incoming>) -> Self {
        let accepted = request.headers().get_all(ACCEPT_ENCODING).into_iter();
        let takes_gzip = accepted
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|coding| {
                let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
                name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim(), "q=0" | "q=0.0")
            });
        if takes_gzip { Self::Gzip } else { Self::Plain }
    }
}

fn gzip(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text)?;
    packer.finish()
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
