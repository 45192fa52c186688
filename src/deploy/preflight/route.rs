//! Which way a packet takes that leaves a subnet for the world.

use crate::aws::{Route, RouteTable, Subnet, Via};

const ANYWHERE: &str = "0.0.0.0/0";

/// A subnet's way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WayOut {
    /// By what.
    Open(String),
    /// An internet gateway, which serves public addresses alone.
    NeedsPublicIp(String),
    /// By something whose other side is not seen from here.
    Beyond(String),
    /// And why.
    Closed(String),
}

/// The table that a subnet goes by: its own, else its VPC's main one.
pub(super) fn table_of<'a>(subnet: &Subnet, tables: &'a [RouteTable]) -> Option<&'a RouteTable> {
    let of_vpc = || tables.iter().filter(|table| table.vpc == subnet.vpc);
    of_vpc().find(|table| table.subnets.contains(&subnet.id)).or_else(|| of_vpc().find(|table| table.main))
}

pub(super) fn way_out(table: &RouteTable, public_ip: bool) -> WayOut {
    let id = &table.id;
    let Some(route) = table.routes.iter().find(|route| route.to == ANYWHERE) else {
        return without_default(table);
    };
    match &route.via {
        via if route.blackhole => {
            WayOut::Closed(format!("the route {ANYWHERE} of {id} ends in a blackhole: {} is gone", target(via)))
        }
        Via::InternetGateway(gateway) if public_ip => WayOut::Open(format!("{gateway}, with a public IP")),
        Via::InternetGateway(gateway) => WayOut::NeedsPublicIp(gateway.clone()),
        Via::Nat(nat) => WayOut::Open(nat.clone()),
        Via::Local => WayOut::Closed(format!("the route {ANYWHERE} of {id} stays in the VPC")),
        Via::Other(other) => WayOut::Beyond(format!("{other}: what is behind it is not seen from here")),
    }
}

fn without_default(table: &RouteTable) -> WayOut {
    let id = &table.id;
    let leaves = |route: &&Route| {
        let endpoint = matches!(&route.via, Via::Other(id) if id.starts_with("vpce-"));
        // Another family's routes are of no use to an address of IPv4.
        !(route.via == Via::Local || endpoint || route.blackhole || route.to.contains("::"))
    };
    match table.routes.iter().find(leaves) {
        Some(route) => {
            let (to, via) = (&route.to, target(&route.via));
            WayOut::Beyond(format!("{id} has no route {ANYWHERE}, and {to} by {via}: whether AWS is there is not seen"))
        }
        None => WayOut::Closed(format!("{id} has no route {ANYWHERE}")),
    }
}

fn target(via: &Via) -> &str {
    match via {
        Via::Local => "local",
        Via::InternetGateway(id) | Via::Nat(id) | Via::Other(id) => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(id: &str, main: bool, subnets: &[&str], routes: &[(&str, Via, bool)]) -> RouteTable {
        RouteTable {
            id: id.to_owned(),
            vpc: "vpc-1".to_owned(),
            main,
            subnets: subnets.iter().map(|&id| id.to_owned()).collect(),
            routes: routes
                .iter()
                .map(|(to, via, blackhole)| Route { to: (*to).to_owned(), via: via.clone(), blackhole: *blackhole })
                .collect(),
        }
    }

    #[test]
    fn a_subnet_goes_by_its_own_table_else_by_the_main_one() {
        let tables = [
            RouteTable { vpc: "vpc-2".into(), ..table("rtb-other", true, &["subnet-1"], &[]) },
            table("rtb-main", true, &[], &[]),
            table("rtb-own", false, &["subnet-1"], &[]),
        ];
        let of = |id: &str| {
            let subnet = Subnet { id: id.into(), vpc: "vpc-1".into(), cidr: None };
            table_of(&subnet, &tables).map(|table| table.id.as_str())
        };
        assert_eq!((of("subnet-1"), of("subnet-2")), (Some("rtb-own"), Some("rtb-main")));
        assert_eq!(table_of(&Subnet { id: "s".into(), vpc: "vpc-3".into(), cidr: None }, &tables), None);
    }

    #[test]
    fn a_way_out_is_told_by_the_route_to_anywhere() {
        let igw = || Via::InternetGateway("igw-1".into());
        let other = |id: &str| Via::Other(id.to_owned());
        let local = ("10.0.0.0/16", Via::Local, false);
        let check = |routes: &[(&str, Via, bool)], public: bool, words: &str| {
            let out = way_out(&table("rtb-1", true, &[], routes), public);
            assert!(format!("{out:?}").starts_with(words), "{out:?} and not {words}");
        };
        check(&[local.clone(), (ANYWHERE, igw(), false)], true, "Open(\"igw-1, with a public IP");
        check(&[local.clone(), (ANYWHERE, igw(), false)], false, "NeedsPublicIp(\"igw-1");
        check(&[(ANYWHERE, Via::Nat("nat-1".into()), false)], false, "Open(\"nat-1");
        check(
            &[(ANYWHERE, Via::Nat("nat-1".into()), true)],
            false,
            "Closed(\"the route 0.0.0.0/0 of rtb-1 ends in a black",
        );
        check(&[(ANYWHERE, other("tgw-1"), false)], true, "Beyond(\"tgw-1: ");
        check(std::slice::from_ref(&local), true, "Closed(\"rtb-1 has no route 0.0.0.0/0\")");
        check(&[local.clone(), ("::/0", igw(), false)], true, "Closed(");
        check(&[local.clone(), ("pl-1", other("vpce-1"), false)], true, "Closed(");
        check(&[local, ("52.0.0.0/8", other("tgw-1"), false)], true, "Beyond(\"rtb-1 has no route 0.0.0.0/0, and 52.");
    }
}
