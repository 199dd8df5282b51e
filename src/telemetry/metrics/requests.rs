//! What was asked and how it ended.

use std::time::Duration;

use prometheus::{Error, Histogram, IntCounter, IntCounterVec, IntGauge};

use super::answers::Answers;
use super::make::Maker;
use crate::domain::{
    AuthMethod, Budget, Decision, Endpoint, GrantType, Inactive, Reason, Spent, Verdict,
};

#[derive(Debug)]
pub(super) struct Requests {
    http: Answers,
    in_flight: IntGauge,
    tokens: IntCounterVec,
    /// Those that were granted, which is what most are: looked up once.
    granted: Vec<(GrantType, IntCounter)>,
    auth: Histogram,
    sign: Histogram,
    refreshes: IntCounterVec,
    introspections: IntCounterVec,
    revocations: IntCounterVec,
    authorizations: IntCounterVec,
    client_auth: Vec<(AuthMethod, IntCounter)>,
    limited: IntCounterVec,
}

impl Requests {
    pub(super) fn new(make: &Maker) -> Result<Self, Error> {
        let phases = make.histograms(
            "jeton_token_phase_duration_seconds",
            "Time spent in each phase of a token request.",
            &["phase"],
        )?;
        let tokens = make.counters(
            "jeton_token_requests_total",
            "Token requests by grant, outcome and reason.",
            &["grant_type", "outcome", "reason"],
        )?;
        let client_auth = make.counters(
            "jeton_client_auth_total",
            "Successful client authentications by method.",
            &["method"],
        )?;
        let endings = |name, help| make.counters(name, help, &["outcome", "reason"]);
        let granted =
            |grant: GrantType| (grant, tokens.with_label_values(&[grant.name(), "granted", ""]));
        let by = |method: AuthMethod| (method, client_auth.with_label_values(&[method.name()]));
        let made = Self {
            granted: GrantType::ALL.into_iter().map(granted).collect(),
            client_auth: AuthMethod::ALL.into_iter().map(by).collect(),
            tokens,
            http: Answers::new(make.histograms(
                "jeton_http_request_duration_seconds",
                "Time from reading a request to handing its answer over.",
                &["method", "route", "status"],
            )?),
            in_flight: make.count(
                "jeton_http_requests_in_flight",
                "Requests of the public listener that were read and not answered yet.",
            )?,
            refreshes: make.counters(
                "jeton_refreshes_total",
                "Refresh tokens that were exchanged, by how: rotated, retried, healed.",
                &["how"],
            )?,
            introspections: endings(
                "jeton_introspections_total",
                "Introspections by outcome and reason.",
            )?,
            revocations: endings(
                "jeton_revocation_requests_total",
                "Revocation requests by outcome and reason.",
            )?,
            authorizations: endings(
                "jeton_authorizations_total",
                "Authorization requests that came to an end, by outcome and reason.",
            )?,
            auth: phases.with_label_values(&["auth"]),
            sign: phases.with_label_values(&["sign"]),
            limited: make.counters(
                "jeton_rate_limited_total",
                "Requests that were refused because a budget was spent.",
                &["budget", "endpoint"],
            )?,
        };
        made.begin();
        Ok(made)
    }

    /// What alerts and dashboards ask for is there from the start, or the first event of its kind, which
    /// may be the only one, would not count as a rise.
    fn begin(&self) {
        for reason in Reason::ALL {
            for grant in [""].into_iter().chain(GrantType::ALL.map(GrantType::name)) {
                if is_watched(*reason, grant) {
                    self.tokens.with_label_values(&[grant, "refused", reason.name()]);
                }
            }
            if reason.public().status == 503 {
                for endings in [&self.introspections, &self.revocations, &self.authorizations] {
                    endings.with_label_values(&["refused", reason.name()]);
                }
            }
        }
        for cause in Inactive::ALL {
            self.introspections
                .with_label_values(&[Verdict::Inactive(*cause).name(), cause.name()]);
        }
        self.introspections.with_label_values(&[Verdict::Active.name(), ""]);
        self.revocations.with_label_values(&[Verdict::Revoked.name(), ""]);
        self.authorizations.with_label_values(&[Verdict::Authorized.name(), ""]);
        self.authorizations.with_label_values(&["refused", Reason::SignInFailed.name()]);
        for how in ["rotated", "retried", "healed"] {
            self.refreshes.with_label_values(&[how]);
        }
        for budget in Budget::ALL {
            for endpoint in Endpoint::ALL {
                self.limited.with_label_values(&[budget.name(), endpoint.name()]);
            }
        }
    }

    pub(super) fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        self.http.add(method, route, status, took);
    }

    pub(super) fn in_flight(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    pub(super) fn decided(&self, decision: &Decision) {
        match (decision.grant, decision.refused) {
            (Some(grant), None) => count_known(&self.granted, grant),
            (grant, refused) => {
                let grant = grant.map_or("", GrantType::name);
                let reason = refused.map_or("", Reason::name);
                self.tokens.with_label_values(&[grant, decision.outcome(), reason]).inc();
            }
        }
        if let Some(method) = decision.authenticated_by {
            count_known(&self.client_auth, method);
            self.auth.observe(Duration::from_micros(decision.auth_micros).as_secs_f64());
        }
        if let Some(how) = decision.refreshed.and_then(|refreshed| refreshed.how) {
            self.refreshes.with_label_values(&[how]).inc();
        }
        if decision.granted.is_some() {
            self.sign.observe(Duration::from_micros(decision.sign_micros).as_secs_f64());
        }
    }

    pub(super) fn introspected(&self, decision: &Decision) {
        self.introspections.with_label_values(&ending(decision)).inc();
    }

    pub(super) fn authorized(&self, decision: &Decision) {
        self.authorizations.with_label_values(&ending(decision)).inc();
    }

    pub(super) fn revoked(&self, decision: &Decision) {
        self.revocations.with_label_values(&ending(decision)).inc();
    }

    pub(super) fn limited(&self, spent: &Spent) {
        self.limited.with_label_values(&[spent.budget.name(), spent.endpoint.name()]).inc();
    }
}

/// A request that is under way, until it is dropped: also where its caller gives it up.
#[derive(Debug)]
pub struct InFlight<'a>(&'a IntGauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Whether alerts or dashboards look at token requests with this grant that are refused for this
/// reason: what is our fault, and what thieves cause. Until the client is known, the grant is not.
fn is_watched(reason: Reason, grant: &str) -> bool {
    let public = reason.public();
    match public.error {
        "temporarily_unavailable" => public.status == 503,
        "invalid_client" => grant.is_empty(),
        "invalid_grant" => grant == "authorization_code" || grant == "refresh_token",
        _ => false,
    }
}

fn count_known<T: PartialEq + Copy>(known: &[(T, IntCounter)], one: T) {
    if let Some((_, counter)) = known.iter().find(|(other, _)| *other == one) {
        counter.inc();
    }
}

/// How a decision about a token ended, and why.
fn ending(decision: &Decision) -> [&'static str; 2] {
    let refused = decision.refused.map(Reason::name);
    let cause = decision.verdict.and_then(Verdict::cause).map(Inactive::name);
    let outcome = if refused.is_some() { "refused" } else { decision.outcome() };
    [outcome, refused.or(cause).unwrap_or("")]
}
