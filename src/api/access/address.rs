//! Which address a request comes from: its connection's, or the one that trusted proxies say.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderName, header};

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address by which a client is known: of IPv6 the first 64 bits, for so much one customer has to choose from.
///
/// Where the connection comes from a trusted proxy, the last address of `Forwarded` (RFC 7239) or `X-Forwarded-For` that
/// is no trusted proxy's itself; what stands before it anyone may have written. Where both are there and do not agree, one
/// of them passed the proxy unseen, and neither is believed.
pub fn of_client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let is_proxy = |address: &IpAddr| proxies.iter().any(|proxy| proxy.contains(address));
    let peer = peer.to_canonical();
    if !is_proxy(&peer) {
        return network(peer);
    }
    let chains = [(header::FORWARDED, forwarded as fn(&str) -> Option<IpAddr>), (X_FORWARDED_FOR, plain)];
    let mut told = chains
        .iter()
        .filter(|(name, _)| headers.contains_key(name))
        .map(|(name, parse)| last_unknown(headers, name, *parse, is_proxy));
    let client = match (told.next(), told.next()) {
        (Some(one), None) => one,
        (Some(one), Some(other)) if one == other => one,
        _ => None,
    };
    network(client.unwrap_or(peer))
}

/// The last address of a chain that is no proxy's; none where something stands there that is no address.
fn last_unknown(
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

/// An element of `Forwarded`: `for="[2001:db8::1]:4711";proto=https`.
fn forwarded(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    plain(node.trim().trim_matches('"'))
}

/// An address, with or without a port.
fn plain(node: &str) -> Option<IpAddr> {
    if let Ok(address) = node.parse() {
        return Some(address);
    }
    if let Some((address, _)) = node.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    node.rsplit_once(':').and_then(|(address, _)| address.parse().ok())
}

/// What one customer has.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(peer: &str, headers: &[(&str, &str)]) -> String {
        let proxies = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        of_client(peer.parse().unwrap(), &map, &proxies).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let xff = |value| [("x-forwarded-for", value)];
        assert_eq!(asked("203.0.113.7", &xff("198.51.100.1")), "203.0.113.7");
        assert_eq!(asked("10.0.0.1", &xff("198.51.100.1")), "198.51.100.1");
        assert_eq!(asked("::ffff:10.0.0.1", &xff("198.51.100.1")), "198.51.100.1");
        // What the client wrote itself stands further left.
        assert_eq!(asked("10.0.0.1", &xff("1.1.1.1, 198.51.100.1, 10.9.9.9")), "198.51.100.1");
        let lines =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "10.2.2.2")];
        assert_eq!(asked("10.0.0.1", &lines), "198.51.100.1");
        for nonsense in ["", "unknown", "1.1.1.1, , 10.0.0.2", "999.1.1.1", "évil"] {
            assert_eq!(asked("10.0.0.1", &xff(nonsense)), "10.0.0.1", "{nonsense}");
        }
        assert_eq!(asked("10.0.0.1", &xff("10.0.0.2")), "10.0.0.1");
    }

    #[test]
    fn both_headers_are_read_as_they_are_written() {
        let told = |value| asked("10.0.0.1", &[("forwarded", value)]);
        assert_eq!(told("for=198.51.100.1"), "198.51.100.1");
        assert_eq!(told("for=1.1.1.1, For=\"198.51.100.1:4711\";proto=https;by=10.0.0.1"), "198.51.100.1");
        assert_eq!(told("proto=http;for=\"[2001:db8:1:2:3:4:5:6]:80\""), "2001:db8:1:2::");
        assert_eq!(told("for=_hidden"), "10.0.0.1");
        assert_eq!(asked("fd00::1", &[("x-forwarded-for", "2001:db8:1:2:3:4:5:6")]), "2001:db8:1:2::");
        let both = |one, other| asked("10.0.0.1", &[("forwarded", one), ("x-forwarded-for", other)]);
        assert_eq!(both("for=198.51.100.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(both("for=1.1.1.1", "198.51.100.1"), "10.0.0.1");
    }
}
