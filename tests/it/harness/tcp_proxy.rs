//! A TCP proxy between the function and a server. It breaks connections the way networks do while an environment is
//! frozen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the open connections break. New ones work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// The server closes them, as it does after an idle timeout.
    Close,
    /// A middlebox has forgotten them and resets them.
    Reset,
    /// A middlebox has forgotten them and drops packets silently.
    Silent,
}

/// Forwards connections to one server.
pub struct TcpProxy {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    disconnects: watch::Sender<Option<Disconnect>>,
}

impl TcpProxy {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, disconnects) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(None));
        let (counter, breaker) = (Arc::clone(&connections), disconnects.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(pass(stream, server, breaker.subscribe()));
            }
        });
        Self { address, connections, disconnects }
    }

    /// Breaks all open connections.
    pub fn disconnect_all(&self, how: Disconnect) {
        self.disconnects.send_replace(Some(how));
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, mut disconnects: watch::Receiver<Option<Disconnect>>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let broken = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        broken = disconnects.changed() => broken,
    };
    match *disconnects.borrow() {
        _ if broken.is_err() => {}
        Some(Disconnect::Reset) => client.set_zero_linger().unwrap(),
        Some(Disconnect::Close) | None => {}
        Some(Disconnect::Silent) => {
            // The system accepts data until its buffers are full.
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop((client, server))
            });
        }
    }
}
