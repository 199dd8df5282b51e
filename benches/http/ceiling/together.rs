//! Requests that come together are carried out together.

use actix_web::rt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;

/// So many go together at most.
const TOGETHER: usize = 256;

/// So many may wait.
const WAITING: usize = 4096;

/// Where they wait.
pub struct Together<T, R>(mpsc::Sender<(T, oneshot::Sender<R>)>);

impl<T: 'static, R: 'static> Together<T, R> {
    /// `act` carries out all that wait, then those that came meanwhile, and so on. It answers each, in
    /// their order.
    pub fn new(act: impl AsyncFn(&[T]) -> Vec<R> + 'static) -> Self {
        let (sender, mut waiting) = mpsc::channel::<(T, oneshot::Sender<R>)>(WAITING);
        rt::spawn(async move {
            let mut group = Vec::new();
            while waiting.recv_many(&mut group, TOGETHER).await > 0 {
                // Whoever is on the way comes along: the fewer groups, the less each of them costs.
                let mut seen = 0;
                while seen < group.len() && group.len() < TOGETHER {
                    seen = group.len();
                    yield_now().await;
                    while let Ok(one) = waiting.try_recv() {
                        group.push(one);
                    }
                }
                let (all, callers): (Vec<_>, Vec<_>) = group.drain(..).unzip();
                for (outcome, caller) in act(&all).await.into_iter().zip(callers) {
                    let _ = caller.send(outcome);
                }
            }
        });
        Self(sender)
    }

    /// What became of one. Nothing, if there is no database.
    pub async fn take(&self, one: T) -> Option<R> {
        let (done, outcome) = oneshot::channel();
        self.0.send((one, done)).await.ok()?;
        outcome.await.ok()
    }
}
