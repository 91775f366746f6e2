//! A small web server of the test's own, which answers what the test tells it to, also what no
//! honest server would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The first byte of TLS, which this server does not speak.
const TLS: u8 = 0x16;

/// Where an endless body ends after all: far beyond what anybody may read of it.
const ENDLESS: usize = 256 << 20;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// `/v2/…?…`.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Where a range begins.
    pub fn range(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// How the body of an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// With its length.
    Whole,
    /// In chunks, without its length.
    Chunked,
    /// With its length, but the connection ends after so many bytes.
    Cut(usize),
    /// With its length, but after so many bytes nothing comes until the peer goes.
    Stall(usize),
    /// In chunks, again and again.
    Endless,
    /// The connection ends without an answer.
    Nothing,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    bytes: Vec<u8>,
    body: Body,
}

impl Reply {
    /// A status and a body.
    pub fn new(status: u16, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            bytes: bytes.into(),
            body: Body::Whole,
        }
    }

    /// With a header more.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With its body sent in another way.
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on a free port of 127.0.0.1; gone when dropped.
pub struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one.
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let (seen, stopped) = (requests.clone(), stop.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (handler, seen) = (handler.clone(), seen.clone());
                // They end with their connections, at the latest with the test's process.
                thread::spawn(move || stream.ok().and_then(|s| serve(s, &*handler, &seen)));
            }
        });
        Self {
            port,
            requests,
            stop,
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All requests up to now.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How many requests had this method, and a target that holds this.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let all = self.requests();
        let same = |r: &&Request| r.method == method && r.target.contains(part);
        all.iter().filter(same).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection to its end.
fn serve(stream: TcpStream, handler: &Handler, seen: &Mutex<Vec<Request>>) -> Option<()> {
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    let mut out = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        if *reader.fill_buf().ok()?.first()? == TLS {
            return None;
        }
        let request = read(&mut reader)?;
        seen.lock().unwrap().push(request.clone());
        let reply = handler(&request);
        let whole = write(&mut out, &reply, request.method == "HEAD")?;
        if !whole {
            return None;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        method,
        target,
        headers,
        body: Vec::new(),
    };
    let length = request.header("content-length");
    let length: usize = length.and_then(|l| l.parse().ok()).unwrap_or(0);
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// Writes an answer; whether the connection goes on.
fn write(out: &mut TcpStream, reply: &Reply, head: bool) -> Option<bool> {
    if reply.body == Body::Nothing {
        return Some(false);
    }
    let chunked = matches!(reply.body, Body::Chunked | Body::Endless);
    let mut text = format!("HTTP/1.1 {} x\r\n", reply.status);
    for (name, value) in &reply.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if chunked {
        text += "transfer-encoding: chunked\r\n";
    } else if !reply
        .headers
        .iter()
        .any(|(name, _)| name == "content-length")
    {
        text += &format!("content-length: {}\r\n", reply.bytes.len());
    }
    text += "\r\n";
    out.write_all(text.as_bytes()).ok()?;
    if head {
        return Some(true);
    }
    let chunk = |out: &mut TcpStream, bytes: &[u8]| {
        out.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())
            .ok()?;
        out.write_all(bytes).ok()?;
        out.write_all(b"\r\n").ok()
    };
    match reply.body {
        Body::Chunked => {
            if !reply.bytes.is_empty() {
                chunk(out, &reply.bytes)?;
            }
            chunk(out, b"")?;
            Some(true)
        }
        Body::Endless => {
            let many = reply
                .bytes
                .repeat((64 << 10) / reply.bytes.len().max(1) + 1);
            for _ in 0..ENDLESS / many.len() {
                chunk(out, &many)?;
            }
            Some(false)
        }
        Body::Stall(after) => {
            out.write_all(&reply.bytes[..after.min(reply.bytes.len())])
                .ok()?;
            out.set_read_timeout(None).ok()?;
            let _ = out.read(&mut [0]);
            Some(false)
        }
        Body::Cut(after) => {
            out.write_all(&reply.bytes[..after.min(reply.bytes.len())])
                .ok()?;
            Some(false)
        }
        _ => {
            out.write_all(&reply.bytes).ok()?;
            Some(true)
        }
    }
}
