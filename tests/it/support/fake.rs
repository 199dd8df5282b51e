//! A small server that answers what it is told to, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Makes an answer, status line and headers included, from a path.
type Answers = Box<dyn Fn(&str) -> String + Send + Sync>;

/// What the server was asked: heads and bodies.
type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// The server.
pub struct Fake {
    /// Where it is.
    pub url: String,
    /// Every request so far: its head and its body.
    pub asked: Asked,
}

/// A good answer with this body.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// An answer with another status.
pub fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

impl Fake {
    /// Starts one on a thread of its own; `answers` is told the server's URL first.
    pub fn start(answers: impl FnOnce(&str) -> Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answers, remembered) = (answers(&url), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &answers, &remembered);
            }
        });
        Self { url, asked }
    }
}

fn serve(
    stream: TcpStream,
    answers: &Answers,
    asked: &Mutex<Vec<(String, Vec<u8>)>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? == 0 || head[start..].trim().is_empty() {
            break;
        }
        if let Some(value) = head[start..].to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push((head, body));
    reader.into_inner().write_all(answers(&path).as_bytes())
}
