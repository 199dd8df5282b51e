//! The certificate of the public listener, read again when its files change.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::EVERY;
use crate::telemetry::Metrics;
use crate::tls::Pair;

/// Looks once a second until told to stop. It needs no database: a certificate that ends does not wait
/// for one.
pub async fn renew(pair: Arc<Pair>, metrics: Arc<Metrics>, mut stop: watch::Receiver<bool>) {
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            _ = stop.changed() => return,
        }
        match pair.look() {
            None => continue,
            Some(Ok(())) => {
                let ends = pair.certificate().ends.rfc3339();
                tracing::info!(%ends, "the certificate was read again");
                metrics.tls.read(true);
            }
            Some(Err(error)) => {
                tracing::error!(
                    %error,
                    "the certificate could not be read again; the one before stays in use"
                );
                metrics.tls.read(false);
            }
        }
        metrics.tls.ends(pair.certificate().ends);
    }
}
