//! VPC endpoints: how a task without a way out reaches what Fargate starts it with.
//! <https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html>

use super::groups::{Reach, inward};
use crate::aws::{Endpoint, EndpointKind, SecurityGroup};

/// What Fargate asks before a task runs, by the last part of an endpoint's service name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    EcrApi,
    EcrDkr,
    /// Where ECR keeps the layers.
    S3,
    Logs,
    SecretsManager,
    Ssm,
}

impl Service {
    pub fn name(self) -> &'static str {
        match self {
            Self::EcrApi => "ecr.api",
            Self::EcrDkr => "ecr.dkr",
            Self::S3 => "s3",
            Self::Logs => "logs",
            Self::SecretsManager => "secretsmanager",
            Self::Ssm => "ssm",
        }
    }
}

/// Where a task would stand, as an endpoint sees it.
pub(super) struct From<'a> {
    pub region: &'a str,
    pub route_table: &'a str,
    pub groups: &'a [String],
    pub cidr: Option<&'a str>,
}

/// Whether a service can be reached by an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Yes,
    /// And why.
    No(String),
    Perhaps(String),
}

/// `groups` are the endpoints' own; `None` where they could not be read.
pub(super) fn reached(
    service: Service,
    endpoints: &[&Endpoint],
    groups: Option<&[SecurityGroup]>,
    from: &From<'_>,
) -> Reached {
    let ending = format!(".{}.{}", from.region, service.name());
    let all = endpoints.iter().filter(|endpoint| endpoint.service.ends_with(&ending));
    let mut best = Reached::No(format!("there is no VPC endpoint for {}", service.name()));
    for endpoint in all {
        match by(service, endpoint, groups, from) {
            Reached::Yes => return Reached::Yes,
            Reached::No(_) if matches!(best, Reached::Perhaps(_)) => {}
            other => best = other,
        }
    }
    best
}

fn by(service: Service, endpoint: &Endpoint, groups: Option<&[SecurityGroup]>, from: &From<'_>) -> Reached {
    let Endpoint { id, kind, available, .. } = endpoint;
    let name = service.name();
    if !available {
        return Reached::No(format!("the endpoint {id} for {name} is not available yet"));
    }
    match kind {
        EndpointKind::Gateway { route_tables } if route_tables.iter().any(|table| table == from.route_table) => {
            Reached::Yes
        }
        EndpointKind::Gateway { .. } => {
            Reached::No(format!("the endpoint {id} for {name} does not serve the route table {}", from.route_table))
        }
        // Its own names are those of the endpoint; ECR sends to S3's.
        EndpointKind::Interface { private_dns: Some(false), .. } => {
            Reached::No(format!("the endpoint {id} for {name} has no private DNS name"))
        }
        EndpointKind::Interface { groups: of, private_dns } => let_in(id, name, of, *private_dns, groups, from),
        EndpointKind::Other(kind) => Reached::Perhaps(format!("the endpoint {id} for {name} is a {kind}")),
    }
}

