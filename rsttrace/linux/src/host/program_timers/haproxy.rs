//! Timers in the configuration of HAProxy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::root::Root;
use super::{Found, time};

pub fn read(pid: u32, arguments: &[String], found: &mut Found) -> Option<()> {
    let root = Root::of(pid)?;
    let mut files = Vec::new();
    for (place, word) in arguments.iter().enumerate() {
        if word != "-f" {
            continue;
        }
        let path = PathBuf::from(arguments.get(place + 1)?);
        if path.is_relative() {
            found.is_partial = true;
        } else if root.is_folder(&path) {
            files.extend(root.matching(&path.join("*.cfg"))?);
        } else {
            files.push(path);
        }
    }
    found.is_partial |= files.is_empty();
    for path in files {
        match root.text(&path, found) {
            Some(text) => file(&path, &text, found),
            None => found.is_partial = true,
        }
    }
    Some(())
}

pub fn file(path: &Path, text: &str, found: &mut Found) {
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("timeout"), Some(name), Some(value)) => {
                let listened = match name {
                    "client" | "client-fin" | "http-keep-alive" | "http-request" => Some(true),
                    "server" | "server-fin" => Some(false),
                    "tunnel" => None,
                    // Of attempts, queues and checks.
                    _ => continue,
                };
                let place = format!("{}:{}", path.display(), index + 1);
                let timeout = time(value, Duration::from_millis(1));
                found.add(&format!("timeout {name}"), listened, timeout, place);
            }
            // Scripts close as they like, and conditions decide what counts.
            (Some("lua-load" | "lua-load-per-thread" | ".if"), ..) => found.is_partial = true,
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::tests::told;
    use super::*;

    #[test]
    fn timers_of_haproxy_are_found_with_their_lines() {
        let text = "\
defaults
    timeout client 4s   # was 1m
    timeout server 30000
    timeout connect 4s
    #timeout tunnel 1h
";
        let mut found = Found::default();
        file(Path::new("/etc/haproxy/haproxy.cfg"), text, &mut found);
        let place = |line| format!("/etc/haproxy/haproxy.cfg:{line}");
        assert_eq!(
            told(&found),
            [
                ("timeout client".to_owned(), 4.0, place(2)),
                ("timeout server".to_owned(), 30.0, place(3)),
            ]
        );
        assert!(!found.is_partial);
        file(Path::new("x"), "timeout client \"${T}\"", &mut found);
        assert!(found.is_partial);
    }
}
