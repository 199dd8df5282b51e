//! The refresh token grant (RFC 6749 §6).

use super::{AccessToken, Service, TokenRequest};
use crate::domain::{Decision, Reason, Refusal, Time};
use crate::mirror::Registered;

/// Goes on with an authorization.
pub(super) async fn grant(
    _service: &Service,
    _registered: &Registered,
    _request: &TokenRequest<'_>,
    _now: Time,
    _decision: &mut Decision,
) -> Result<AccessToken, Refusal> {
    Err(Reason::GrantUnsupported.into())
}
