//! Certificates, and callers that speak TLS and HTTP/2: well, or as wrong as a test needs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_openssl::SslStream;

use super::http::{Answer, parse};

/// Longest wait for anything that is to come.
pub const WELL: Duration = Duration::from_secs(40);

/// A key and a certificate over it, each in PEM.
pub struct Made {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    pub secret: PKey<Private>,
}

/// Makes a certificate for `localhost` that is over after so many days; fewer than none for one that
/// is over already.
pub fn make(number: u32, days: i64) -> Made {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut made = X509::builder().unwrap();
    made.set_version(2).unwrap();
    made.set_serial_number(&BigNum::from_u32(number).unwrap().to_asn1_integer().unwrap()).unwrap();
    made.set_subject_name(&name).unwrap();
    made.set_issuer_name(&name).unwrap();
    made.set_pubkey(&key).unwrap();
    let now = jeton::clock::Clock::system().now().seconds();
    let at = |seconds| Asn1Time::from_unix(seconds).unwrap();
    made.set_not_before(&at(now - 90 * 86_400)).unwrap();
    made.set_not_after(&at(now + days * 86_400)).unwrap();
    let names =
        SubjectAlternativeName::new().dns("localhost").build(&made.x509v3_context(None, None));
    made.append_extension(names.unwrap()).unwrap();
    made.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = made.build().to_pem().unwrap();
    Made { certificate, key: key.private_key_to_pem_pkcs8().unwrap(), secret: key }
}

/// Writes a key as it should lie there.
pub fn write_key(path: &Path, key: &[u8]) {
    std::fs::write(path, key).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Puts a pair into a directory, in place of the one before.
pub fn put(directory: &Path, made: &Made) {
    std::fs::write(directory.join("tls.crt"), &made.certificate).unwrap();
    write_key(&directory.join("tls.key"), &made.key);
}

/// The settings that name the pair of a directory.
pub fn settings(directory: &Path) -> String {
    let path = |name| directory.join(name).display().to_string();
    format!("[server.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", path("tls.crt"), path("tls.key"))
}

/// How a caller shakes hands.
#[derive(Clone, Copy)]
pub struct Hello {
    pub version: SslVersion,
    pub names_host: bool,
    pub protocols: &'static [u8],
}

/// TLS 1.3 with a name, and HTTP/1.1.
pub const HTTP1: Hello =
    Hello { version: SslVersion::TLS1_3, names_host: true, protocols: b"\x08http/1.1" };

/// The same with HTTP/2.
pub const HTTP2: Hello = Hello { protocols: b"\x02h2", ..HTTP1 };

/// A connection, or why there is none.
pub async fn try_connect(address: &str, hello: Hello) -> Result<SslStream<TcpStream>, String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    // Old versions are refused by the server, and not by our own library's caution.
    connector.set_security_level(0);
    connector.set_min_proto_version(Some(hello.version)).unwrap();
    connector.set_max_proto_version(Some(hello.version)).unwrap();
    if !hello.protocols.is_empty() {
        connector.set_alpn_protos(hello.protocols).unwrap();
    }
    let connect = connector.build().configure().unwrap().verify_hostname(false);
    let ssl = connect.use_server_name_indication(hello.names_host).into_ssl("localhost").unwrap();
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let mut stream = SslStream::new(ssl, stream).unwrap();
    let shaken = timeout(WELL, Pin::new(&mut stream).connect()).await;
    shaken.map_err(|_| "too late".to_owned())?.map_err(|error| error.to_string())?;
    Ok(stream)
}

/// A connection.
pub async fn connect(address: &str, hello: Hello) -> SslStream<TcpStream> {
    try_connect(address, hello).await.unwrap()
}

/// The number of the certificate that a connection was shown.
pub fn number(stream: &SslStream<TcpStream>) -> String {
    let certificate = stream.ssl().peer_certificate().unwrap();
    certificate.serial_number().to_bn().unwrap().to_dec_str().unwrap().to_string()
}

/// One request on a connection that stays, and its answer's status.
pub async fn served(stream: &mut SslStream<TcpStream>) -> u16 {
    let request = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = vec![0; 16_384];
    let read = timeout(WELL, stream.read(&mut said)).await.unwrap().unwrap();
    String::from_utf8_lossy(&said[..read]).split(' ').nth(1).unwrap().parse().unwrap()
}

/// One request, given as its bytes, on a connection of its own.
pub async fn raw(address: &str, hello: Hello, request: &[u8]) -> Answer {
    let mut stream = connect(address, hello).await;
    stream.write_all(request).await.unwrap();
    let mut said = Vec::new();
    let _ = timeout(WELL, stream.read_to_end(&mut said)).await.unwrap();
    parse(&said).unwrap()
}

/// Reads until the server closes, and says how many bytes it sent. It must close in time.
pub async fn closed(stream: &mut SslStream<TcpStream>) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = timeout(WELL, stream.read_to_end(&mut said)).await.unwrap();
    said
}

/// A caller that speaks HTTP/2 as it should.
pub async fn http2(address: &str) -> SendRequest<Bytes> {
    let stream = connect(address, HTTP2).await;
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    actix_web::rt::spawn(connection);
    send.ready().await.unwrap()
}

/// A request over HTTP/2, and its answer.
pub async fn ask(
    caller: &SendRequest<Bytes>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, h2::Error> {
    let mut request =
        ::http::Request::builder().method(method).uri(format!("https://localhost{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let exchange = async {
        let mut caller = caller.clone().ready().await?;
        let (answer, mut send) = caller.send_request(request.body(()).unwrap(), body.is_empty())?;
        if !body.is_empty() {
            // Who was answered already may not want the rest.
            let _ = send.send_data(Bytes::copy_from_slice(body), true);
        }
        let (head, mut body) = answer.await?.into_parts();
        let mut whole = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            let _ = body.flow_control().release_capacity(chunk.len());
            whole.extend_from_slice(&chunk);
        }
        let text = |value: &::http::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        Ok(Answer { status: head.status.as_u16(), headers: headers.collect(), body: whole })
    };
    timeout(WELL, exchange).await.unwrap()
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// How every caller of HTTP/2 begins: its greeting and empty settings.
pub fn greeting() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()
}

/// The fields of a `GET /` for the host `x`, by the numbers that they have in HPACK's table.
pub const GET: &[u8] = b"\x82\x87\x84\x41\x01x";
