//! A client that sends only a part of a request. The unit tests of every local server include this file.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Sends the beginning of a request, and returns everything received until the connection ends.
pub(crate) async fn send_partial_request(address: SocketAddr, request: &str) -> String {
    let connection = TcpStream::connect(address).await.unwrap();
    connection.writable().await.unwrap();
    assert_eq!(connection.try_write(request.as_bytes()).unwrap(), request.len());
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        connection.readable().await.unwrap();
        match connection.try_read(&mut bytes) {
            Ok(0) => return String::from_utf8(answer).unwrap(),
            Ok(length) => answer.extend(bytes.iter().take(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return String::from_utf8(answer).unwrap(),
        }
    }
}
