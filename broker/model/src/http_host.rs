//! Hosts that a tenant's plugins may be held to: a name, all names below one, or an address, each with or without a
//! port.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The longest host, in characters.
pub const HTTP_HOST_CHARS_MAX: usize = 260;

/// The longest part of a host's name, in characters.
const LABEL_CHARS_MAX: usize = 63;
/// What stands before the name below which all names are meant.
const ANY_BELOW: &str = "*.";

/// Hosts that HTTP requests may go to: `example.com`, `*.example.com` (all names below it), `192.0.2.7` or `[2001:db8::7]`,
/// each perhaps with a port, as in `example.com:8443`; without one, any port.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpHost {
    /// In lower case, as URLs have it once they are parsed.
    host: Box<str>,
    port: Option<u16>,
}

/// Why a text is no such host.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HttpHostError {
    /// Longer than a host may be.
    #[error("must not be longer than {max}")]
    TooLong {
        /// The longest allowed.
        max: usize,
    },
    /// The port is none.
    #[error("its port must be 1 to 65535")]
    Port,
    /// Neither a name nor an address.
    #[error(
        "must be a host's name such as `example.com`, all names below one such as `*.example.com`, or an address, without \
         scheme and path"
    )]
    Host,
}

// === impl HttpHost ===

impl HttpHost {
    /// Returns the host, if the text is one.
    pub fn parse(text: &str) -> Result<HttpHost, HttpHostError> {
        if text.len() > HTTP_HOST_CHARS_MAX {
            return Err(HttpHostError::TooLong {
                max: HTTP_HOST_CHARS_MAX,
            });
        }
        let (host, port) = split_port(text)?;
        let host = host.to_ascii_lowercase();
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match bracketed {
            Some(address) => {
                let address: Ipv6Addr = address.parse().map_err(|_| HttpHostError::Host)?;
                format!("[{address}]")
            }
            None => {
                let name = host.strip_prefix(ANY_BELOW);
                if !is_name(name.unwrap_or(&host)) && host.parse::<Ipv4Addr>().is_err() {
                    return Err(HttpHostError::Host);
                }
                host
            }
        };
        Ok(HttpHost {
            host: host.into(),
            port,
        })
    }

    /// Returns whether a request to that host and port goes there. The host is as a parsed URL has it: in lower case,
    /// addresses in their usual form.
    pub fn is_of(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        match self.host.strip_prefix(ANY_BELOW) {
            Some(name) => {
                let below = host.strip_suffix(name).and_then(|rest| rest.strip_suffix('.'));
                below.is_some_and(|label| !label.is_empty())
            }
            None => *self.host == *host,
        }
    }
}

impl std::fmt::Display for HttpHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl TryFrom<String> for HttpHost {
    type Error = HttpHostError;
    fn try_from(text: String) -> Result<HttpHost, HttpHostError> {
        HttpHost::parse(&text)
    }
}

impl From<HttpHost> for String {
    fn from(host: HttpHost) -> String {
        host.to_string()
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), HttpHostError> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Ok((text, None));
    };
    // Within brackets it is part of an address.
    if port.ends_with(']') {
        return Ok((text, None));
    }
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port @ 1..) if digits => Ok((host, Some(port))),
        Ok(_) | Err(_) => Err(HttpHostError::Port),
    }
}

/// Returns whether it is labels joined by dots. What ends with a number is an address however it is written, or nothing.
fn is_name(name: &str) -> bool {
    let labels_fit = name.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= LABEL_CHARS_MAX
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    let last = name.rsplit('.').next().unwrap_or_default();
    labels_fit && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HttpHost {
        HttpHost::parse(text).expect("a host")
    }

    #[test]
    fn a_name_is_met_whatever_its_case_and_on_any_port_unless_it_says_one() {
        assert!(host("Example.com").is_of("example.com", 443));
        assert!(host("example.com").is_of("example.com.", 80));
        assert!(!host("example.com").is_of("www.example.com", 443));
        assert!(!host("example.com").is_of("example.com.evil.test", 443));
        assert!(host("example.com:8443").is_of("example.com", 8443));
        assert!(!host("example.com:8443").is_of("example.com", 443));
    }

    #[test]
    fn a_star_is_all_names_below_and_not_the_name_itself() {
        let below = host("*.example.com");
        assert!(below.is_of("hooks.example.com", 443));
        assert!(below.is_of("a.b.example.com", 443));
        assert!(!below.is_of("example.com", 443));
        assert!(!below.is_of("badexample.com", 443));
    }

    #[test]
    fn an_address_is_met_in_its_usual_form() {
        assert!(host("192.0.2.7").is_of("192.0.2.7", 80));
        assert!(host("[2001:DB8:0::7]:8080").is_of("[2001:db8::7]", 8080));
        assert!(!host("192.0.2.7").is_of("192.0.2.77", 80));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "a..b",
            "example.com/path",
            "user@example.com",
            "*.*.example.com",
            "*.0.0.1",
            "*.127.0.0.1",
            "www.*.com",
            "1.2.3",
            "0x7f.1",
            "[example.com]",
            "bücher.example",
        ] {
            assert_eq!(HttpHost::parse(text), Err(HttpHostError::Host), "{text}");
        }
        for text in [
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "a:b:c",
            "::1",
            "a:+1",
        ] {
            let refused = HttpHost::parse(text);
            assert!(refused.is_err(), "{text}");
        }
        let long = "a.".repeat(HTTP_HOST_CHARS_MAX);
        assert!(matches!(
            HttpHost::parse(&long),
            Err(HttpHostError::TooLong { .. })
        ));
    }

    #[test]
    fn a_host_reads_back_as_it_is_shown() {
        for text in [
            "example.com",
            "*.example.com:443",
            "192.0.2.7:80",
            "[2001:db8::7]",
        ] {
            assert_eq!(host(text).to_string(), text);
        }
    }
}
