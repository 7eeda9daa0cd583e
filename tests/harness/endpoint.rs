//! An HTTP server that is pushed to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context;

/// A server on a port of its own that notes what comes.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    pushes: mpsc::Receiver<Push>,
}

/// A push as it came.
#[derive(Clone, Debug)]
pub struct Push {
    /// When it had come.
    pub at: Instant,
    /// Its body.
    pub body: Vec<u8>,
    /// What it was answered; none is not at all.
    pub status: Option<u16>,
}

type Held = Arc<Mutex<Vec<TcpStream>>>;

impl Endpoint {
    /// Serves, and answers each body with a status; with none it is never answered, and its connection kept.
    pub fn serve(answer: impl Fn(&[u8]) -> Option<u16> + Send + Sync + 'static) -> anyhow::Result<Endpoint> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port to be pushed to")?;
        let address = listener.local_addr()?;
        let (note, pushes) = mpsc::channel();
        let (answer, held) = (Arc::new(answer), Held::default());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, held, note) = (Arc::clone(&answer), Arc::clone(&held), note.clone());
                std::thread::spawn(move || {
                    // One who breaks off has pushed nothing.
                    if let Ok(push) = take(&stream, answer.as_ref()) {
                        if push.status.is_none() {
                            held.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
                        }
                        // Whoever listened is gone when the test is over.
                        let _ = note.send(push);
                    }
                });
            }
        });
        Ok(Endpoint { address, pushes })
    }

    /// Returns where it is pushed to.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Waits for the next push.
    pub fn next(&self, within: Duration) -> anyhow::Result<Push> {
        self.pushes.recv_timeout(within).context("no push came")
    }

    /// Returns what has come and was not yet looked at.
    pub fn so_far(&self) -> Vec<Push> {
        self.pushes.try_iter().collect()
    }
}

fn take(stream: &TcpStream, answer: &dyn Fn(&[u8]) -> Option<u16>) -> anyhow::Result<Push> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            anyhow::bail!("the request breaks off");
        }
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let at = Instant::now();
    let status = answer(&body);
    if let Some(status) = status {
        let mut stream = stream;
        let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(reply.as_bytes())?;
    }
    Ok(Push { at, body, status })
}
