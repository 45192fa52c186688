//! What security groups let pass: by the port of TLS, on which every service of AWS is asked.

use std::net::Ipv4Addr;

use crate::aws::{Rule, SecurityGroup};

const TLS: i64 = 443;

/// How far the rules of some groups reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// As far as was asked.
    All,
    /// Some way: prefix lists, other groups, other addresses.
    Some,
    None,
}

/// Whether a task in these groups may ask anybody.
pub(super) fn outward(groups: &[&SecurityGroup]) -> Reach {
    reach(groups.iter().flat_map(|group| &group.outbound), |rule| rule.cidrs.iter().any(|cidr| cidr == "0.0.0.0/0"))
}

/// Whether these groups, which are an endpoint's, let in a task in `others` that has an address in each of `cidrs`.
pub(super) fn inward(groups: &[&SecurityGroup], others: &[String], cidrs: &[&str]) -> Reach {
    let subnets: Option<Vec<Cidr>> = cidrs.iter().map(|text| Cidr::parse(text)).collect();
    let covers = |rule: &Rule| {
        let by_group = rule.groups.iter().any(|group| others.contains(group));
        let by_address = |subnet: &Cidr| {
            rule.cidrs.iter().filter_map(|text| Cidr::parse(text)).any(|allowed| allowed.contains(subnet))
        };
        by_group || subnets.as_ref().is_some_and(|subnets| !subnets.is_empty() && subnets.iter().all(by_address))
    };
    reach(groups.iter().flat_map(|group| &group.inbound), covers)
}

fn reach<'a>(rules: impl Iterator<Item = &'a Rule>, covers: impl Fn(&Rule) -> bool) -> Reach {
    let mut reach = Reach::None;
    for rule in rules.filter(|rule| has_tls(rule)) {
        if covers(rule) {
            return Reach::All;
        }
        reach = Reach::Some;
    }
    reach
}

/// A protocol is its name or its number; all of them are -1.
fn has_tls(rule: &Rule) -> bool {
    match rule.protocol.as_str() {
        "-1" => true,
        "tcp" | "6" => rule.ports.is_none_or(|(from, to)| (from..=to).contains(&TLS)),
        _ => false,
    }
}

/// `10.0.0.0/16`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cidr {
    address: u32,
    mask: u32,
}

impl Cidr {
    /// `None` for what is none, or of IPv6.
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        Some(Self { address: address.parse::<Ipv4Addr>().ok()?.to_bits() & mask, mask })
    }

    fn contains(&self, other: &Self) -> bool {
        self.mask <= other.mask && other.address & self.mask == self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(protocol: &str, ports: Option<(i64, i64)>, cidrs: &[&str]) -> Rule {
        let cidrs = cidrs.iter().map(|&cidr| cidr.to_owned()).collect();
        Rule { protocol: protocol.to_owned(), ports, cidrs, ..Rule::default() }
    }

    #[test]
    fn a_task_gets_out_where_one_rule_lets_it_ask_anybody() {
        let anybody = &["0.0.0.0/0"][..];
        for (rules, reach) in [
            (vec![rule("-1", None, anybody)], Reach::All),
            (vec![rule("tcp", Some((443, 443)), anybody)], Reach::All),
            (vec![rule("6", Some((0, 65535)), anybody)], Reach::All),
            (vec![rule("tcp", Some((5432, 5432)), &["10.0.0.0/8"]), rule("tcp", None, anybody)], Reach::All),
            (vec![rule("tcp", Some((443, 443)), &["10.0.0.0/8"])], Reach::Some),
            (vec![Rule { prefix_lists: vec!["pl-1".into()], ..rule("-1", None, &[]) }], Reach::Some),
            (vec![rule("tcp", Some((80, 80)), anybody)], Reach::None),
            (vec![rule("udp", None, anybody)], Reach::None),
            (vec![rule("tcp", Some((443, 443)), &["::/0"])], Reach::Some),
            (vec![], Reach::None),
        ] {
            let group = SecurityGroup { outbound: rules, ..SecurityGroup::default() };
            assert_eq!(outward(&[&group]), reach, "{group:?}");
        }
    }

    #[test]
    fn an_endpoint_lets_in_by_group_or_by_address() {
        let of = |rule: Rule, cidrs: &[&str]| {
            let group = SecurityGroup { inbound: vec![rule], ..SecurityGroup::default() };
            inward(&[&group], &["sg-1".to_owned()], cidrs)
        };
        let by_group = |id: &str| Rule { groups: vec![id.to_owned()], ..rule("tcp", Some((443, 443)), &[]) };
        let subnets = ["10.0.1.0/24", "10.0.2.0/24"];
        assert_eq!(of(by_group("sg-1"), &subnets), Reach::All);
        assert_eq!(of(by_group("sg-2"), &subnets), Reach::Some);
        assert_eq!(of(rule("tcp", Some((443, 443)), &["10.0.0.0/16"]), &subnets), Reach::All);
        assert_eq!(of(rule("tcp", Some((443, 443)), &["10.0.1.0/24"]), &subnets), Reach::Some);
        assert_eq!(of(rule("-1", None, &["0.0.0.0/0"]), &subnets), Reach::All);
        assert_eq!(of(rule("tcp", Some((22, 22)), &["0.0.0.0/0"]), &subnets), Reach::None);
    }

    #[test]
    fn addresses_are_read_or_not() {
        let is = |outer: &str, inner: &str| Cidr::parse(outer).unwrap().contains(&Cidr::parse(inner).unwrap());
        assert!(is("0.0.0.0/0", "10.0.0.0/8") && is("10.1.2.3/16", "10.1.9.0/24") && is("10.0.0.0/8", "10.0.0.0/8"));
        assert!(!is("10.0.0.0/24", "10.0.0.0/16") && !is("10.1.0.0/16", "10.2.0.0/24"));
        for bad in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/33", "::/0", "10.0.0.0/-1"] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
    }
}
