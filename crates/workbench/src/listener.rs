//! Ports of this machine.

use tokio::net::TcpListener;

/// Listens on a port of this machine only.
///
/// # Errors
/// A sentence with the port and the remedy.
pub async fn listen(port: u16) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    listener.map_err(|error| {
        format!("port {port} cannot be used ({error}); choose another port: --port 3001, or `make run PORT=3001`")
    })
}

/// Listens on a free port of this machine only, and returns its address, `http://127.0.0.1:…`.
///
/// # Errors
/// If no port is free.
pub async fn listen_anywhere() -> std::io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = format!("http://{}", listener.local_addr()?);
    Ok((listener, address))
}
