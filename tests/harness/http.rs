//! HTTP over a socket, as plain as it can be: what goes out is what the test says, to the byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// How long an answer is waited for: longer than the longest poll.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection to a node.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Connection {
    /// Opens a connection.
    pub fn open(address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).with_context(|| format!("{address} does not accept"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Connection {
            reader: BufReader::new(stream),
        })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.reader
            .get_mut()
            .write_all(bytes)
            .context("the connection broke while sending")
    }

    /// Sends a request with a body and a `Content-Length`.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        host: &str,
        headers: &str,
        body: &[u8],
    ) -> anyhow::Result<()> {
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.send(&request)
    }

    /// Reads the next answer; skips `100 Continue`.
    pub fn answer(&mut self) -> anyhow::Result<HttpAnswer> {
        loop {
            let answer = self.next_answer()?;
            if answer.status != 100 {
                return Ok(answer);
            }
        }
    }

    /// Returns the socket.
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Reads until the server closes the connection; returns what came.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset ends it as well as a close.
        let _ = self.reader.read_to_end(&mut rest);
        rest
    }

    fn next_answer(&mut self) -> anyhow::Result<HttpAnswer> {
        let status_line = self.line()?;
        let status = status_line
            .split_whitespace()
            .nth(1)
            .and_then(|status| status.parse().ok())
            .with_context(|| format!("{status_line:?} is no status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .with_context(|| format!("{line:?} is no header"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = match length {
            Some((_, length)) => length.parse()?,
            None if status == 100 => 0,
            None => bail!("an answer without Content-Length"),
        };
        let mut body = vec![0; length];
        self.reader
            .read_exact(&mut body)
            .context("the answer breaks off")?;
        Ok(HttpAnswer {
            status,
            headers,
            body,
        })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).context("no answer came")?;
        if read == 0 {
            bail!("the connection was closed");
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl HttpAnswer {
    /// Returns a header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}
