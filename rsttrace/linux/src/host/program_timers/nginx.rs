//! Timers in the configuration of nginx.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::root::Root;
use super::{Found, after, arguments, parent, time};

/// Defaults of nginx that close an idle connection.
const DEFAULTS: [(&str, u64, Option<bool>); 8] = [
    ("keepalive_timeout", 75, Some(true)),
    ("keepalive_timeout of an upstream", 60, Some(false)),
    (
        "client_header_timeout and client_body_timeout",
        60,
        Some(true),
    ),
    ("send_timeout", 60, Some(true)),
    ("proxy_read_timeout and proxy_send_timeout", 60, Some(false)),
    ("lingering_timeout", 5, Some(true)),
    ("lingering_time, preread_timeout", 30, Some(true)),
    ("proxy_timeout", 600, None),
];

pub fn read(pid: u32, arguments: &[String], found: &mut Found) -> Option<()> {
    const MAIN: &str = "/etc/nginx/nginx.conf";
    // A worker's title says nothing; its parent's is `nginx: master process /usr/sbin/nginx -c FILE`.
    let of_parent;
    let mut words = arguments;
    if arguments.iter().any(|word| word == "worker") {
        of_parent = self::arguments(parent(pid)?)?;
        words = &of_parent;
    }
    let prefix = after(words, "-p").map(PathBuf::from);
    let folder = prefix.unwrap_or_else(|| PathBuf::from("/etc/nginx"));
    let main = folder.join(after(words, "-c").unwrap_or(MAIN));
    let root = Root::of(pid)?;
    let mut open = vec![main.clone()];
    // Files that are included are relative to the main one.
    let base = main.parent().map(Path::to_owned)?;
    let mut is_first = true;
    while let Some(path) = open.pop() {
        let Some(text) = root.text(&path, found) else {
            found.is_partial = true;
            if is_first {
                return None;
            }
            continue;
        };
        is_first = false;
        for include in file(&path, &text, found) {
            match root.matching(&base.join(&include)) {
                Some(files) => open.extend(files),
                None => found.is_partial = true,
            }
        }
    }
    for (setting, seconds, listened) in DEFAULTS {
        found.add_default(setting, listened, Duration::from_secs(seconds));
    }
    Some(())
}

/// Takes the timers of a file; gives back what it includes.
pub fn file(path: &Path, text: &str, found: &mut Found) -> Vec<String> {
    let mut includes = Vec::new();
    for (line, words) in directives(text) {
        let Some((name, values)) = words.split_first() else {
            continue;
        };
        let value = values.first().map(String::as_str).unwrap_or_default();
        match name.as_str() {
            "include" => includes.push(value.to_owned()),
            name if is_idle_timer(name) => {
                let place = format!("{}:{line}", path.display());
                found.add(name, role(name), time(value, Duration::from_secs(1)), place);
            }
            name if name.contains("_by_lua") || name.starts_with("js_") => found.is_partial = true,
            _ => {}
        }
    }
    includes
}

/// Timers that end established connections.
fn is_idle_timer(name: &str) -> bool {
    const OTHERS: [&str; 6] = [
        "connect_timeout",
        "next_upstream_timeout",
        "resolver_timeout",
        "ssl_session_timeout",
        "worker_shutdown_timeout",
        "lock_timeout",
    ];
    let is_other = OTHERS.iter().any(|other| name.ends_with(other));
    (name.ends_with("_timeout") && !is_other) || name == "lingering_time"
}

/// Which connections a timer of nginx ends, where its name says so.
fn role(name: &str) -> Option<bool> {
    let of_clients = ["client_", "send_timeout", "lingering_", "preread_"];
    if of_clients.iter().any(|prefix| name.starts_with(prefix)) {
        Some(true)
    } else if name.ends_with("_read_timeout") || name.ends_with("_send_timeout") {
        Some(false)
    } else {
        None
    }
}

/// The directives with the lines that they begin in.
fn directives(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut directives = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let (mut line, mut begins) = (1, 1);
    let mut quote = None;
    let mut is_comment = false;
    for character in text.chars() {
        let ends_word = quote.is_none() && (character.is_whitespace() || ";{}".contains(character));
        if is_comment {
            is_comment = character != '\n';
        } else if quote == Some(character) {
            quote = None;
        } else if quote.is_some() {
            word.push(character);
        } else if ends_word {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            if ";{}".contains(character) && !words.is_empty() {
                directives.push((begins, std::mem::take(&mut words)));
            }
        } else if word.is_empty() && character == '#' {
            is_comment = true;
        } else if word.is_empty() && (character == '"' || character == '\'') {
            quote = Some(character);
        } else {
            if words.is_empty() && word.is_empty() {
                begins = line;
            }
            word.push(character);
        }
        line += usize::from(character == '\n');
    }
    directives
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::tests::told;
    use super::*;

    #[test]
    fn timers_of_nginx_are_found_with_their_lines() {
        let text = "\
http {
    # keepalive_timeout 5;
    keepalive_timeout 1m30s 20s;
    include sites-enabled/*;
    log_format main '$status; proxy_timeout 1s;';
    server { location / { proxy_read_timeout
        500ms; } }
}
stream { server { proxy_timeout 4s; } }
";
        let mut found = Found::default();
        let includes = file(Path::new("/etc/nginx/nginx.conf"), text, &mut found);
        assert_eq!(includes, ["sites-enabled/*"]);
        let expected = [
            ("keepalive_timeout", 90.0, 3),
            ("proxy_read_timeout", 0.5, 6),
            ("proxy_timeout", 4.0, 9),
        ]
        .map(|(name, value, line)| {
            (
                name.to_owned(),
                value,
                format!("/etc/nginx/nginx.conf:{line}"),
            )
        });
        assert_eq!(told(&found), expected);
        assert!(!found.is_partial);
        file(
            Path::new("x"),
            "proxy_timeout $t; content_by_lua_block { }",
            &mut found,
        );
        assert!(found.is_partial);
    }
}
