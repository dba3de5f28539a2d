//! How to enable keepalive in well-known programs.

/// This host's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Server,
    Client,
}

/// By the program's own setting, where it is known.
pub fn keepalive_of(program: Option<&str>, role: Role, port: u16, seconds: u64) -> String {
    match (program.unwrap_or_default(), role) {
        ("nginx", Role::Server) => format!("nginx: listen {} so_keepalive={seconds}s:15s:4;", port),
        ("nginx", Role::Client) => format!(
            "nginx: proxy_socket_keepalive on; and sysctl -w net.ipv4.tcp_keepalive_time={seconds}"
        ),
        ("haproxy", Role::Server) => {
            format!("haproxy: option clitcpka, with clitcpka-idle {seconds}s")
        }
        ("haproxy", Role::Client) => {
            format!("haproxy: option srvtcpka, with srvtcpka-idle {seconds}s")
        }
        ("redis-server", Role::Server) => format!("redis.conf: tcp-keepalive {seconds}"),
        ("postgres", Role::Server) => {
            format!("postgresql.conf: tcp_keepalives_idle = {seconds}")
        }
        ("sshd" | "sshd-session", Role::Server) => {
            format!("sshd_config: TCPKeepAlive yes, or ClientAliveInterval {seconds}")
        }
        _ => format!(
            "set SO_KEEPALIVE in the program, and TCP_KEEPIDLE to {seconds} s{}",
            match role {
                Role::Server => " (on the listening socket; accepted connections inherit both)",
                Role::Client => "",
            }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_in_the_programs_own_words_where_they_are_known() {
        for (comm, role, words) in [
            ("nginx", Role::Server, "listen 80 so_keepalive=175s:15s:4"),
            ("nginx", Role::Client, "proxy_socket_keepalive on"),
            ("haproxy", Role::Server, "option clitcpka"),
            ("haproxy", Role::Client, "option srvtcpka"),
            ("java", Role::Server, "SO_KEEPALIVE"),
        ] {
            let text = keepalive_of(Some(comm), role, 80, 175);
            assert!(text.contains(words) && text.contains("175"), "{text}");
        }
    }
}
