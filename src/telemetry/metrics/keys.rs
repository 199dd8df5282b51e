//! Signing keys and root secrets.

use prometheus::{Error, Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::held::{Held, count, seconds};
use super::make::Maker;
use crate::domain::{Stage, Time};

#[derive(Debug)]
pub(super) struct Keys {
    signatures: IntCounterVec,
    info: IntGaugeVec,
    turn: GaugeVec,
    loaded: Gauge,
    failures: IntCounterVec,
    unusable: IntGauge,
    root_secrets: IntGaugeVec,
    root_secrets_usable: IntGauge,
}

impl Keys {
    /// `classes` are those of errors of the database.
    pub(super) fn new(make: &Maker, classes: &[&str]) -> Result<Self, Error> {
        let turn = Opts::new(
            "jeton_signing_key_turn_timestamp_seconds",
            "When a key is published, activated, retired and removed.",
        );
        let made = Self {
            signatures: make.counters(
                "jeton_signatures_total",
                "Signatures made, by key.",
                &["kid"],
            )?,
            info: make.counts(
                "jeton_signing_key_info",
                "1 for each key that is not removed yet, with its stage.",
                &["kid", "alg", "stage"],
            )?,
            turn: make.add(GaugeVec::new(turn, &["kid", "turn"]))?,
            loaded: make.gauge(
                "jeton_keys_loaded_timestamp_seconds",
                "When the keys were last loaded from the database.",
            )?,
            failures: make.counters(
                "jeton_key_rotation_errors_total",
                "Failures in making, rescheduling or destroying keys.",
                &["class"],
            )?,
            root_secrets: make.counts(
                "jeton_root_secret_info",
                "1 for each root secret that this replica holds, and what it does.",
                &["id", "role"],
            )?,
            root_secrets_usable: make.count(
                "jeton_root_secret_file_usable",
                "1 if the root-secret file could be used when it was last read.",
            )?,
            unusable: make.count(
                "jeton_signing_keys_unusable",
                "Keys whose rows do not prove themselves or cannot be opened here.",
            )?,
        };
        for class in ["key"].iter().chain(classes) {
            made.failures.with_label_values(&[class]);
        }
        Ok(made)
    }

    pub(super) fn signed(&self, kid: &str) {
        self.signatures.with_label_values(&[kid]).inc();
    }

    pub(super) fn rotation_failed(&self, class: &str) {
        self.failures.with_label_values(&[class]).inc();
    }

    pub(super) fn show(&self, held: &Held, now: Time) {
        self.loaded.set(seconds(held.keys_loaded));
        self.unusable.set(count(held.key_troubles));
        self.root_secrets_usable.set(i64::from(held.root_secrets_usable));
        self.root_secrets.reset();
        for (at, id) in held.root_secrets.iter().enumerate() {
            let role = if at == 0 { "seals" } else { "opens" };
            self.root_secrets.with_label_values(&[id.to_string().as_str(), role]).set(1);
        }
        self.info.reset();
        self.turn.reset();
        for key in &held.keys {
            let stage = key.stage(now);
            if stage == Stage::Removed {
                continue;
            }
            let kid = key.kid.as_str();
            self.info.with_label_values(&[kid, key.algorithm.name(), stage.name()]).set(1);
            for (turn, at) in [
                ("publish", key.times.publish_at),
                ("activate", key.times.activate_at),
                ("retire", key.times.sign_until),
                ("remove", key.times.remove_at),
            ] {
                self.turn.with_label_values(&[kid, turn]).set(seconds(at));
            }
            // A key that is to sign has signed nothing yet: otherwise its first signatures are no rise.
            self.signatures.with_label_values(&[kid]);
        }
    }
}
