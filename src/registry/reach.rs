//! Where a registry's answer may lead. This machine, its link and the metadata services: nowhere near. A private
//! network: only from a registry that is in one itself, or where the user says so.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::endpoint::{address, is_loopback};

/// The hosts in private networks that registries may send us to: `--allow-private`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivateHosts(BTreeSet<String>);

/// A text that is no name or address of a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a host: a name or an address is wanted, without scheme, port and path", .0.escape_debug())]
pub struct BadHost(String);

/// Looks a name up.
pub(super) type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

pub(super) const INWARD: &str = "an address of this machine or of its link";
pub(super) const PRIVATE: &str = "an address in a private network";

impl PrivateHosts {
    pub fn add(&mut self, host: &str) -> Result<(), BadHost> {
        let bad = || BadHost(host.chars().take(200).collect());
        if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b)) {
            return Err(bad());
        }
        let wrapped = if host.contains(':') { format!("http://[{host}]/") } else { format!("http://{host}/") };
        let url: Url = wrapped.parse().map_err(|_| bad())?;
        match name_of(&url) {
            Some(name) if url.as_str().len() == wrapped.len() && name.eq_ignore_ascii_case(host) => {
                self.0.insert(name.to_owned());
                Ok(())
            }
            _ => Err(bad()),
        }
    }

    fn allow(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// Why an address may not be reached, if it may not. `private`: those of private networks may.
pub(super) fn refusal(address: IpAddr, private: bool) -> Option<&'static str> {
    match address {
        address if is_inward(address) => Some(INWARD),
        address if !private && is_private(address) => Some(PRIVATE),
        _ => None,
    }
}

/// Why a URL may not be followed, as far as its text tells. Names are judged when they are looked up.
pub(super) fn refusal_of(url: &Url, private: bool, allowed: &PrivateHosts) -> Option<&'static str> {
    if is_loopback(url) {
        return Some(INWARD);
    }
    let private = private || name_of(url).is_some_and(|name| allowed.allow(name));
    refusal(address(url)?, private)
}

/// This machine, or the link-local neighbours that cloud machines get their credentials from (169.254.169.254,
/// fd00:ec2::254).
pub(super) fn is_inward(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.octets()[0] == 0 || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.segments()[..2] == [0xfd00, 0xec2]
        }
    }
}

/// RFC 1918, RFC 6598 (shared by carriers, and by container networks), RFC 4193.
pub(super) fn is_private(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// An IPv4 address that is written as one of IPv6: mapped (RFC 4291), or for a translator (64:ff9b::/96, RFC 6052).
fn plain(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        address => address,
    }
}

/// Resolves names, leaving out what may not be reached. It is asked by the connector itself, so that no second answer
/// of the name server can come between check and connection (DNS rebinding, go-containerregistry#2440).
pub(super) struct Outward {
    pub private: bool,
    pub allowed: PrivateHosts,
    /// The user's own proxies, which may be anywhere.
    pub proxies: BTreeSet<String>,
    pub lookup: Lookup,
}

impl Resolve for Outward {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let (proxy, private) = (self.proxies.contains(&name), self.private || self.allowed.allow(&name));
        let lookup = (self.lookup)(name.clone());
        Box::pin(async move {
            let found = lookup.await?;
            let why = found.iter().find_map(|found| refusal(found.ip(), private).filter(|_| !proxy));
            let kept: Vec<SocketAddr> =
                found.into_iter().filter(|found| proxy || refusal(found.ip(), private).is_none()).collect();
            match why.filter(|_| kept.is_empty()) {
                Some(PRIVATE) => {
                    Err(format!("the name stands for {PRIVATE}, which `--allow-private {name}` would allow").into())
                }
                Some(why) => Err(format!("the name stands for {why}").into()),
                None => Ok(Box::new(kept.into_iter()) as Addrs),
            }
        })
    }
}

/// Asks the system.
pub(super) fn system(name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
}

