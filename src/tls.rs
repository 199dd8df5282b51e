//! TLS: a certificate and its key, checked as a pair, and read again when their files change.
//!
//! Each connection takes the pair that is there when it begins, so a new one needs no restart and
//! disturbs nobody who is connected.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use arc_swap::ArcSwap;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    self, AlpnError, Ssl, SslAcceptor, SslConnector, SslContext, SslMethod, SslOptions,
    SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::x509::X509;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_openssl::SslStream;
use zeroize::Zeroizing;

use crate::domain::Time;
use crate::secret::Watch;

/// A connection under TLS.
pub type Stream = SslStream<TcpStream>;

/// Mozilla's intermediate list for TLS 1.2 without finite-field Diffie-Hellman: whoever knows that
/// knows elliptic curves too, and it is the one that lets a caller make us work hard.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
                       ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
                       ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

/// What we speak inside, in our order of preference (RFC 7301 §3.1).
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key can be read by everyone on the machine.
    #[error("the key {0} is open to all users; run: chmod o= {0}")]
    TooOpen(PathBuf),
    /// No certificate in the file.
    #[error(
        "{0} holds no certificate in PEM; put the server's own first, then those that signed it"
    )]
    NoCertificate(PathBuf),
    /// No key in the file that opens by itself.
    #[error("{0} holds no private key in PEM that opens without a passphrase")]
    NoKey(PathBuf),
    /// They belong to different pairs.
    #[error("the key {key} is not that of the first certificate in {certificate}")]
    Foreign {
        /// The certificates.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// OpenSSL does not want them: a key that is too short, for example.
    #[error("{0} cannot be used: {1}")]
    Unfit(PathBuf, String),
}

/// What a server's certificate says.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// When it ends.
    pub ends: Time,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
}

/// A certificate and its key as they are now, and where they come from.
#[derive(Debug)]
pub struct Pair {
    files: [PathBuf; 2],
    now: ArcSwap<Loaded>,
    watch: Watch,
}

struct Loaded {
    context: SslContext,
    certificate: Certificate,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.certificate.fmt(f)
    }
}

/// Reads and checks a certificate with those that signed it, and its key.
pub fn inspect(certificate: &Path, key: &Path) -> Result<Certificate, TlsError> {
    Ok(load(certificate, key)?.certificate)
}

impl Pair {
    /// Reads both files for the first time.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = [certificate.to_owned(), key.to_owned()];
        let watch = Watch::from_now(files.to_vec());
        let now = ArcSwap::from_pointee(load(certificate, key)?);
        Ok(Self { files, now, watch })
    }

    /// Reads the files again if they have changed. What cannot be used changes nothing and is reported
    /// once. `None` if there was nothing to read.
    pub fn look(&self) -> Option<Result<(), TlsError>> {
        let [certificate, key] = &self.files;
        let changed = self.watch.have_changed();
        changed.then(|| load(certificate, key).map(|loaded| self.now.store(loaded.into())))
    }

    /// What the certificate in use says.
    pub fn certificate(&self) -> Certificate {
        self.now.load().certificate.clone()
    }

    /// Shakes hands with whoever connected; `None` if that fails or takes too long.
    pub async fn accept(&self, stream: TcpStream, patience: Duration) -> Option<Stream> {
        let ssl = Ssl::new(&self.now.load().context).ok()?;
        let mut stream = SslStream::new(ssl, stream).ok()?;
        timeout(patience, Pin::new(&mut stream).accept()).await.ok()?.ok()?;
        Some(stream)
    }
}

/// Whether HTTP/2 was agreed on.
pub fn speaks_h2(stream: &Stream) -> bool {
    stream.ssl().selected_alpn_protocol() == Some(b"h2")
}

/// Connects to our own listener. Whom it names, and until when, is not what is looked at.
pub async fn to_ourselves(stream: TcpStream) -> Option<Stream> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).ok()?;
    connector.set_verify(SslVerifyMode::NONE);
    let connect = connector.build().configure().ok()?.verify_hostname(false);
    let ssl = connect.use_server_name_indication(false).into_ssl("localhost").ok()?;
    let mut stream = SslStream::new(ssl, stream).ok()?;
    Pin::new(&mut stream).connect().await.ok()?;
    Some(stream)
}

fn load(certificate: &Path, key: &Path) -> Result<Loaded, TlsError> {
    let chain = X509::stack_from_pem(&read(certificate)?).unwrap_or_default();
    let Some((own, signers)) = chain.split_first() else {
        return Err(TlsError::NoCertificate(certificate.to_owned()));
    };
    let mode = fs::metadata(key).map_err(failed(key))?.mode();
    if mode & 0o007 != 0 {
        return Err(TlsError::TooOpen(key.to_owned()));
    }
    // Without a callback of ours OpenSSL would ask for the passphrase on the terminal, and wait.
    let opened = PKey::private_key_from_pem_callback(&read(key)?, |_| Ok(0));
    let opened = opened.map_err(|_| TlsError::NoKey(key.to_owned()))?;
    let unfit = |error: ErrorStack| TlsError::Unfit(certificate.to_owned(), first(&error));
    if !own.public_key().map_err(unfit)?.public_eq(&opened) {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        return Err(TlsError::Foreign { certificate, key });
    }
    let context = context(own, signers, &opened).map_err(unfit)?;
    let ends = seconds(own.not_after()).map_err(unfit)?;
    let certificate = Certificate { ends, names: names(own) };
    Ok(Loaded { context, certificate })
}

/// Sessions are not resumed: a ticket's key would open what was recorded for as long as we run, and
/// replicas behind one name would hardly ever meet their own tickets. Nor is there early data, which
/// can be replayed.
fn context(own: &X509, signers: &[X509], key: &PKey<Private>) -> Result<SslContext, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_options(
        SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION | SslOptions::NO_TICKET,
    );
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_num_tickets(0)?;
    // Whoever offers other protocols alone is refused: what is meant for another server must not be
    // read here as a request (RFC 7301 §3.2).
    builder.set_alpn_select_callback(|_, offered| {
        ssl::select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::ALERT_FATAL)
    });
    builder.set_certificate(own)?;
    for signer in signers {
        builder.add_extra_chain_cert(signer.clone())?;
    }
    builder.set_private_key(key)?;
    builder.check_private_key()?;
    Ok(builder.build().into_context())
}

fn seconds(at: &Asn1TimeRef) -> Result<Time, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(at)?;
    Ok(Time::from_seconds(i64::from(since.days) * 86_400 + i64::from(since.secs)))
}

fn names(certificate: &X509) -> Vec<String> {
    let name = |name: &openssl::x509::GeneralNameRef| {
        let address = || match *name.ipaddress()? {
            [a, b, c, d] => Some(std::net::IpAddr::from([a, b, c, d]).to_string()),
            ref long => Some(std::net::IpAddr::from(<[u8; 16]>::try_from(long).ok()?).to_string()),
        };
        name.dnsname().map(str::to_owned).or_else(address)
    };
    certificate.subject_alt_names().iter().flatten().filter_map(name).collect()
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    fs::read(path).map(Zeroizing::new).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { path: path.clone(), source }
}

fn first(error: &ErrorStack) -> String {
    let reason = error.errors().first().and_then(openssl::error::Error::reason);
    reason.unwrap_or("OpenSSL does not say why").to_owned()
}
