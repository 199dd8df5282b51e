//! Many who ask for all that a server is there for, each over a connection that is kept. Every answer that is
//! not the one that was asked for is a violation.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt::{self, task::JoinHandle};

use super::report::Report;
use super::world::World;
use crate::support::http::Kept;
use crate::support::{Answer, SECRET, basic};

/// All of them.
pub struct Crowd {
    kinds: Vec<(&'static str, usize)>,
    report: Report,
    stop: Rc<Cell<bool>>,
    callers: Vec<JoinHandle<usize>>,
}

impl Crowd {
    /// So many of each kind, who begin at once, each at one of these addresses.
    pub async fn of(
        kinds: &[(&'static str, usize)],
        addresses: &[String],
        world: &Rc<World>,
        report: &Report,
    ) -> Self {
        let stop = Rc::<Cell<bool>>::default();
        let mut callers = Vec::new();
        for &(kind, count) in kinds {
            for number in 0..count {
                let token =
                    if kind == "refresh" { world.begin("web").await } else { String::new() };
                let kept = Kept::to(&addresses[number % addresses.len()]);
                let caller = Caller { kind, kept, world: Rc::clone(world), token };
                callers.push(rt::spawn(keep_asking(caller, report.clone(), Rc::clone(&stop))));
            }
        }
        Self { kinds: kinds.to_vec(), report: report.clone(), stop, callers }
    }

    /// Waits until each kind was answered so many times more.
    pub async fn goes_on(&self, times: usize) {
        let counts =
            || self.kinds.iter().map(|(kind, _)| self.report.count(&format!("{kind}: 200")));
        let wanted: Vec<_> = counts().map(|count| count + times).collect();
        let started = Instant::now();
        while counts().zip(&wanted).any(|(count, wanted)| count < *wanted) {
            assert!(started.elapsed() < Duration::from_secs(30), "somebody is not answered");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Tells them to stop; returns how many connections they took. Each must have been answered so often.
    pub async fn end(self, each: usize) -> usize {
        self.stop.set(true);
        let mut made = 0;
        for caller in self.callers {
            made += caller.await.unwrap();
        }
        for (kind, count) in self.kinds {
            if self.report.count(&format!("{kind}: 200")) < each * count {
                self.report.violation(format!("hardly anybody asked: {kind}"));
            }
        }
        made
    }
}

/// Somebody who asks one kind of thing over one connection, as long as that lasts.
struct Caller {
    kind: &'static str,
    kept: Kept,
    world: Rc<World>,
    /// The token that it asks about, or refreshes.
    token: String,
}

impl Caller {
    async fn ask(&mut self) -> Result<(), String> {
        let (request, client, form) = self.request().await;
        let credential = if client.is_empty() {
            String::new()
        } else {
            format!("authorization: {}\r\n", basic(client, SECRET))
        };
        let head = format!("{request} HTTP/1.1\r\n{credential}");
        let answer = self.kept.send(&head, &form).await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(answer.status.to_string());
        }
        self.understand(&answer)
    }

    /// What it sends, and as whom.
    async fn request(&mut self) -> (&'static str, &'static str, String) {
        const TOKEN: &str = "POST /oauth2/token";
        let token = self.token.as_str();
        match self.kind {
            "keys" => ("GET /.well-known/jwks.json", "", String::new()),
            "refresh" => (TOKEN, "web", format!("grant_type=refresh_token&refresh_token={token}")),
            "revocation" => {
                let token = self.world.begin("web").await;
                ("POST /oauth2/revoke", "web", format!("token={token}"))
            }
            "introspection" if !token.is_empty() => {
                ("POST /oauth2/introspect", "rs", format!("token={token}"))
            }
            "slow client credentials" => {
                self.kept.pause = Duration::from_millis(rand::random_range(1..3000));
                (TOKEN, "app", "grant_type=client_credentials&scope=read".to_owned())
            }
            _ => (TOKEN, "app", "grant_type=client_credentials&scope=read".to_owned()),
        }
    }

    /// Whether the answer is what was asked for; what it brings is kept.
    fn understand(&mut self, answer: &Answer) -> Result<(), String> {
        match self.kind {
            "keys" if answer.json()["keys"].as_array().is_some_and(|keys| keys.len() >= 2) => {}
            "revocation" => {}
            "refresh" => {
                let next = answer.json()["refresh_token"].as_str().unwrap().to_owned();
                let (old, new) = (self.world.read(&self.token), self.world.read(&next));
                if (new.family, new.generation) != (old.family, old.generation + 1) {
                    return Err(format!("{old:?} was followed by {new:?}"));
                }
                self.token = next;
            }
            "introspection" if !self.token.is_empty() => {
                if answer.json()["active"] != true {
                    return Err("a good token was inactive".to_owned());
                }
            }
            _ => {
                let token = answer.json()["access_token"].as_str().ok_or("no token")?.to_owned();
                if self.kind == "introspection" {
                    self.token = token;
                }
            }
        }
        Ok(())
    }
}

/// Asks until told to stop; returns how many connections it took.
async fn keep_asking(mut caller: Caller, report: Report, stop: Rc<Cell<bool>>) -> usize {
    while !stop.get() {
        match caller.ask().await {
            Ok(()) => report.outcome(&format!("{}: 200", caller.kind)),
            Err(what) => report.violation(format!("{}: {what}", caller.kind)),
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..30))).await;
    }
    caller.kept.made
}
