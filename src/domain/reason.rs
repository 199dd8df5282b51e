//! Why a request was refused: one closed list.
//!
//! A refusal has two halves. The public one is what the RFC prescribes and nothing more, fixed text
//! that reflects nothing a caller sent and does not tell an unknown client from a wrong secret. The
//! private one is the [`Reason`]: it goes to the log line, the metric and the audit trail, so that
//! an operator can always say why.

use std::fmt;

use super::Spent;

/// What the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Public {
    /// HTTP status; 303 for what is told to a client by way of the browser (RFC 6749 §4.1.2.1).
    pub status: u16,
    /// The OAuth error code (RFC 6749 §5.2, RFC 8707 §2).
    pub error: &'static str,
    /// Text for the developer of the client; only characters that RFC 6749 §5.2 allows.
    pub text: &'static str,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal => $status:literal $error:literal $text:expr;)*) => {
        /// The closed list of reasons. Its names are stable: dashboards and runbooks use them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, in the order of the list.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// Its name in logs, metrics and the audit trail.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// What the caller is told.
            pub const fn public(self) -> Public {
                match self {
                    $(Reason::$variant => Public { status: $status, error: $error, text: $text },)*
                }
            }
        }
    };
}

/// One text for every way in which a client fails to prove who it is: it must not tell which.
const CLIENT: &str = "Client authentication failed.";
/// One text for everything that is wrong with a code or a refresh token: it tells a thief nothing.
const GRANT: &str = "The code or refresh token is invalid, expired, revoked, or another client's.";
const AWAY: &str = "The server cannot answer right now; try again shortly.";

