//! The network that a task would stand in: whether it is there, hangs together, and has a way to what Fargate starts the
//! task with. The commonest reason for a task that never starts.

use std::collections::BTreeSet;

use super::check::{Check, Verdict};
use super::endpoints::{From, Reached, Service, reached};
use super::groups::{Reach, outward};
use super::route::{WayOut, table_of, way_out};
use crate::aws::{AwsError, Cloud, Endpoint, EndpointKind, RouteTable, SecurityGroup, Subnet};
use crate::deploy::Network;

/// What EC2 says of it, call by call; `None` was not asked, for want of a VPC.
#[derive(Debug)]
pub(super) struct Seen {
    subnets: Result<Vec<Subnet>, AwsError>,
    groups: Result<Vec<SecurityGroup>, AwsError>,
    tables: Option<Result<Vec<RouteTable>, AwsError>>,
    endpoints: Option<Result<Vec<Endpoint>, AwsError>>,
    /// Those of the endpoints.
    endpoint_groups: Option<Result<Vec<SecurityGroup>, AwsError>>,
}

/// What is to be reached, and who says what is there.
pub(super) struct Wish<'a> {
    pub region: &'a str,
    pub network: &'a Network,
    pub services: &'a BTreeSet<Service>,
    /// An emulator's VPC lacks the routes that a real one has.
    pub is_amazons: bool,
}

pub(super) async fn look(cloud: &Cloud, network: &Network) -> Seen {
    let (subnets, groups) =
        tokio::join!(cloud.ec2.subnets(&network.subnets), cloud.ec2.security_groups(&network.security_groups));
    let vpc = subnets.as_ref().ok().and_then(|found| found.first()).map(|subnet| subnet.vpc.clone());
    let Some(vpc) = vpc else { return Seen { subnets, groups, tables: None, endpoints: None, endpoint_groups: None } };
    let (tables, endpoints) = tokio::join!(cloud.ec2.route_tables(&vpc), cloud.ec2.endpoints(&vpc));
    let of_endpoints = |endpoint: &Endpoint| match &endpoint.kind {
        EndpointKind::Interface { groups, .. } if endpoint.vpc == vpc => groups.clone(),
        _ => Vec::new(),
    };
    let ids: BTreeSet<String> = endpoints.iter().flatten().flat_map(of_endpoints).collect();
    // As many values as a filter takes.
    let ids: Vec<String> = ids.into_iter().take(200).collect();
    let endpoint_groups = if ids.is_empty() { None } else { Some(cloud.ec2.security_groups(&ids).await) };
    Seen { subnets, groups, tables: Some(tables), endpoints: Some(endpoints), endpoint_groups }
}

pub(super) fn judge(wish: &Wish<'_>, seen: &Seen) -> Vec<Check> {
    let mut checks = vec![subnets(wish, seen), security_groups(wish, seen)];
    let mut routes = routes(wish, seen);
    // A task is put into any of them: where one has a way out, it may end well.
    if wish.is_amazons && routes.iter().all(|route| route.verdict == Verdict::Ng) {
        routes.iter_mut().for_each(|route| route.stops = true);
    }
    checks.extend(routes);
    checks.extend(egress(wish, seen));
    checks
}

fn subnets(wish: &Wish<'_>, seen: &Seen) -> Check {
    let name = "subnets";
    let found = match &seen.subnets {
        Ok(found) => found,
        Err(error) => return not_seen(name, error),
    };
    let missing = missing(&wish.network.subnets, found.iter().map(|subnet| &subnet.id));
    if !missing.is_empty() {
        let mend = format!("name subnets of this account in {} (SUBNET1, SUBNET2, --subnet, `subnets`)", wish.region);
        return Check::ng(name, format!("there is no {}", missing.join(", ")), Some(mend)).stopping();
    }
    let vpcs: BTreeSet<&str> = found.iter().map(|subnet| subnet.vpc.as_str()).collect();
    match Vec::from_iter(vpcs)[..] {
        [one] => Check::ok(name, format!("{} in {one}", wish.network.subnets.join(", "))),
        ref many => {
            let says = format!("they are of several VPCs: {}", many.join(", "));
            Check::ng(name, says, Some("a task stands in one VPC: name subnets of one".to_owned())).stopping()
        }
    }
}

