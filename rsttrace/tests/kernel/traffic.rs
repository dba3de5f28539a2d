//! The plain kinds of resets, provoked on loopback.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::{LIMIT, eventually};

/// A loopback address with a port that has no listener, outside the ephemeral range.
pub fn closed_port(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Connects to a closed port: one reset sent, one received.
pub fn await_refusal(to: SocketAddr) {
    let refusal = TcpStream::connect(to).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused);
}

/// Lets some time pass: closer together, ends of connections of one process are one burst, with one fault.
pub fn end_burst() {
    std::thread::sleep(Duration::from_millis(10));
}

/// Both ends of a new connection to the listener, the client's first.
pub fn connected_pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    for end in [&client, &server] {
        end.set_read_timeout(Some(LIMIT)).unwrap();
    }
    (client, server)
}

/// SO_LINGER {1, 0}, then close(): a reset.
pub fn abort(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

/// Waits until the other end has reset the connection.
pub fn await_reset(mut stream: &TcpStream) {
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// The server closes with unread data: one reset sent by it, one received by the client.
pub fn end_unread((mut client, server): (TcpStream, TcpStream)) {
    client.write_all(b"never read").unwrap();
    eventually("unread data", || {
        (server.peek(&mut [0; 64]).unwrap() == 10).then_some(())
    });
    drop(server);
    await_reset(&client);
}

/// One reset sent by the client, which waits for an answer, one received by the server. Gives the client's address.
pub fn close_with_linger_zero(listener: &TcpListener) -> SocketAddr {
    let (mut client, mut server) = connected_pair(listener);
    let address = client.local_addr().unwrap();
    client.write_all(b"?").unwrap();
    server.read_exact(&mut [0]).unwrap();
    abort(client);
    await_reset(&server);
    address
}

/// One reset sent by the server, one received by the client. Gives the client's address.
pub fn close_with_unread_data(listener: &TcpListener) -> SocketAddr {
    let pair = connected_pair(listener);
    let address = pair.0.local_addr().unwrap();
    end_unread(pair);
    address
}
