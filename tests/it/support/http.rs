//! A plain HTTP/1.1 client: it sends the bytes it is told to, however wrong they are.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {self:?} {}", String::from_utf8_lossy(&self.body)))
    }

    /// Status and OAuth error in one, for comparisons.
    pub fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }
}

/// The value of an `Authorization: Basic` header.
pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// Sends one request, given as its bytes, and reads the answer to its end.
pub async fn raw(address: &str, request: &[u8]) -> std::io::Result<Answer> {
    raw_from("127.0.0.1", address, request).await
}

/// The same from another address of this machine.
pub async fn raw_from(own: &str, address: &str, request: &[u8]) -> std::io::Result<Answer> {
    let exchange = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(own.parse().unwrap(), 0))?;
        let mut stream = socket.connect(address.parse().unwrap()).await?;
        // A server that has answered already may close before it has read everything.
        let _ = stream.write_all(request).await;
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes).await {
            Ok(_) => {}
            Err(_) if !bytes.is_empty() => {}
            Err(error) => return Err(error),
        }
        Ok(bytes)
    };
    let bytes = tokio::time::timeout(Duration::from_secs(20), exchange)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    parse(&bytes).ok_or_else(|| std::io::Error::other("no HTTP answer"))
}

/// An answer of HTTP/1 as it came.
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Answer { status, headers, body: bytes[end + 4..].to_vec() })
}

/// An address of this machine that is not a loopback one. Nothing is sent to find it.
pub fn elsewhere() -> String {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket
        .connect("192.0.2.1:9")
        .unwrap_or_else(|_| panic!("this machine has no address but loopback"));
    socket.local_addr().unwrap().ip().to_string()
}

/// Sends a request that is put together from its parts; `connection: close` and the length are
/// added.
pub async fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_send(address, method, path, headers, body).await.unwrap()
}

/// The same, for servers that may be away.
pub async fn try_send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    raw(address, &[request.as_bytes(), body].concat()).await
}

/// A well-formed token request with a Basic credential and these form parameters.
pub async fn token(address: &str, path: &str, client: &str, secret: &str, form: &str) -> Answer {
    let credential = basic(client, secret);
    let headers = [
        ("authorization", credential.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    send(address, "POST", path, &headers, form.as_bytes()).await
}

/// A connection that is kept from one request to the next, as applications keep theirs.
#[derive(Debug)]
pub struct Kept {
    address: String,
    stream: Option<TcpStream>,
    /// How often it had to be made.
    pub made: usize,
    /// How much later than its head a form is sent.
    pub pause: Duration,
}

impl Kept {
    /// None yet; it is made for the first request.
    pub fn to(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, made: 0, pause: Duration::ZERO }
    }

    /// Sends a request and reads the answer. A connection that ends without an answer is an error, and
    /// nothing is sent twice; a new one is made only where the last answer said that it was the last.
    pub async fn send(&mut self, head: &str, form: &str) -> std::io::Result<Answer> {
        let kind = "content-type: application/x-www-form-urlencoded";
        let length = form.len();
        let head =
            format!("{head}host: {}\r\n{kind}\r\ncontent-length: {length}\r\n\r\n", self.address);
        let exchange = async {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => {
                    self.made += 1;
                    TcpStream::connect(&self.address).await?
                }
            };
            if self.pause.is_zero() {
                stream.write_all(format!("{head}{form}").as_bytes()).await?;
            } else {
                stream.write_all(head.as_bytes()).await?;
                tokio::time::sleep(self.pause).await;
                stream.write_all(form.as_bytes()).await?;
            }
            Ok::<_, std::io::Error>((one_answer(&mut stream).await?, stream))
        };
        let (answer, stream) = tokio::time::timeout(Duration::from_secs(20), exchange)
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        self.stream = (answer.header("connection") != "close").then_some(stream);
        Ok(answer)
    }
}

/// Reads an answer that says how long it is, and no further.
pub async fn one_answer(stream: &mut TcpStream) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = parse(&bytes) {
            let length: usize = answer.header("content-length").parse().unwrap_or(0);
            if answer.body.len() >= length {
                return Ok(answer);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