fn let_in(
    id: &str,
    name: &str,
    of: &[String],
    private_dns: Option<bool>,
    groups: Option<&[SecurityGroup]>,
    from: &From<'_>,
) -> Reached {
    let Some(groups) = groups else {
        return Reached::Perhaps(format!("the security groups of the endpoint {id} for {name} cannot be read"));
    };
    let own: Vec<&SecurityGroup> = groups.iter().filter(|group| of.contains(&group.id)).collect();
    let which = || format!("the security group of the endpoint {id} for {name} ({})", of.join(", "));
    match inward(&own, from.groups, from.cidr.as_slice()) {
        _ if own.len() < of.len() || of.is_empty() => Reached::Perhaps(format!("{} is not seen", which())),
        Reach::None => Reached::No(format!("{} lets nobody in on port 443", which())),
        Reach::Some => Reached::Perhaps(format!("{} lets others in on port 443, and perhaps the task", which())),
        Reach::All if private_dns.is_none() => {
            Reached::Perhaps(format!("whether the endpoint {id} for {name} has a private DNS name is not told"))
        }
        Reach::All => Reached::Yes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Rule;

    fn endpoint(service: &str, kind: EndpointKind) -> Endpoint {
        let service = format!("com.amazonaws.eu-west-1.{service}");
        Endpoint { id: "vpce-1".into(), vpc: "vpc-1".into(), service, kind, available: true }
    }

    fn interface(private_dns: Option<bool>, group: &str) -> EndpointKind {
        EndpointKind::Interface { private_dns, groups: vec![group.to_owned()] }
    }

    fn group(id: &str, cidr: &str) -> SecurityGroup {
        let rule = Rule { protocol: "tcp".into(), cidrs: vec![cidr.to_owned()], ..Rule::default() };
        SecurityGroup { id: id.to_owned(), inbound: vec![rule], ..SecurityGroup::default() }
    }

    #[track_caller]
    fn check(service: Service, endpoints: &[Endpoint], wanted: Result<&str, &str>) {
        let groups = [
            group("sg-open", "10.0.0.0/16"),
            group("sg-other", "192.168.0.0/16"),
            SecurityGroup { id: "sg-shut".into(), ..SecurityGroup::default() },
        ];
        let task = ["sg-1".to_owned()];
        let from = From { region: "eu-west-1", route_table: "rtb-1", groups: &task, cidr: Some("10.0.1.0/24") };
        let endpoints: Vec<&Endpoint> = endpoints.iter().collect();
        match (reached(service, &endpoints, Some(&groups), &from), wanted) {
            (Reached::Yes, Ok("yes")) => {}
            (Reached::Perhaps(why), Ok(words)) | (Reached::No(why), Err(words)) => {
                assert!(why.contains(words), "{why}");
            }
            (other, wanted) => panic!("{other:?} and not {wanted:?}"),
        }
    }

    #[test]
    fn an_endpoint_serves_where_it_is_open_named_and_there() {
        use Service::{EcrApi, EcrDkr, Logs, S3};
        let good = endpoint("ecr.api", interface(Some(true), "sg-open"));
        check(EcrApi, std::slice::from_ref(&good), Ok("yes"));
        check(EcrDkr, std::slice::from_ref(&good), Err("there is no VPC endpoint for ecr.dkr"));
        check(EcrApi, &[Endpoint { available: false, ..good.clone() }], Err("not available yet"));
        check(Logs, &[endpoint("logs", interface(Some(false), "sg-open"))], Err("has no private DNS name"));
        check(Logs, &[endpoint("logs", interface(None, "sg-open"))], Ok("is not told"));
        check(Logs, &[endpoint("logs", interface(Some(true), "sg-shut"))], Err("(sg-shut) lets nobody in on port 443"));
        check(Logs, &[endpoint("logs", interface(Some(true), "sg-other"))], Ok("perhaps the task"));
        check(Logs, &[endpoint("logs", interface(Some(true), "sg-gone"))], Ok("is not seen"));
        let gateway = |table: &str| endpoint("s3", EndpointKind::Gateway { route_tables: vec![table.to_owned()] });
        check(S3, &[gateway("rtb-1")], Ok("yes"));
        check(S3, &[gateway("rtb-2")], Err("does not serve the route table rtb-1"));
        check(S3, &[gateway("rtb-2"), gateway("rtb-1")], Ok("yes"));
        check(S3, &[endpoint("s3express", EndpointKind::Other("x".into()))], Err("no VPC endpoint for s3"));
    }

    #[test]
    fn a_service_of_another_region_is_another() {
        let far = Endpoint { service: "com.amazonaws.us-east-1.logs".into(), ..endpoint("logs", interface(None, "x")) };
        check(Service::Logs, &[far], Err("there is no VPC endpoint for logs"));
    }
}
