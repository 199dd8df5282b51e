//! Forms, read strictly (RFC 6749 §3.2 and appendix B).
//!
//! A lenient form parser turns bad bytes into U+FFFD and keeps the last of two values. Then a
//! mangled secret is compared, and what a proxy checked is not what we act on. So: bad encoding is
//! an error, a repeated parameter is an error, and an empty value counts as absent.

use std::mem;
use std::ops::Range;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::web::Payload;
use futures_util::StreamExt;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::domain::{Reason, Refusal};

/// Longest body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Most parameters in a form.
const MAX_PARAMETERS: usize = 64;

/// Longest wait for the whole body.
const PATIENCE: Duration = Duration::from_secs(10);

/// A form that was decoded. Its values may hold secrets: they are erased when it goes.
pub(super) struct Form {
    /// Names and values, one behind the other: it is never grown, so that no copy is left behind.
    text: Zeroizing<String>,
    parameters: Vec<(Range<usize>, Range<usize>)>,
}

impl Form {
    /// Reads the body of a request as a form.
    pub(super) async fn read(request: &HttpRequest, payload: Payload) -> Result<Self, Refusal> {
        // The length that is announced is refused before anything is read, whatever the type.
        let length = request.headers().get("content-length");
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > MAX_BODY as u64) {
            return Err(Reason::BodyTooLarge.into());
        }
        if !is_form(request) {
            return Err(Reason::ContentTypeWrong.into());
        }
        let body = timeout(PATIENCE, collect(payload)).await;
        Self::parse(&body.map_err(|_| Reason::BodyTimeout)??)
    }

    /// Reads a form that is at hand: a body, or a query.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let mut text = Zeroizing::new(Vec::with_capacity(body.len()));
        let mut parameters = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if parameters.len() == MAX_PARAMETERS {
                return Err(Reason::ParametersTooMany.into());
            }
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let mut half = || {
                let start = text.len();
                decode_onto(&mut text, halves.next().unwrap_or_default())?;
                std::str::from_utf8(text.get(start..)?).ok()?;
                Some(start..text.len())
            };
            let name = half().ok_or(Reason::BodyMalformed)?;
            let value = half().ok_or(Reason::BodyMalformed)?;
            parameters.push((name, value));
        }
        let text = String::from_utf8(mem::take(&mut *text)).map_err(|_| Reason::BodyMalformed)?;
        Ok(Self { text: Zeroizing::new(text), parameters })
    }

    /// A parameter that may occur once. It holds printable ASCII, as RFC 6749 appendix A has it for
    /// everything we read; NUL and the like never reach a database.
    pub(super) fn one(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let value = self.text(name)?;
        if value.is_some_and(|value| !value.bytes().all(|byte| (0x20..=0x7E).contains(&byte))) {
            return Err(Refusal::at(Reason::ParameterMalformed, name));
        }
        Ok(value)
    }

    /// A parameter that may occur once, whatever it holds: for those with a grammar and an error of
    /// their own, which the type that they become looks after.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let mut found = self.many(name);
        let first = found.next();
        if found.next().is_some() {
            return Err(Refusal::at(Reason::ParameterRepeated, name));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// A parameter that may repeat, whatever it holds.
    pub(super) fn many(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let text = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        let named = self.parameters.iter().filter(move |(other, _)| text(other) == name);
        named.map(move |(_, value)| text(value))
    }
}

fn is_form(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    plain && kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

async fn collect(mut payload: Payload) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Reason::BodyMalformed)?;
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Reason::BodyTooLarge.into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Undoes form encoding; `None` for a `%` without two hex digits, and for what is not UTF-8.
pub(super) fn decode(encoded: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    decode_onto(&mut decoded, encoded)?;
    String::from_utf8(decoded).ok()
}

fn decode_onto(decoded: &mut Vec<u8>, encoded: &[u8]) -> Option<()> {
    let mut rest = encoded;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                digits.iter().try_fold(0, |sum: u8, digit| {
                    let value = char::from(*digit).to_digit(16)?;
                    Some(sum << 4 | u8::try_from(value).ok()?)
                })?
            }
            other => other,
        });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_encoding_is_undone_as_rfc_6749_appendix_b_shows() {
        assert_eq!(decode(b"+%25%26%2B%C2%A3%E2%82%AC").unwrap(), " %&+\u{a3}\u{20ac}");
        for bad in [&b"%"[..], b"%4", b"%zz", b"%+1", b"%FF", b"\xff", b"%C2"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_parameter_that_is_empty_is_absent_and_one_that_repeats_is_refused() {
        let form = Form::parse(b"a=&b=1&b=2&&c&resource=x&resource=y&d=%00").unwrap();
        assert_eq!(form.one("a").unwrap(), None);
        assert_eq!(form.one("c").unwrap(), None);
        assert_eq!(form.one("b").unwrap_err().reason, Reason::ParameterRepeated);
        assert_eq!(form.one("d").unwrap_err().reason, Reason::ParameterMalformed);
        assert_eq!(form.many("resource").collect::<Vec<_>>(), ["x", "y"]);
    }
}