reasons! {
    /// Plain HTTP from elsewhere than this machine or a listed proxy: whoever stands in between reads
    /// the secrets. Nothing of it is read.
    TransportPlain = "transport_plain" => 403 "invalid_request"
        "Plain HTTP is not answered to this address; use https, as the issuer's URL says.";
    /// Another protocol is asked for. The HTTP library takes all that follows such a head on its connection
    /// for this request's body, whatever `Content-Length` says: other callers' requests, behind a proxy.
    /// Nothing of it is read.
    UpgradeAsked = "upgrade_asked" => 400 "invalid_request"
        "No other protocol is spoken here; leave the Upgrade header out.";
    /// No such path.
    PathUnknown = "path_unknown" => 404 "not_found" "There is nothing at this path.";
    /// The path exists, but not for this verb.
    MethodNotAllowed = "method_not_allowed" => 405 "invalid_request"
        "This path does not answer this method; see the Allow header.";
    /// The body is not a form, or it is compressed.
    ContentTypeWrong = "content_type_wrong" => 400 "invalid_request"
        "Send an uncompressed body of type application/x-www-form-urlencoded.";
    /// The body is longer than any form we understand.
    BodyTooLarge = "body_too_large" => 413 "invalid_request" "The body is larger than 64 KiB.";
    /// The body did not arrive in time.
    BodyTimeout = "body_timeout" => 408 "invalid_request" "The body did not arrive in time.";
    /// The body broke off or is no form: bad percent-encoding, bad UTF-8.
    BodyMalformed = "body_malformed" => 400 "invalid_request"
        "The body is not a well-formed form in UTF-8.";
    /// More parameters than any client needs.
    ParametersTooMany = "parameters_too_many" => 400 "invalid_request"
        "The body has more than 64 parameters.";
    /// A parameter that may occur once occurs twice (RFC 6749 §3.2).
    ParameterRepeated = "parameter_repeated" => 400 "invalid_request"
        "The parameter occurs more than once.";
    /// A parameter holds characters that it can never hold, NUL among them.
    ParameterMalformed = "parameter_malformed" => 400 "invalid_request"
        "The parameter holds characters that are not allowed in it.";
    /// An `Authorization` header that is no well-formed credential, or two of them.
    ClientAuthMalformed = "client_auth_malformed" => 400 "invalid_request"
        "The Authorization header is not a well-formed credential.";
    /// More than one way of authenticating at once (RFC 6749 §2.3).
    ClientAuthSeveral = "client_auth_several" => 400 "invalid_request"
        "Use one way of client authentication, not several.";
    /// The form names another client than the `Authorization` header.
    ClientIdMismatch = "client_id_mismatch" => 400 "invalid_request"
        "client_id and the Authorization header name different clients.";
    /// An `Authorization` scheme by which clients cannot authenticate here.
    ClientAuthUnsupported = "client_auth_unsupported" => 401 "invalid_client" CLIENT;
    /// No client credential at all, or a confidential client without its secret.
    ClientAuthMissing = "client_auth_missing" => 401 "invalid_client" CLIENT;
    /// No such client.
    ClientUnknown = "client_unknown" => 401 "invalid_client" CLIENT;
    /// A secret that is not one of the client's.
    ClientAuthFailed = "client_auth_failed" => 401 "invalid_client" CLIENT;
    /// The right secret by another method than the client is registered for.
    ClientAuthMethodWrong = "client_auth_method_wrong" => 401 "invalid_client" CLIENT;
    /// An operator has switched the client off.
    ClientDisabled = "client_disabled" => 401 "invalid_client" CLIENT;
    /// An introspection request for a signed answer that says nothing of who asks (RFC 9701 §4).
    CallerAnonymous = "caller_anonymous" => 400 "invalid_request"
        "Say who asks: a signed answer is made for one caller.";
    /// An access token that does not open this endpoint: not ours, over, revoked, for something else.
    BearerInvalid = "bearer_invalid" => 401 "invalid_token"
        "The access token is invalid here, or over.";
    /// An access token for this endpoint without the scope that it wants (RFC 6750 §3.1).
    BearerScope = "bearer_scope" => 403 "insufficient_scope"
        "The access token lacks the scope that this endpoint wants.";
    /// No `token` to look at.
    TokenMissing = "token_missing" => 400 "invalid_request" "The parameter token is missing.";
    /// A budget of the caller's is spent; the log says which.
    RateLimited = "rate_limited" => 429 "temporarily_unavailable"
        "Too many requests; wait as long as the Retry-After header says.";
    /// No `grant_type`.
    GrantMissing = "grant_missing" => 400 "invalid_request" "The parameter grant_type is missing.";
    /// A `grant_type` that this server does not serve.
    GrantUnsupported = "grant_unsupported" => 400 "unsupported_grant_type"
        "This server does not serve this grant_type.";
    /// A grant that this client may not use.
    GrantNotAllowed = "grant_not_allowed" => 400 "unauthorized_client"
        "This client may not use this grant_type.";
    /// `scope` breaks the grammar of RFC 6749 §3.3.
    ScopeMalformed = "scope_malformed" => 400 "invalid_scope"
        "scope is a list of scope tokens separated by single spaces.";
    /// A scope that this client may not have for this resource.
    ScopeNotAllowed = "scope_not_allowed" => 400 "invalid_scope"
        "A requested scope is unknown or not allowed for this client and resource.";
    /// Nothing was asked, and the client may have nothing of this resource.
    ScopeEmpty = "scope_empty" => 400 "invalid_scope"
        "No scope is left to grant for this resource.";
    /// `resource` is no absolute URI, or it has a fragment (RFC 8707 §2).
    ResourceMalformed = "resource_malformed" => 400 "invalid_target"
        "resource is an absolute URI without a fragment.";
    /// A resource that is unknown, or not this client's: the caller is not told which.
    ResourceUnknown = "resource_unknown" => 400 "invalid_target"
        "The resource is unknown or not allowed for this client.";
    /// More than one resource: a token has exactly one audience.
    ResourceSeveral = "resource_several" => 400 "invalid_target"
        "Ask for one resource at a time: a token has one audience.";
    /// No resource was named and the client has no default.
    ResourceMissing = "resource_missing" => 400 "invalid_target"
        "Name a resource: this client has no default.";
    /// No `client_id` in an authorization request. Nobody knows whom to send it back to.
    ClientIdMissing = "client_id_missing" => 400 "invalid_request"
        "The parameter client_id is missing.";
    /// No `redirect_uri`, and not exactly one that is registered.
    RedirectUriMissing = "redirect_uri_missing" => 400 "invalid_request"
        "The parameter redirect_uri is missing, and the client has not exactly one registered.";
    /// A `redirect_uri` that is not registered, byte for byte: nobody is sent there.
    RedirectUriUnregistered = "redirect_uri_unregistered" => 400 "invalid_request"
        "This redirect_uri is not registered for this client; it is compared byte for byte.";
    /// A client that may not use the authorization code grant.
    AuthorizationNotAllowed = "authorization_not_allowed" => 303 "unauthorized_client"
        "This client may not use the grant authorization_code.";
    /// No `response_type`.
    ResponseTypeMissing = "response_type_missing" => 303 "invalid_request"
        "The parameter response_type is missing.";
    /// A `response_type` other than `code`: the others hand tokens to the address bar.
    ResponseTypeUnsupported = "response_type_unsupported" => 303 "unsupported_response_type"
        "This server serves the response_type code.";
    /// A `response_mode` other than `query`.
    ResponseModeUnsupported = "response_mode_unsupported" => 303 "invalid_request"
        "This server serves the response_mode query.";
    /// `request`: a signed request (RFC 9101).
    RequestObjectUnsupported = "request_object_unsupported" => 303 "request_not_supported"
        "This server does not read the parameter request.";
    /// `request_uri`: a request that lies elsewhere (RFC 9101, RFC 9126).
    RequestUriUnsupported = "request_uri_unsupported" => 303 "request_uri_not_supported"
        "This server does not read the parameter request_uri.";
    /// No `code_challenge`: every client needs one (RFC 9700 §2.1.1).
    ChallengeMissing = "challenge_missing" => 303 "invalid_request"
        "The parameter code_challenge is missing: every client uses PKCE.";
    /// A `code_challenge_method` other than `S256`, or none, which means `plain` (RFC 7636 §4.3).
    ChallengeMethodUnsupported = "challenge_method_unsupported" => 303 "invalid_request"
        "code_challenge_method is S256; leaving it out means plain, which is not served.";
    /// A `code_challenge` that no verifier can have.
    ChallengeMalformed = "challenge_malformed" => 303 "invalid_request"
        "code_challenge is 43 characters of base64url: SHA-256 of the code_verifier.";
    /// `prompt=none`, and nobody is signed in.
    LoginRequired = "login_required" => 303 "login_required"
        "Nobody is signed in, and the request forbids to ask.";
    /// The person said no.
    AccessDenied = "access_denied" => 303 "access_denied" "The person did not allow it.";
    /// A username and a password that open no account.
    SignInFailed = "sign_in_failed" => 400 "access_denied"
        "The username or the password is wrong.";
    /// A sign-in form that we did not make for this browser and this request.
    FormForeign = "form_foreign" => 400 "invalid_request"
        "The form was not made for this browser, or its cookie is gone.";
    /// No `code`.
    CodeMissing = "code_missing" => 400 "invalid_request" "The parameter code is missing.";
    /// No code of ours, or one that was over long ago.
    CodeUnknown = "code_unknown" => 400 "invalid_grant" GRANT;
    /// Another client's code. Nothing happens to it.
    CodeWrongClient = "code_wrong_client" => 400 "invalid_grant" GRANT;
    /// The code was not redeemed in time.
    CodeExpired = "code_expired" => 400 "invalid_grant" GRANT;
    /// The code was redeemed before: somebody else has it. What it began has ended.
    CodeUsed = "code_used" => 400 "invalid_grant" GRANT;
    /// Another `redirect_uri` than the authorization request's. Nothing happens to the code.
    RedirectUriMismatch = "redirect_uri_mismatch" => 400 "invalid_grant" GRANT;
    /// No `code_verifier`. Nothing happens to the code.
    PkceMissing = "pkce_missing" => 400 "invalid_grant" GRANT;
    /// A `code_verifier` that does not answer the challenge. Nothing happens to the code.
    PkceMismatch = "pkce_mismatch" => 400 "invalid_grant" GRANT;
    /// No `refresh_token`.
    RefreshMissing = "refresh_missing" => 400 "invalid_request"
        "The parameter refresh_token is missing.";
    /// A refresh token that has not the form of ours.
    RefreshMalformed = "refresh_malformed" => 400 "invalid_grant" GRANT;
    /// A refresh token that we did not make, or made under a root secret that was stolen since.
    RefreshMacInvalid = "refresh_mac_invalid" => 400 "invalid_grant" GRANT;
    /// The family is not in the database: it ended long ago.
    RefreshFamilyUnknown = "refresh_family_unknown" => 400 "invalid_grant" GRANT;
    /// The family is too young to have been swept, and is not in the database: a failover lost its
    /// beginning.
    RefreshFamilyLost = "refresh_family_lost" => 400 "invalid_grant" GRANT;
    /// Another client's refresh token. Nothing happens to it.
    RefreshWrongClient = "refresh_wrong_client" => 400 "invalid_grant" GRANT;
    /// The family is bound to a key that this request did not prove. Nothing happens to it.
    RefreshWrongKey = "refresh_wrong_key" => 400 "invalid_grant" GRANT;
    /// A refresh token that has a successor already: somebody else has one of the two. The family
    /// has ended.
    RefreshReused = "refresh_reused" => 400 "invalid_grant" GRANT;
    /// A refresh token from a future that the database does not know: a backup was restored.
    RefreshAhead = "refresh_ahead" => 400 "invalid_grant" GRANT;
    /// The family was taken back.
    RefreshFamilyRevoked = "refresh_family_revoked" => 400 "invalid_grant" GRANT;
    /// Nothing was refreshed for too long.
    RefreshIdleExpired = "refresh_idle_expired" => 400 "invalid_grant" GRANT;
    /// The family has come to its end.
    RefreshExpired = "refresh_expired" => 400 "invalid_grant" GRANT;
    /// The person's account is switched off.
    SubjectDisabled = "subject_disabled" => 400 "invalid_grant" GRANT;
    /// It was authorized before an operator took back everything of that time.
    IssuedBeforeWatermark = "issued_before_watermark" => 400 "invalid_grant" GRANT;
    /// The secret was stored under a root secret that this replica does not hold.
    SecretUnknown = "secret_unknown" => 503 "temporarily_unavailable" AWAY;
    /// The database has been out of reach for longer than what is in memory may be trusted.
    DatabaseUnavailable = "database_unavailable" => 503 "temporarily_unavailable" AWAY;
    /// What was revoked meanwhile is not known here: no answer is better than a wrong one.
    MirrorStale = "mirror_stale" => 503 "temporarily_unavailable" AWAY;
    /// More work is waiting than can be done soon.
    Overloaded = "overloaded" => 503 "temporarily_unavailable" AWAY;
    /// No published, unexpired key of the line can sign.
    SigningUnavailable = "signing_unavailable" => 503 "temporarily_unavailable" AWAY;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request that was refused: why, and where it can be said without reflecting input, which
/// parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The private half; its [`Public`] half follows from it.
    pub reason: Reason,
    /// The name of the parameter at fault, one that we know ourselves.
    pub parameter: Option<&'static str>,
    /// The budget that is spent, if that is why.
    pub spent: Option<Spent>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, parameter: None, spent: None }
    }
}

impl From<Spent> for Refusal {
    fn from(spent: Spent) -> Self {
        Self { reason: Reason::RateLimited, parameter: None, spent: Some(spent) }
    }
}

impl Refusal {
    /// A refusal that names the parameter at fault.
    pub const fn at(reason: Reason, parameter: &'static str) -> Self {
        Self { reason, parameter: Some(parameter), spent: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_public_text_holds_only_what_rfc_6749_allows() {
        for reason in Reason::ALL {
            let public = reason.public();
            let allowed = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
            assert!(public.text.bytes().all(allowed), "{reason}");
            let status = public.status;
            assert!(status == 303 || (400..600).contains(&status) && status != 500, "{reason}");
        }
    }

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
