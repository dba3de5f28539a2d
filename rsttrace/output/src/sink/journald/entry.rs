//! One entry in the native protocol of the journal: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::fmt::Display;
use std::io;

use serde::Serialize;

use super::append_json;

/// Fields one after the other.
pub struct Entry(Vec<u8>);

impl Entry {
    pub fn new(message: &str, priority: u8, message_id: &str) -> Self {
        let mut entry = Self(Vec::with_capacity(4 << 10));
        entry.add("MESSAGE", message);
        entry.add("PRIORITY", priority);
        entry.add("MESSAGE_ID", message_id);
        entry.add("SYSLOG_IDENTIFIER", "rsttrace");
        entry
    }

    /// Adds a field. Names are capital letters, digits and underscores.
    pub fn add(&mut self, name: &str, value: impl Display) {
        self.add_bytes(name, value.to_string().as_bytes());
    }

    pub fn add_known(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Adds the whole record.
    pub fn add_json(&mut self, record: &impl Serialize) -> io::Result<()> {
        let mut json = Vec::with_capacity(4 << 10);
        append_json(&mut json, record)?;
        self.add_bytes("RSTTRACE_RECORD", &json);
        Ok(())
    }

    fn add_bytes(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            self.0.push(b'\n');
            let length = value.len() as u64;
            self.0.extend_from_slice(&length.to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