/// The hosts of the proxies that the environment sets, by the variables that `reqwest` reads.
pub(super) fn proxies(variable: impl Fn(&str) -> Option<String>) -> BTreeSet<String> {
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
        .iter()
        .flat_map(|name| [variable(name), variable(&name.to_ascii_lowercase())])
        .flatten()
        .filter_map(|text| {
            let url: Option<Url> = text.parse().ok().filter(Url::has_host);
            name_of(&url.or_else(|| format!("http://{text}").parse().ok())?).map(str::to_owned)
        })
        .collect()
}

/// The URL's host without the brackets of an address of IPv6.
fn name_of(url: &Url) -> Option<&str> {
    url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(hosts: &[&str]) -> PrivateHosts {
        let mut allowed = PrivateHosts::default();
        hosts.iter().for_each(|host| allowed.add(host).unwrap());
        allowed
    }

    #[test]
    fn inward_addresses_are_known_in_every_spelling() {
        for url in [
            "http://169.254.169.254/",
            "http://127.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[fd00:ec2::254]/",
            "http://[fe80::1]/",
            "http://0.0.0.0/",
            "http://localhost/",
        ] {
            let url = url.parse().unwrap();
            assert_eq!(refusal_of(&url, true, &allowed(&["169.254.169.254", "localhost"])), Some(INWARD), "{url}");
        }
    }

    #[test]
    fn private_addresses_are_for_those_who_are_private_or_allowed() {
        for url in [
            "http://10.0.0.1/",
            "http://0xa.1/",
            "http://172.31.0.1/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://[fd12::1]/",
            "http://[::ffff:10.0.0.1]/",
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(refusal_of(&url, false, &allowed(&["10.9.9.9"])), Some(PRIVATE), "{url}");
            assert_eq!(refusal_of(&url, true, &allowed(&[])), None, "{url}");
            assert_eq!(refusal_of(&url, false, &allowed(&[name_of(&url).unwrap()])), None, "{url}");
        }
        for url in ["http://s3.eu-west-1.amazonaws.com/", "http://[2001:db8::1]/", "http://172.32.0.1/"] {
            assert_eq!(refusal_of(&url.parse().unwrap(), false, &allowed(&[])), None, "{url}");
        }
    }

    #[test]
    fn what_is_allowed_is_a_host_and_no_more() {
        for host in ["", "a:5000", "a/b", "http://a", "u@a", "a b", "*", "10.0.0.0/8", "0xa.1"] {
            assert!(PrivateHosts::default().add(host).is_err(), "{host}");
        }
        assert_eq!(allowed(&["Minio.Corp", "fd12::1"]), allowed(&["minio.corp", "fd12::1"]));
    }

    #[test]
    fn proxies_of_the_environment_are_known_by_name() {
        let set = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://u:p@proxy.corp:3128".to_owned()),
            "all_proxy" => Some("other.corp:1080".to_owned()),
            _ => None,
        };
        assert_eq!(proxies(set), ["proxy.corp", "other.corp"].map(str::to_owned).into());
    }

    #[tokio::test]
    async fn a_name_is_judged_by_every_address_that_it_stands_for() {
        fn lookup(name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            let addresses = name.split('_').map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect();
            Box::pin(async move { Ok(addresses) })
        }
        let ask = async |name: &str, private: bool, proxies: &[&str]| {
            let proxies = proxies.iter().map(|name| (*name).to_owned()).collect();
            let outward = Outward { private, allowed: allowed(&["10.0.0.9"]), proxies, lookup };
            let found = outward.resolve(name.parse().unwrap()).await;
            found.map(Iterator::count).map_err(|error| error.to_string())
        };
        assert_eq!(ask("127.0.0.1", true, &[]).await, Err(format!("the name stands for {INWARD}")));
        assert_eq!(ask("127.0.0.1_192.0.2.1_10.0.0.1", false, &[]).await, Ok(1));
        assert!(ask("10.0.0.1", false, &[]).await.unwrap_err().contains("--allow-private 10.0.0.1"));
        assert_eq!(ask("10.0.0.1", true, &[]).await, Ok(1));
        assert_eq!(ask("10.0.0.9", false, &[]).await, Ok(1));
        assert_eq!(ask("10.0.0.1", false, &["10.0.0.1"]).await, Ok(1));
    }
}
