//! Acts that come to their end whether or not anybody waits for the answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::spawn_local;

/// An act that a caller cannot stop by hanging up, which drops its request: half of a rotation is what a
/// client cannot recover from, and a thief must not keep a family alive by not waiting for its end.
///
/// It is carried out as a part of its request. What is left of it when the request is dropped becomes a
/// task of its own; as one from the start, each refresh would be woken twice and take memory twice.
pub(super) struct ToItsEnd<F: Future + 'static>(Option<Pin<Box<F>>>);

/// Carries an act out to its end. It begins when it is first waited for.
pub(super) fn to_its_end<F: Future + 'static>(act: F) -> ToItsEnd<F> {
    ToItsEnd(Some(Box::pin(act)))
}

impl<F: Future + 'static> Future for ToItsEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Nobody asks again for what was answered.
        let Some(act) = &mut self.0 else { return Poll::Pending };
        let outcome = act.as_mut().poll(context);
        if outcome.is_ready() {
            self.0 = None;
        }
        outcome
    }
}

impl<F: Future + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        if let Some(rest) = self.0.take() {
            spawn_local(async {
                rest.await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::rc::Rc;

    use tokio::task::yield_now;

    use super::*;

    fn counted(steps: &Rc<Cell<u32>>) -> impl Future<Output = &'static str> + use<> {
        let steps = Rc::clone(steps);
        async move {
            for _ in 0..3 {
                yield_now().await;
                steps.set(steps.get() + 1);
            }
            "done"
        }
    }

    #[actix_web::test]
    async fn who_waits_has_the_answer() {
        let steps = Rc::default();
        assert_eq!(to_its_end(counted(&steps)).await, "done");
        assert_eq!(steps.get(), 3);
    }

    #[actix_web::test]
    async fn what_somebody_stops_waiting_for_goes_on() {
        let steps = Rc::default();
        {
            let mut act = pin!(to_its_end(counted(&steps)));
            poll_fn(|context| {
                assert!(act.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            assert_eq!(steps.get(), 0, "it is under way when it is dropped");
        }
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(steps.get(), 3);
    }
}
