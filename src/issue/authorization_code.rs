//! The authorization code grant (RFC 6749 §4.1.3) with PKCE (RFC 7636).

use super::{AccessToken, Service, TokenRequest};
use crate::domain::{Decision, Reason, Refusal, Time};
use crate::mirror::Registered;

/// Redeems a code.
pub(super) async fn grant(
    _service: &Service,
    _registered: &Registered,
    _request: &TokenRequest<'_>,
    _now: Time,
    _decision: &mut Decision,
) -> Result<AccessToken, Refusal> {
    Err(Reason::GrantUnsupported.into())
}
