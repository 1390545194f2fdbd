//! A client that writes bytes and reads what comes back, without help from any HTTP library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::PATIENCE;

pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
}

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
        self
    }

    /// `GET` with these extra header lines, each ending in CRLF.
    pub(crate) fn get(&mut self, path: &str, extra: &str) -> Reply {
        self.write(format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{extra}\r\n")).reply()
    }

    /// The next response, body and all.
    pub(crate) fn reply(&mut self) -> Reply {
        let mut reply = self.reply_head();
        let header = |name: &str| reply.get(name).map(str::to_owned);
        if reply.status < 200 || matches!(reply.status, 204 | 304) {
            return reply;
        }
        if let Some(length) = header("content-length") {
            reply.body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut reply.body).unwrap();
        } else if header("transfer-encoding").as_deref() == Some("chunked") {
            self.chunks(&mut reply);
        } else {
            self.stream.read_to_end(&mut reply.body).unwrap();
        }
        reply
    }

    /// The next response's head only.
    pub(crate) fn reply_head(&mut self) -> Reply {
        let line = self.line();
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {line:?}"));
        Reply { status, headers: self.fields(), body: Vec::new(), trailers: Vec::new() }
    }

    fn chunks(&mut self, reply: &mut Reply) {
        loop {
            let size = self.line();
            let size =
                usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("not a chunk size: {size:?}"));
            if size == 0 {
                reply.trailers = self.fields();
                return;
            }
            let start = reply.body.len();
            reply.body.resize(start + size, 0);
            self.stream.read_exact(&mut reply.body[start..]).unwrap();
            assert_eq!(self.line(), "");
        }
    }

    fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return fields;
            }
            let (name, value) = line.split_once(':').expect("a header line");
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("not a whole line: {line:?}")).to_owned()
    }

    /// Whether the proxy closes the connection without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }
}

impl Reply {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Status and the word for why the proxy answered itself.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status, self.get("x-outrigger-reason").unwrap_or_default())
    }
}
