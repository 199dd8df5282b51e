//! Requests to other servers, for tools that look at an issuer from outside. What comes back is
//! hostile: it is bounded in size and time, and it never sends us anywhere else.

use std::error::Error;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use crate::domain::issuer::is_loopback;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest answer.
const LARGEST: usize = 1024 * 1024;

/// Why there is no answer. No message holds a secret, a token, or what the other side said.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The URL is none, or plain http to another machine.
    #[error("the URL must be https; plain http is for this machine only")]
    Insecure,
    /// Nobody answered as one should.
    #[error("{0}")]
    Away(String),
    /// The answer is a refusal, or leads elsewhere.
    #[error("it answers with status {0}")]
    Status(u16),
    /// The answer is longer than any that is expected.
    #[error("its answer is larger than 1 MiB")]
    Large,
    /// The answer is something else.
    #[error("its answer is not JSON")]
    NotJson,
}

/// A client that follows nothing and trusts nothing from its environment.
#[derive(Debug, Clone)]
pub struct Outbound(Client);

impl Outbound {
    /// Makes one.
    pub fn new() -> Result<Self, OutboundError> {
        let client = Client::builder()
            .redirect(Policy::none())
            // A variable of the environment must not say who sees our requests.
            .no_proxy()
            .timeout(PATIENCE)
            .user_agent(concat!("jeton/", env!("CARGO_PKG_VERSION")))
            .build();
        client.map(Self).map_err(away)
    }

    /// A document.
    pub async fn get(&self, url: &str) -> Result<Value, OutboundError> {
        json(self.0.get(safe(url)?)).await
    }

    /// The answer to a form from a client that authenticates with `client_secret_basic`
    /// (RFC 6749 §2.3.1: both halves are form-encoded first).
    pub async fn post(
        &self,
        url: &str,
        client: &str,
        secret: &str,
        form: &[(&str, &str)],
    ) -> Result<Value, OutboundError> {
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Zeroizing::new(format!("{}:{}", encoded(client), encoded(secret)));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut basic = HeaderValue::from_str(&basic).map_err(|_| OutboundError::Insecure)?;
        basic.set_sensitive(true);
        let form = Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self
            .0
            .post(safe(url)?)
            .header(AUTHORIZATION, basic)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        json(request).await
    }
}

/// A URL that may be asked: nobody on the way can read along or answer instead.
fn safe(url: &str) -> Result<Url, OutboundError> {
    let url = Url::parse(url).map_err(|_| OutboundError::Insecure)?;
    let fine = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
    if fine && url.host().is_some() { Ok(url) } else { Err(OutboundError::Insecure) }
}

async fn json(request: RequestBuilder) -> Result<Value, OutboundError> {
    let mut response = request.header(ACCEPT, "application/json").send().await.map_err(away)?;
    if response.status() != 200 {
        return Err(OutboundError::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(away)? {
        if body.len() + chunk.len() > LARGEST {
            return Err(OutboundError::Large);
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|_| OutboundError::NotJson)
}

/// The root of the trouble: the library's own words only repeat the URL.
fn away(error: reqwest::Error) -> OutboundError {
    let error = error.without_url();
    if error.is_timeout() {
        return OutboundError::Away("no answer within 10 s".to_owned());
    }
    let mut root: &dyn Error = &error;
    while let Some(source) = root.source() {
        root = source;
    }
    OutboundError::Away(root.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for url in
            ["https://id.example/x", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]/"]
        {
            assert!(safe(url).is_ok(), "{url}");
        }
        for url in [
            "http://id.example/",
            "http://127.0.0.1.example/",
            "http://localhost.example/",
            "ftp://localhost/",
            "file:///etc/passwd",
            "/x",
            "",
        ] {
            assert!(safe(url).is_err(), "{url}");
        }
    }
}