fn security_groups(wish: &Wish<'_>, seen: &Seen) -> Check {
    let name = "security groups";
    let found = match &seen.groups {
        Ok(found) => found,
        Err(error) => return not_seen(name, error),
    };
    let ids = &wish.network.security_groups;
    let missing = missing(ids, found.iter().map(|group| &group.id));
    if !missing.is_empty() {
        let mend = "name one of the subnets' VPC (SECURITYGROUP, --security-group, `security_groups`)".to_owned();
        return Check::ng(name, format!("there is no {}", missing.join(", ")), Some(mend)).stopping();
    }
    let vpc = seen.subnets.as_ref().ok().and_then(|subnets| subnets.first()).map(|subnet| subnet.vpc.as_str());
    let Some(vpc) = vpc else {
        return Check::unknown(
            name,
            format!("{} is there; whether in the subnets' VPC is not seen", ids.join(", ")),
            None,
        );
    };
    let elsewhere = || found.iter().filter(|group| ids.contains(&group.id) && group.vpc != vpc);
    if elsewhere().next().is_some() {
        let all: Vec<String> = elsewhere().map(|group| format!("{} is in {}", group.id, group.vpc)).collect();
        let mend = format!("name a security group of {vpc} (SECURITYGROUP, --security-group, `security_groups`)");
        return Check::ng(name, format!("{}, and the subnets are in {vpc}", all.join(", ")), Some(mend)).stopping();
    }
    Check::ok(name, format!("{} in {vpc}", ids.join(", ")))
}

/// A line for each subnet.
fn routes(wish: &Wish<'_>, seen: &Seen) -> Vec<Check> {
    let Ok(found) = &seen.subnets else { return Vec::new() };
    let ours = found.iter().filter(|subnet| wish.network.subnets.contains(&subnet.id));
    ours.map(|subnet| {
        let name = format!("route of {}", subnet.id);
        let tables = match &seen.tables {
            Some(Ok(tables)) => tables,
            Some(Err(error)) => return not_seen(&name, error),
            None => return Check::unknown(name, "its VPC is not known", None),
        };
        match table_of(subnet, tables) {
            Some(table) if subnet.cidr.is_some() => route(wish, seen, name, subnet, table),
            Some(_) => Check::unknown(name, "it has addresses of IPv6 alone", None),
            None => Check::unknown(name, "its route table is not seen", None),
        }
    })
    .collect()
}

fn route(wish: &Wish<'_>, seen: &Seen, name: String, subnet: &Subnet, table: &RouteTable) -> Check {
    let (why, mend) = match way_out(table, wish.network.assign_public_ip) {
        WayOut::Open(by) => return Check::ok(name, format!("to the internet by {by}")),
        WayOut::Beyond(what) => return Check::unknown(name, what, None),
        WayOut::NeedsPublicIp(gateway) => (
            format!("{gateway} serves tasks with a public IP alone, and the task has none"),
            "give it one (--public-ip, `assign_public_ip = true`), or a NAT gateway",
        ),
        WayOut::Closed(why) => (why, "add a route 0.0.0.0/0 to an internet gateway or a NAT gateway"),
    };
    let endpoints = match &seen.endpoints {
        Some(Ok(endpoints)) => endpoints,
        Some(Err(error)) => {
            let unseen = not_seen(&name, error);
            return Check { says: format!("{why}, and VPC endpoints are not seen: {}", unseen.says), ..unseen };
        }
        None => return Check::unknown(name, why, None),
    };
    let here: Vec<&Endpoint> = endpoints.iter().filter(|endpoint| endpoint.vpc == subnet.vpc).collect();
    let groups = match &seen.endpoint_groups {
        Some(groups) => groups.as_deref().ok(),
        None => Some(&[][..]),
    };
    let (region, of) = (wish.region, &wish.network.security_groups);
    let from = From { region, route_table: &table.id, groups: of, cidr: subnet.cidr.as_deref() };
    let (mut lacks, mut doubts) = (Vec::new(), Vec::new());
    for service in wish.services {
        match reached(*service, &here, groups, &from) {
            Reached::Yes => {}
            Reached::No(why) => lacks.push(why),
            Reached::Perhaps(why) => doubts.push(why),
        }
    }
    let all = wish.services.iter().map(|service| service.name()).collect::<Vec<_>>().join(", ");
    if !lacks.is_empty() {
        let mend = format!("{mend}; or VPC endpoints for {all}, with private DNS and port 443 open to the task");
        return Check::ng(name, format!("{why}, and {}", lacks.join(", and ")), Some(mend));
    }
    if !doubts.is_empty() {
        return Check::unknown(name, doubts.join("; "), None);
    }
    Check::ok(name, format!("by VPC endpoints for {all}"))
}

