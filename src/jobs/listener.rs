//! Looks at our own listener from outside, as an app would.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::EVERY;
use crate::http::{Health, SelfCheck};

/// So many beats lie between two looks at our own listener.
const SELF_CHECK_EVERY: u64 = 5;

/// Looks at our own listener every few seconds: an accept loop that is dead shows in nothing else.
pub async fn watch_listener(
    health: Arc<Health>,
    address: SocketAddr,
    path: String,
    mark: SelfCheck,
) {
    loop {
        health.answers(listener_answers(address, &path, &mark).await);
        tokio::time::sleep(EVERY * u32::try_from(SELF_CHECK_EVERY).unwrap_or(5)).await;
    }
}

/// Whether the public listener answers a request for the JWKS.
pub async fn listener_answers(address: SocketAddr, path: &str, mark: &SelfCheck) -> bool {
    let look = async {
        let mut stream = TcpStream::connect(reachable(address)).await.ok()?;
        let request = format!(
            "HEAD {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: {}\r\nconnection: close\r\n\r\n",
            mark.0
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.ok()?;
        Some(&start == b"HTTP/1.1 200")
    };
    timeout(Duration::from_secs(2), look).await.ok().flatten().unwrap_or(false)
}

/// An address that listens on every interface is reached through loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}
