//! Messages of the probe's protocol on a connection.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::probe::protocol::{Invalid, LENGTH, Message, may_begin};

/// What has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Message(Message),
    Invalid(Invalid),
    /// A FIN.
    End,
}

/// Reads messages; holds no more than one of them.
pub struct Lines {
    buffer: [u8; LENGTH],
    filled: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            buffer: [0; LENGTH],
            filled: 0,
        }
    }
}

impl Lines {
    /// The next message. Cancel-safe.
    pub async fn next(&mut self, stream: &TcpStream) -> io::Result<Incoming> {
        loop {
            stream.readable().await?;
            match stream.try_read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Ok(Incoming::End),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if !may_begin(&self.buffer[..self.filled]) {
                return Ok(Incoming::Invalid(Invalid::Foreign));
            }
            if self.filled == LENGTH {
                self.filled = 0;
                return Ok(match Message::decode(&self.buffer) {
                    Ok(message) => Incoming::Message(message),
                    Err(invalid) => Incoming::Invalid(invalid),
                });
            }
        }
    }
}

/// Sends a message.
pub async fn write(stream: &TcpStream, message: &Message) -> io::Result<()> {
    write_all(stream, &message.encode()).await
}

/// Sends bytes.
pub async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Closes with a FIN: unread data would make it a RST.
pub async fn close(stream: TcpStream) {
    if shutdown(stream.as_raw_fd(), Shutdown::Write).is_err() {
        return;
    }
    let drain = async {
        let mut left = MOST_DRAINED;
        let mut buffer = [0; 4096];
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    // One that stays is closed now.
    let _ = timeout(CLOSE_LIMIT, drain).await;
}

/// For the other end to close as well.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Of what the other end still sends, in bytes.
const MOST_DRAINED: usize = 65_536;
