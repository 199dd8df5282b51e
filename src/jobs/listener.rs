//! Looks at our own listener from outside, as an app would.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::EVERY;
use crate::http::{Health, SelfCheck};
use crate::tls;

/// So many beats lie between two looks at our own listener.
const SELF_CHECK_EVERY: u64 = 5;

/// How to look at the public listener.
#[derive(Debug, Clone)]
pub struct Look {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS. Only its answer counts: a certificate that is over, or for another name,
    /// is no reason to take the replica out of service, and every other one with it.
    pub tls: bool,
    /// The path of the JWKS.
    pub path: String,
    /// What tells it that this is us.
    pub mark: SelfCheck,
}

/// Looks at our own listener every few seconds: an accept loop that is dead shows in nothing else.
pub async fn watch_listener(health: Arc<Health>, look: Look) {
    loop {
        health.answers(look.answers().await);
        tokio::time::sleep(EVERY * u32::try_from(SELF_CHECK_EVERY).unwrap_or(5)).await;
    }
}

impl Look {
    /// Whether the public listener answers a request for the JWKS.
    pub async fn answers(&self) -> bool {
        let look = async {
            let stream = TcpStream::connect(reachable(self.address)).await.ok()?;
            if self.tls {
                self.ask(tls::to_ourselves(stream).await?).await
            } else {
                self.ask(stream).await
            }
        };
        timeout(Duration::from_secs(2), look).await.ok().flatten().unwrap_or(false)
    }

    async fn ask(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<bool> {
        let request = format!(
            "HEAD {} HTTP/1.1\r\nhost: localhost\r\nuser-agent: {}\r\nconnection: close\r\n\r\n",
            self.path, self.mark.0
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.ok()?;
        Some(&start == b"HTTP/1.1 200")
    }
}

/// An address that listens on every interface is reached through loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}