/// Whether the task's groups let it ask for anything at all.
fn egress(wish: &Wish<'_>, seen: &Seen) -> Option<Check> {
    let name = "egress";
    let found = seen.groups.as_ref().ok()?;
    let ids = &wish.network.security_groups;
    let own: Vec<&SecurityGroup> = found.iter().filter(|group| ids.contains(&group.id)).collect();
    if own.is_empty() {
        return None;
    }
    let of = ids.join(", ");
    Some(match outward(&own) {
        Reach::All => Check::ok(name, format!("port 443 is open by {of}")),
        Reach::Some => Check::unknown(
            name,
            format!("{of} opens port 443 to some addresses, lists or groups; whether AWS is among them is not seen"),
            None,
        ),
        Reach::None => {
            let mend = "allow TCP 443 outward to 0.0.0.0/0, or to the VPC endpoints".to_owned();
            Check::ng(name, format!("{of} lets nothing out on port 443"), Some(mend)).stopping()
        }
    })
}

fn not_seen(name: &str, error: &AwsError) -> Check {
    Check::unknown(name, error.to_string(), error.hint())
}

fn missing<'a>(wanted: &'a [String], found: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let found: BTreeSet<&String> = found.collect();
    wanted.iter().filter(|id| !found.contains(id)).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{Kind, Route, Rule, Via};

    fn strings(all: &[&str]) -> Vec<String> {
        all.iter().map(|&text| text.to_owned()).collect()
    }

    fn subnet(id: &str, vpc: &str) -> Subnet {
        Subnet { id: id.into(), vpc: vpc.into(), cidr: Some("10.0.0.0/24".into()) }
    }

    fn group(id: &str, vpc: &str, cidr: &str) -> SecurityGroup {
        let rule = Rule { protocol: "-1".into(), cidrs: strings(&[cidr]), ..Rule::default() };
        SecurityGroup { id: id.into(), vpc: vpc.into(), inbound: vec![], outbound: vec![rule] }
    }

    fn table(subnets: &[&str], via: Option<Via>) -> RouteTable {
        let routes = via.map(|via| Route { to: "0.0.0.0/0".into(), via, blackhole: false }).into_iter().collect();
        RouteTable {
            id: "rtb-1".into(),
            vpc: "vpc-1".into(),
            main: subnets.is_empty(),
            subnets: strings(subnets),
            routes,
        }
    }

    /// A network in which all is well.
    fn good() -> Seen {
        Seen {
            subnets: Ok(vec![subnet("subnet-1", "vpc-1"), subnet("subnet-2", "vpc-1")]),
            groups: Ok(vec![group("sg-1", "vpc-1", "0.0.0.0/0")]),
            tables: Some(Ok(vec![table(&[], Some(Via::InternetGateway("igw-1".into())))])),
            endpoints: Some(Ok(vec![])),
            endpoint_groups: None,
        }
    }

    fn denied() -> AwsError {
        let (call, kind) = ("ec2:DescribeRouteTables", Kind::Denied);
        AwsError { call, who: None, code: None, message: "no".into(), kind }
    }

    fn judged(seen: &Seen, change: impl FnOnce(&mut Network), is_amazons: bool) -> Vec<String> {
        let mut network = Network {
            subnets: strings(&["subnet-1", "subnet-2"]),
            security_groups: strings(&["sg-1"]),
            assign_public_ip: true,
        };
        change(&mut network);
        let services = BTreeSet::from([Service::EcrApi, Service::S3]);
        let wish = Wish { region: "eu-west-1", network: &network, services: &services, is_amazons };
        let line = |check: &Check| {
            let Check { name, verdict, says, mend: _, stops } = check;
            format!("{verdict:?}{} {name}: {says}", if *stops { "!" } else { "" })
        };
        judge(&wish, seen).iter().map(line).collect()
    }

    #[track_caller]
    fn check(seen: &Seen, change: impl FnOnce(&mut Network), wanted: &[&str]) {
        let lines = judged(seen, change, true);
        let bad: Vec<&String> = lines.iter().filter(|line| !line.starts_with("Ok ")).collect();
        assert_eq!(bad, wanted, "{lines:#?}");
    }

    #[test]
    fn a_good_network_is_told_line_by_line() {
        let wanted = [
            "Ok subnets: subnet-1, subnet-2 in vpc-1",
            "Ok security groups: sg-1 in vpc-1",
            "Ok route of subnet-1: to the internet by igw-1, with a public IP",
            "Ok route of subnet-2: to the internet by igw-1, with a public IP",
            "Ok egress: port 443 is open by sg-1",
        ];
        assert_eq!(judged(&good(), |_| {}, true), wanted);
    }

    #[test]
    fn what_is_not_there_or_elsewhere_stops_the_road() {
        check(&good(), |network| network.subnets.push("subnet-3".into()), &["Ng! subnets: there is no subnet-3"]);
        check(
            &Seen { subnets: Ok(vec![subnet("subnet-1", "vpc-1"), subnet("subnet-2", "vpc-2")]), ..good() },
            |network| network.subnets.truncate(2),
            &[
                "Ng! subnets: they are of several VPCs: vpc-1, vpc-2",
                "Unknown route of subnet-2: its route table is not seen",
            ],
        );
        check(&Seen { groups: Ok(vec![]), ..good() }, |_| {}, &["Ng! security groups: there is no sg-1"]);
        check(
            &Seen { groups: Ok(vec![group("sg-1", "vpc-2", "0.0.0.0/0")]), ..good() },
            |_| {},
            &["Ng! security groups: sg-1 is in vpc-2, and the subnets are in vpc-1"],
        );
        check(
            &Seen { groups: Ok(vec![SecurityGroup { outbound: vec![], ..group("sg-1", "vpc-1", "") }]), ..good() },
            |_| {},
            &["Ng! egress: sg-1 lets nothing out on port 443"],
        );
    }

    #[test]
    fn a_way_out_that_is_missing_stops_the_road_only_where_no_subnet_has_one() {
        let closed = |id: &str| {
            format!(
                "route of {id}: rtb-1 has no route 0.0.0.0/0, and there is no VPC endpoint for ecr.api, and there is no VPC endpoint for s3"
            )
        };
        let none = Seen { tables: Some(Ok(vec![table(&[], None)])), ..good() };
        let all = ["subnet-1", "subnet-2"].map(|id| format!("Ng! {}", closed(id)));
        check(&none, |_| {}, &all.each_ref().map(String::as_str));
        let nat = RouteTable { id: "rtb-2".into(), ..table(&["subnet-2"], Some(Via::Nat("nat-1".into()))) };
        let one = Seen { tables: Some(Ok(vec![table(&[], None), nat])), ..good() };
        check(&one, |_| {}, &[&format!("Ng {}", closed("subnet-1"))]);
        // An emulator is not held to it.
        let lines = judged(&none, |_| {}, false);
        assert!(lines.iter().any(|line| *line == format!("Ng {}", closed("subnet-1"))), "{lines:#?}");
        let private = judged(&good(), |network| network.assign_public_ip = false, true);
        assert!(
            private[2].starts_with("Ng! route of subnet-1: igw-1 serves tasks with a public IP alone"),
            "{private:?}"
        );
    }

    #[test]
    fn endpoints_are_a_way_too() {
        let endpoint = |service: &str, kind| Endpoint {
            id: format!("vpce-{service}"),
            vpc: "vpc-1".into(),
            service: format!("com.amazonaws.eu-west-1.{service}"),
            kind,
            available: true,
        };
        let inbound = group("sg-9", "vpc-1", "10.0.0.0/16").outbound;
        let seen = Seen {
            tables: Some(Ok(vec![table(&[], None)])),
            endpoints: Some(Ok(vec![
                endpoint("ecr.api", EndpointKind::Interface { private_dns: Some(true), groups: strings(&["sg-9"]) }),
                endpoint("s3", EndpointKind::Gateway { route_tables: strings(&["rtb-1"]) }),
            ])),
            endpoint_groups: Some(Ok(vec![SecurityGroup { inbound, ..group("sg-9", "vpc-1", "") }])),
            ..good()
        };
        check(&seen, |_| {}, &[]);
        assert_eq!(judged(&seen, |_| {}, true)[2], "Ok route of subnet-1: by VPC endpoints for ecr.api, s3");
        let unread = Seen { endpoint_groups: Some(Err(denied())), ..seen };
        let doubt = "the security groups of the endpoint vpce-ecr.api for ecr.api cannot be read";
        let lines = ["subnet-1", "subnet-2"].map(|id| format!("Unknown route of {id}: {doubt}"));
        check(&unread, |_| {}, &lines.each_ref().map(String::as_str));
    }

    #[test]
    fn what_may_not_be_looked_at_is_unknown() {
        let seen = Seen { tables: Some(Err(denied())), ..good() };
        let words = "ec2:DescribeRouteTables failed: no";
        let lines = ["subnet-1", "subnet-2"].map(|id| format!("Unknown route of {id}: {words}"));
        check(&seen, |_| {}, &lines.each_ref().map(String::as_str));
        let blind = Seen {
            subnets: Err(denied()),
            groups: Err(denied()),
            tables: None,
            endpoints: None,
            endpoint_groups: None,
        };
        let lines = [format!("Unknown subnets: {words}"), format!("Unknown security groups: {words}")];
        check(&blind, |_| {}, &lines.each_ref().map(String::as_str));
    }
}
