//! A wire between the function and a server, which can break as wires do while an environment is frozen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the connections that are open now. New ones work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The server closes them, as it does when nothing was asked for a time.
    Close,
    /// Something on the way has forgotten them, and says so.
    Reset,
    /// Something on the way has forgotten them, and says nothing: what is sent is taken and never answered.
    Mute,
}

/// Passes on what goes to one server, and back.
pub struct Wire {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    breaks: watch::Sender<Option<Break>>,
}

impl Wire {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, breaks) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(None));
        let (counter, breaker) = (Arc::clone(&connections), breaks.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(pass(stream, server, breaker.subscribe()));
            }
        });
        Self { address, connections, breaks }
    }

    /// Breaks all connections that are open.
    pub fn break_all(&self, how: Break) {
        self.breaks.send_replace(Some(how));
    }

    /// How many there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, mut breaks: watch::Receiver<Option<Break>>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let broken = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        broken = breaks.changed() => broken,
    };
    match *breaks.borrow() {
        _ if broken.is_err() => {}
        Some(Break::Reset) => client.set_zero_linger().unwrap(),
        Some(Break::Close) | None => {}
        Some(Break::Mute) => {
            // The system takes what is sent, as far as its buffers go.
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop((client, server))
            });
        }
    }
}
