//! A link that fails on demand: it stands between a replica and its database.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It carries everything.
    Up,
    /// It carries everything late.
    Slow(Duration),
    /// It takes everything in and carries nothing: a partition without a reset.
    Hanging,
    /// It closes every connection, old and new.
    Cut,
    /// It carries what is asked, and closes the connection when the answer comes.
    Mute,
}

/// A link to one address.
pub struct Proxy {
    /// Where it listens.
    pub address: String,
    state: watch::Sender<Link>,
    target: Arc<Mutex<String>>,
}

impl Proxy {
    /// A link that is up.
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (state, watched) = watch::channel(Link::Up);
        let target = Arc::new(Mutex::new(target.to_owned()));
        let led = Arc::clone(&target);
        actix_web::rt::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else { return };
                if *watched.borrow() == Link::Cut {
                    continue;
                }
                let to = led.lock().unwrap().clone();
                let Ok(far) = TcpStream::connect(&to).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                actix_web::rt::spawn(carry(near_in, far_out, watched.clone(), false));
                actix_web::rt::spawn(carry(far_in, near_out, watched.clone(), true));
            }
        });
        Self { address, state, target }
    }

    /// A link to the database of a URL, and the URL that goes by it.
    pub async fn before(url: &str) -> (Self, String) {
        let parsed = url::Url::parse(url).unwrap();
        let target = format!("{}:{}", parsed.host_str().unwrap(), parsed.port().unwrap());
        let proxy = Self::to(&target).await;
        let url = url.replace(&target, &proxy.address);
        (proxy, url)
    }

    /// Leads to another address from now on; connections that are there stay where they are.
    pub fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.target.lock().unwrap());
    }

    /// Changes what it does, for connections that are there and for new ones.
    pub fn set(&self, link: Link) {
        self.state.send_replace(link);
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Link>,
    is_answer: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = state.wait_for(|link| *link == Link::Cut) => return,
        };
        let Ok(count @ 1..) = read else { return };
        let link = *state.borrow();
        match link {
            Link::Mute if is_answer => return,
            Link::Up | Link::Mute => {}
            Link::Slow(by) => tokio::time::sleep(by).await,
            Link::Hanging => {
                let _ = state.wait_for(|link| *link != Link::Hanging).await;
            }
            Link::Cut => return,
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
