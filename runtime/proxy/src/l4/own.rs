//! Whether a connection would come back to where it comes from: carried bytes have no hop count that could stop them.

use std::net::{IpAddr, UdpSocket};

use outrigger_net::Address;

/// Whether connecting to `endpoint` reaches what listens on `bound`.
pub(crate) fn leads_to(endpoint: &Address, bound: &Address) -> bool {
    match (endpoint, bound) {
        (Address::Unix(endpoint), Address::Unix(bound)) => endpoint == bound,
        (Address::Tcp(endpoint), Address::Tcp(bound)) => {
            endpoint.port() == bound.port() && ip_leads_to(endpoint.ip(), bound.ip())
        }
        _ => false,
    }
}

fn ip_leads_to(endpoint: IpAddr, bound: IpAddr) -> bool {
    let (endpoint, bound) = (endpoint.to_canonical(), bound.to_canonical());
    // Connecting to the unspecified address means this machine, by its loopback address.
    if endpoint.is_unspecified() {
        return bound.is_unspecified() || bound.is_loopback();
    }
    if bound.is_unspecified() { is_of_this_machine(endpoint) } else { endpoint == bound }
}

fn is_of_this_machine(ip: IpAddr) -> bool {
    // Only an address of ours can be bound.
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_under_its_other_names() {
        let check = |endpoint: &str, bound: &str, expected: bool| {
            let (endpoint, bound) = (endpoint.parse().unwrap(), bound.parse().unwrap());
            assert_eq!(leads_to(&endpoint, &bound), expected, "{endpoint} {bound}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("127.0.0.2:80", "127.0.0.1:80", false);
        check("127.0.0.2:80", "0.0.0.0:80", true);
        check("[::1]:80", "[::]:80", true);
        check("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("192.0.2.1:80", "0.0.0.0:80", false);
        check("unix:/a", "unix:/a", true);
        check("unix:/a", "unix:/b", false);
        check("unix:/a", "127.0.0.1:80", false);
    }
}
