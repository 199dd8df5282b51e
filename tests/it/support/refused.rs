//! What every refusal of an OAuth endpoint must look like (RFC 6749 §5.2).

use super::Answer;
use super::App;
use super::http;

/// The content type of a form.
pub const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The plainest token request that works.
pub const GRANT: &str = "grant_type=client_credentials";

/// A `POST` to the token endpoint with exactly these headers.
pub async fn post(app: &App, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    http::send(&app.public(), "POST", "/oauth2/token", headers, body).await
}

/// A form to the token endpoint with this `Authorization` header.
pub async fn authorized(app: &App, authorization: &str, form: &str) -> Answer {
    post(app, &[FORM, ("authorization", authorization)], form.as_bytes()).await
}

/// A form to the token endpoint without an `Authorization` header.
pub async fn form(app: &App, form: &str) -> Answer {
    post(app, &[FORM], form.as_bytes()).await
}

/// The answer is this refusal, in JSON that no cache keeps, in characters that the RFC allows.
#[track_caller]
pub fn assert_refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.error(), (status, error.to_owned()), "{}", answer.json());
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge.starts_with("Basic realm=\""), status == 401, "{challenge:?}");
    let body = answer.json();
    let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["error", "error_description"]);
    let description = body["error_description"].as_str().unwrap();
    let allowed = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    assert!(!description.is_empty() && description.bytes().all(allowed), "{description:?}");
}
