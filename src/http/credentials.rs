//! Where a request says who its client is (RFC 6749 §2.3.1).

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::form::{Form, decode};
use crate::domain::{ClientId, Reason, Refusal};
use crate::issue::Presented;
use crate::secret::{ClientSecret, TokenText};

/// Standard base64; some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request presents, by header or form but not both. The query is never looked at.
pub(super) fn presented(request: &HttpRequest, form: &Form) -> Result<Presented, Refusal> {
    let id = form.one("client_id")?;
    let secret = form.one("client_secret")?;
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header = headers.next();
    if headers.next().is_some() {
        return Err(Reason::ClientAuthMalformed.into());
    }
    match (header, id, secret) {
        (Some(_), _, Some(_)) => Err(Reason::ClientAuthSeveral.into()),
        (Some(header), named, None) => authorization(header.as_bytes(), named),
        (None, Some(id), Some(secret)) => Ok(credential(id, secret, Presented::Post)),
        (None, Some(id), None) => {
            Ok(ClientId::parse(id).map_or(Presented::Impossible, Presented::Id))
        }
        (None, None, _) => Ok(Presented::Nothing),
    }
}

/// Reads an `Authorization` header. Nothing in it is trusted: it must be one scheme and one token,
/// base64 of UTF-8, two halves around the first colon, each form-encoded.
fn authorization(header: &[u8], named: Option<&str>) -> Result<Presented, Refusal> {
    let malformed = || Refusal::from(Reason::ClientAuthMalformed);
    let text = std::str::from_utf8(header).map_err(|_| malformed())?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("Bearer") {
        return bearer(rest);
    }
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Ok(Presented::Unsupported);
    }
    let bytes = Zeroizing::new(BASE64.decode(rest).map_err(|_| malformed())?);
    let pair = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
    let (id, secret) = pair.split_once(':').ok_or_else(malformed)?;
    let id = decode(id.as_bytes()).ok_or_else(malformed)?;
    let secret = Zeroizing::new(decode(secret.as_bytes()).ok_or_else(malformed)?);
    let printable = |text: &str| text.bytes().all(|byte| (0x20..=0x7E).contains(&byte));
    if !printable(&id) || !printable(&secret) {
        return Err(malformed());
    }
    if named.is_some_and(|named| named != id) {
        return Err(Reason::ClientIdMismatch.into());
    }
    Ok(credential(&id, &secret, Presented::Basic))
}

/// An access token: one word of the characters that RFC 6750 §2.1 gives it.
fn bearer(token: &str) -> Result<Presented, Refusal> {
    let word = token.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if word.is_empty() || !word.bytes().all(allowed) {
        return Err(Reason::ClientAuthMalformed.into());
    }
    Ok(Presented::Bearer(TokenText::new(token)))
}

/// An id and a secret, or the knowledge that no client can have them.
fn credential(
    id: &str,
    secret: &str,
    present: fn(ClientId, ClientSecret) -> Presented,
) -> Presented {
    match (ClientId::parse(id), secret.is_empty(), ClientSecret::present(secret)) {
        (Ok(id), false, Ok(secret)) => present(id, secret),
        (Ok(id), true, _) => Presented::Id(id),
        _ => Presented::Impossible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(header: &[u8]) -> Reason {
        authorization(header, None).unwrap_err().reason
    }

    #[test]
    fn the_rfc_6749_example_is_read() {
        let header = b"Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW";
        let Presented::Basic(id, secret) = authorization(header, None).unwrap() else { panic!() };
        assert_eq!((id.as_str(), secret.expose()), ("s6BhdRkqt3", "gX1fBat3bV"));
    }

    #[test]
    fn scheme_and_padding_are_read_leniently_and_the_rest_strictly() {
        let encoded = |text: &str| format!("bAsIc {}", BASE64.encode(text)).replace('=', "");
        // Split at the last colon, the id would be "a:b" and not the one that the form names.
        let read = authorization(encoded("a:b:c").as_bytes(), Some("a")).unwrap();
        assert!(matches!(read, Presented::Impossible), "the colon splits once: {read:?}");
        for bad in ["no-colon", "a%zz:b", "a:%FF", "a:b\0", "\u{e9}:b"] {
            assert_eq!(reason(encoded(bad).as_bytes()), Reason::ClientAuthMalformed, "{bad:?}");
        }
        for bad in
            [&b"Basic"[..], b"Basic ", b"Basic !!!", b"Basic  YTpi", b"Basic YTpi YTpi", b"\xff"]
        {
            assert_eq!(reason(bad), Reason::ClientAuthMalformed, "{bad:?}");
        }
        assert!(matches!(authorization(b"Digest x", None).unwrap(), Presented::Unsupported));
        assert!(matches!(authorization(b"bEARER x.y", None).unwrap(), Presented::Bearer(_)));
        for bad in
            [&b"Bearer"[..], b"Bearer ", b"Bearer  x", b"Bearer x y", b"Bearer =", b"Bearer x,y"]
        {
            assert_eq!(reason(bad), Reason::ClientAuthMalformed, "{bad:?}");
        }
    }

    #[test]
    fn both_halves_are_form_decoded() {
        let header = format!("Basic {}", BASE64.encode("a%2Db:c%2Ed"));
        let Presented::Basic(id, secret) = authorization(header.as_bytes(), None).unwrap() else {
            panic!()
        };
        assert_eq!((id.as_str(), secret.expose()), ("a-b", "c.d"));
        // Encoding at its hardest (RFC 6749 appendix B): characters that no client of ours has, decoded all the same.
        let header =
            b"Basic Y2xpZW50JTJGb25lJTNBJUNFJUIxOnAlMkIrJTI1JTI2JUMyJUEzJUUyJTgyJUFDJTNBeA==";
        assert_eq!(reason(header), Reason::ClientAuthMalformed);
    }

    #[test]
    fn a_raw_plus_is_a_space() {
        let header = format!("Basic {}", BASE64.encode("app:with+plus"));
        let read = authorization(header.as_bytes(), None).unwrap();
        assert!(matches!(read, Presented::Impossible), "{read:?}");
    }
}
