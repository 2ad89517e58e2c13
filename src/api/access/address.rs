//! The client address of a request: that of the connection, or the one that trusted proxies report.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderName, header};

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the address that identifies a client. Of IPv6 it is the /64 network: one customer can choose any address
/// in it.
///
/// If the connection comes from a trusted proxy, the client is the last address of `Forwarded` (RFC 7239) or
/// `X-Forwarded-For` that is not a trusted proxy: the client itself may have written those before it. If both headers
/// are present and differ, the proxy passed one of them on unchanged, and neither is trusted.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let is_proxy = |address: &IpAddr| proxies.iter().any(|proxy| proxy.contains(address));
    let peer = peer.to_canonical();
    if !is_proxy(&peer) {
        return client_network(peer);
    }
    let chains = [(header::FORWARDED, parse_forwarded as fn(&str) -> Option<IpAddr>), (X_FORWARDED_FOR, parse_address)];
    let mut reported = chains
        .iter()
        .filter(|(name, _)| headers.contains_key(name))
        .map(|(name, parse)| last_untrusted(headers, name, *parse, is_proxy));
    let client = match (reported.next(), reported.next()) {
        (Some(one), None) => one,
        (Some(one), Some(other)) if one == other => one,
        _ => None,
    };
    client_network(client.unwrap_or(peer))
}

/// The last address of a chain that is not a trusted proxy. `None` if an element after it is not an address.
fn last_untrusted(
    headers: &HeaderMap,
    name: &HeaderName,
    parse: fn(&str) -> Option<IpAddr>,
    is_proxy: impl Fn(&IpAddr) -> bool,
) -> Option<IpAddr> {
    for value in headers.get_all(name).iter().rev() {
        for one in value.to_str().ok()?.rsplit(',') {
            let address = parse(one.trim())?.to_canonical();
            if !is_proxy(&address) {
                return Some(address);
            }
        }
    }
    None
}

/// Parses an element of `Forwarded`: `for="[2001:db8::1]:4711";proto=https`.
fn parse_forwarded(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    parse_address(node.trim().trim_matches('"'))
}

/// Parses an address, with or without a port.
fn parse_address(node: &str) -> Option<IpAddr> {
    if let Ok(address) = node.parse() {
        return Some(address);
    }
    if let Some((address, _)) = node.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    node.rsplit_once(':').and_then(|(address, _)| address.parse().ok())
}

/// The address itself, or the /64 network of an IPv6 address.
pub fn client_network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&str, &str)]) -> String {
        let proxies = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        client_address(peer.parse().unwrap(), &map, &proxies).to_string()
    }

    #[test]
    fn trusts_headers_of_trusted_proxies_only() {
        let xff = |value| [("x-forwarded-for", value)];
        assert_eq!(client("203.0.113.7", &xff("198.51.100.1")), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &xff("198.51.100.1")), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", &xff("198.51.100.1")), "198.51.100.1");
        // Addresses that the client wrote itself precede those of proxies.
        assert_eq!(client("10.0.0.1", &xff("1.1.1.1, 198.51.100.1, 10.9.9.9")), "198.51.100.1");
        let lines =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "10.2.2.2")];
        assert_eq!(client("10.0.0.1", &lines), "198.51.100.1");
        for invalid in ["", "unknown", "1.1.1.1, , 10.0.0.2", "999.1.1.1", "évil"] {
            assert_eq!(client("10.0.0.1", &xff(invalid)), "10.0.0.1", "{invalid}");
        }
        assert_eq!(client("10.0.0.1", &xff("10.0.0.2")), "10.0.0.1");
    }

    #[test]
    fn parses_both_headers_and_rejects_disagreement() {
        let forwarded = |value| client("10.0.0.1", &[("forwarded", value)]);
        assert_eq!(forwarded("for=198.51.100.1"), "198.51.100.1");
        assert_eq!(forwarded("for=1.1.1.1, For=\"198.51.100.1:4711\";proto=https;by=10.0.0.1"), "198.51.100.1");
        assert_eq!(forwarded("proto=http;for=\"[2001:db8:1:2:3:4:5:6]:80\""), "2001:db8:1:2::");
        assert_eq!(forwarded("for=_hidden"), "10.0.0.1");
        assert_eq!(client("fd00::1", &[("x-forwarded-for", "2001:db8:1:2:3:4:5:6")]), "2001:db8:1:2::");
        let both = |one, other| client("10.0.0.1", &[("forwarded", one), ("x-forwarded-for", other)]);
        assert_eq!(both("for=198.51.100.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(both("for=1.1.1.1", "198.51.100.1"), "10.0.0.1");
    }
}
