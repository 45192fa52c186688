//! EC2: the network that a task stands in. Four calls that read, made by hand: the SDK's crate for EC2 is half an hour of
//! compiling. <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html>

use std::fmt::Write;
use std::sync::Arc;

use aws_config::SdkConfig;

use super::by_hand::{Question, ask};
use super::session::variable;
use super::xml::Element;
use super::{AwsError, Caller};

const VERSION: &str = "2016-11-15";

/// The longest page that is read, in bytes; a full page of route tables comes near a tenth of it.
const PAGE_LIMIT: usize = 8 << 20;

/// More pages than the quotas of a VPC fill.
const PAGES: usize = 10;

/// The calls of EC2 that tell of networks; none changes anything. Made by hand, as XML over HTTP: see `by_hand`.
#[derive(Clone, Debug)]
pub struct Ec2 {
    config: SdkConfig,
    endpoint: String,
    region: String,
    who: Arc<Caller>,
}

/// A subnet that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub id: String,
    pub vpc: String,
    /// Its addresses; none where it has IPv6 alone.
    pub cidr: Option<String>,
}

/// A route table, and whom it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    pub id: String,
    pub vpc: String,
    /// It serves the subnets of its VPC that have none of their own.
    pub main: bool,
    pub subnets: Vec<String>,
    pub routes: Vec<Route>,
}

/// One line of a route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Addresses, or a list of them.
    pub to: String,
    pub via: Via,
    /// What it leads to is gone.
    pub blackhole: bool,
}

/// What a route leads to, with its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    Local,
    InternetGateway(String),
    Nat(String),
    /// A transit gateway, an instance, a peer…
    Other(String),
}

/// A security group and its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityGroup {
    pub id: String,
    pub vpc: String,
    pub inbound: Vec<Rule>,
    pub outbound: Vec<Rule>,
}

/// What may pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `tcp`, a number, or `-1` for all.
    pub protocol: String,
    /// From and to; none for all.
    pub ports: Option<(i64, i64)>,
    /// Of the other side, as all that follows.
    pub cidrs: Vec<String>,
    pub groups: Vec<String>,
    pub prefix_lists: Vec<String>,
}

/// A VPC endpoint: how a subnet without a way to the internet reaches a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub id: String,
    pub vpc: String,
    /// `com.amazonaws.eu-west-1.ecr.api`
    pub service: String,
    pub kind: EndpointKind,
    pub available: bool,
}

/// Which of the two kinds that matter for a task an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// Serves the subnets of these route tables.
    Gateway {
        route_tables: Vec<String>,
    },
    Interface {
        /// Whether the service's own name leads to it; not every emulator says.
        private_dns: Option<bool>,
        groups: Vec<String>,
    },
    Other(String),
}

impl Ec2 {
    pub(super) fn new(config: &SdkConfig, region: &str, who: &Arc<Caller>) -> Self {
        let domain = if who.partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let given = variable("AWS_ENDPOINT_URL_EC2").or_else(|| config.endpoint_url().map(str::to_owned));
        Self {
            config: config.clone(),
            endpoint: given.unwrap_or_else(|| format!("https://ec2.{region}.{domain}")),
            region: region.to_owned(),
            who: who.clone(),
        }
    }

    /// Whether AWS itself is asked, and no emulator.
    pub fn is_amazons(&self) -> bool {
        let host = self.endpoint.split("://").nth(1).unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
        [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|domain| host.ends_with(domain))
    }

    /// Those of these that are there.
    pub async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, AwsError> {
        let read = |item: &Element| {
            Some(Subnet {
                id: item.text_of("subnetId")?.to_owned(),
                vpc: item.text_of("vpcId")?.to_owned(),
                cidr: item.text_of("cidrBlock").map(str::to_owned),
            })
        };
        self.all("ec2:DescribeSubnets", "subnetSet", ("subnet-id", ids), read).await
    }

    /// Those of these that are there, and perhaps others.
    pub async fn security_groups(&self, ids: &[String]) -> Result<Vec<SecurityGroup>, AwsError> {
        let read = |item: &Element| {
            Some(SecurityGroup {
                id: item.text_of("groupId")?.to_owned(),
                vpc: item.text_of("vpcId").unwrap_or_default().to_owned(),
                inbound: item.items("ipPermissions").map(rule).collect::<Option<_>>()?,
                outbound: item.items("ipPermissionsEgress").map(rule).collect::<Option<_>>()?,
            })
        };
        self.all("ec2:DescribeSecurityGroups", "securityGroupInfo", ("group-id", ids), read).await
    }

    pub async fn route_tables(&self, vpc: &str) -> Result<Vec<RouteTable>, AwsError> {
        let read = |item: &Element| {
            Some(RouteTable {
                id: item.text_of("routeTableId")?.to_owned(),
                vpc: item.text_of("vpcId")?.to_owned(),
                main: item.items("associationSet").any(|one| one.text_of("main") == Some("true")),
                subnets: item.texts("associationSet", Some("subnetId")),
                routes: item.items("routeSet").map(route).collect::<Option<_>>()?,
            })
        };
        self.all("ec2:DescribeRouteTables", "routeTableSet", ("vpc-id", &[vpc.to_owned()]), read).await
    }

    /// Of this VPC, and perhaps others.
    pub async fn endpoints(&self, vpc: &str) -> Result<Vec<Endpoint>, AwsError> {
        let read = |item: &Element| {
            let kind = match item.text_of("vpcEndpointType")? {
                "Gateway" => EndpointKind::Gateway { route_tables: item.texts("routeTableIdSet", None) },
                "Interface" => EndpointKind::Interface {
                    private_dns: item.text_of("privateDnsEnabled").map(|text| text == "true"),
                    groups: item.texts("groupSet", Some("groupId")),
                },
                other => EndpointKind::Other(other.to_owned()),
            };
            Some(Endpoint {
                id: item.text_of("vpcEndpointId")?.to_owned(),
                vpc: item.text_of("vpcId")?.to_owned(),
                service: item.text_of("serviceName")?.to_owned(),
                available: item.text_of("state").is_some_and(|state| state.eq_ignore_ascii_case("available")),
                kind,
            })
        };
        self.all("ec2:DescribeVpcEndpoints", "vpcEndpointSet", ("vpc-id", &[vpc.to_owned()]), read).await
    }

    /// The items of all pages that a filter lets through. One that cannot be read spoils the answer: what is not known of
    /// a network is not to be taken for what it has not.
    async fn all<T>(
        &self,
        call: &'static str,
        set: &str,
        (filter, values): (&str, &[String]),
        read: impl Fn(&Element) -> Option<T>,
    ) -> Result<Vec<T>, AwsError> {
        let action = call.split(':').next_back().unwrap_or(call);
        let mut form = format!("Action={action}&Version={VERSION}&Filter.1.Name={filter}");
        for (index, value) in values.iter().enumerate() {
            // No `write!` to a string fails.
            let _ = write!(form, "&Filter.1.Value.{}={}", index + 1, percent_encoded(value));
        }
        let (mut found, mut page) = (Vec::new(), form.clone());
        for _ in 0..PAGES {
            let answer = self.page(call, &page).await?;
            for item in answer.items(set) {
                found.push(read(item).ok_or_else(|| AwsError::garbled(call, Some(self.who.clone()), set))?);
            }
            match answer.text_of("nextToken") {
                None => return Ok(found),
                Some(token) => page = format!("{form}&NextToken={}", percent_encoded(token)),
            }
        }
        Err(AwsError::garbled(call, Some(self.who.clone()), "end"))
    }

    async fn page(&self, call: &'static str, form: &str) -> Result<Element, AwsError> {
        let question = Question {
            call,
            endpoint: &self.endpoint,
            region: &self.region,
            service: "ec2",
            headers: &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
            body: form.as_bytes(),
            limit: PAGE_LIMIT,
        };
        let known = |error| AwsError { who: Some(self.who.clone()), ..error };
        let answer = ask(&self.config, &question).await.map_err(known)?;
        let said = str::from_utf8(&answer.body).ok().and_then(Element::parse);
        match said {
            Some(said) if answer.is_success() => Ok(said),
            Some(said) => {
                let error = said.child("Errors").and_then(|errors| errors.child("Error")).unwrap_or(&said);
                let (code, message) = (error.text_of("Code"), error.text_of("Message").unwrap_or_default());
                let code = code.ok_or_else(|| AwsError::garbled(call, Some(self.who.clone()), "code of an error"))?;
                Err(known(AwsError::refused(call, code, message)))
            }
            None => {
                let what = format!("XML; its status is {}", answer.status);
                Err(AwsError::garbled(call, Some(self.who.clone()), &what))
            }
        }
    }
}

fn route(item: &Element) -> Option<Route> {
    let to = ["destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId"];
    let others = [
        "transitGatewayId",
        "vpcPeeringConnectionId",
        "egressOnlyInternetGatewayId",
        "networkInterfaceId",
        "instanceId",
        "localGatewayId",
        "carrierGatewayId",
        "coreNetworkArn",
        "odbNetworkArn",
    ];
    let via = match (item.text_of("gatewayId"), item.text_of("natGatewayId")) {
        (Some("local"), _) => Via::Local,
        (Some(id), _) if id.starts_with("igw-") => Via::InternetGateway(id.to_owned()),
        (Some(id), _) => Via::Other(id.to_owned()),
        (None, Some(id)) => Via::Nat(id.to_owned()),
        // What this version does not know leads somewhere, too.
        (None, None) => {
            Via::Other(others.iter().find_map(|name| item.text_of(name)).unwrap_or("something else").to_owned())
        }
    };
    Some(Route {
        to: to.iter().find_map(|name| item.text_of(name))?.to_owned(),
        via,
        blackhole: item.text_of("state") == Some("blackhole"),
    })
}

fn rule(item: &Element) -> Option<Rule> {
    let port = |name| item.text_of(name).map(str::parse::<i64>).transpose().ok();
    let mut cidrs = item.texts("ipRanges", Some("cidrIp"));
    cidrs.extend(item.texts("ipv6Ranges", Some("cidrIpv6")));
    Some(Rule {
        protocol: item.text_of("ipProtocol")?.to_owned(),
        // `-1` is all of them, as none is.
        ports: port("fromPort")?.zip(port("toPort")?).filter(|(from, _)| *from >= 0),
        cidrs,
        groups: item.texts("groups", Some("groupId")),
        prefix_lists: item.texts("prefixListIds", Some("prefixListId")),
    })
}

/// All but the unreserved characters (RFC 3986, 2.3), as a form takes them.
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // No `write!` to a string fails.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Kind;
    use crate::aws::testing::{ask, says};

    async fn asked<T>(answer: &str, question: impl AsyncFnOnce(Ec2) -> T) -> (T, String) {
        let who = Arc::new(Caller::parse("arn:aws:iam::123456789012:user/ann", "123456789012").unwrap());
        ask(answer, async |config| question(Ec2::new(&config, "eu-west-1", &who)).await).await
    }

    fn xml(call: &str, body: &str) -> String {
        let open = format!("<{call}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">");
        says("200 OK", &format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{open}{body}</{call}Response>"))
    }

    #[tokio::test]
    async fn subnets_are_asked_for_by_a_filter_and_signed_for_ec2() {
        let item = "<item><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><cidrBlock>10.0.0.0/24</cidrBlock></item>";
        let answer = xml("DescribeSubnets", &format!("<subnetSet>{item}</subnetSet>"));
        let ids = ["subnet-1", "subnet-2"].map(str::to_owned);
        let (found, said) = asked(&answer, async |ec2| ec2.subnets(&ids).await).await;
        let wanted = Subnet { id: "subnet-1".into(), vpc: "vpc-1".into(), cidr: Some("10.0.0.0/24".into()) };
        assert_eq!(found.unwrap(), [wanted]);
        let form = "Action=DescribeSubnets&Version=2016-11-15&Filter.1.Name=subnet-id&Filter.1.Value.1=subnet-1&\
                    Filter.1.Value.2=subnet-2";
        assert!(said.ends_with(form) && said.contains("/eu-west-1/ec2/aws4_request"), "{said}");
    }

    #[tokio::test]
    async fn a_route_is_told_by_what_it_leads_to() {
        let route =
            |to: &str, rest: &str| format!("<item><destinationCidrBlock>{to}</destinationCidrBlock>{rest}</item>");
        let routes = [
            route("10.0.0.0/16", "<gatewayId>local</gatewayId><state>active</state>"),
            route("0.0.0.0/0", "<gatewayId>igw-1</gatewayId><state>blackhole</state>"),
            route("1.0.0.0/8", "<natGatewayId>nat-1</natGatewayId>"),
            route("2.0.0.0/8", "<transitGatewayId>tgw-1</transitGatewayId>"),
            "<item><destinationPrefixListId>pl-1</destinationPrefixListId><gatewayId>vpce-1</gatewayId></item>".into(),
            route("3.0.0.0/8", "<newGatewayId>new-1</newGatewayId>"),
        ]
        .concat();
        let table = format!(
            "<routeTableSet><item><routeTableId>rtb-1</routeTableId><vpcId>vpc-1</vpcId><routeSet>{routes}</routeSet>\
             <associationSet><item><main>true</main></item><item><main>false</main><subnetId>subnet-1</subnetId></item>\
             </associationSet></item></routeTableSet>"
        );
        let (found, _) = asked(&xml("DescribeRouteTables", &table), async |ec2| ec2.route_tables("vpc-1").await).await;
        let found = found.unwrap().remove(0);
        assert!(found.main && found.subnets == ["subnet-1"]);
        let via: Vec<_> =
            found.routes.iter().map(|route| (route.to.as_str(), route.via.clone(), route.blackhole)).collect();
        assert_eq!(
            via,
            [
                ("10.0.0.0/16", Via::Local, false),
                ("0.0.0.0/0", Via::InternetGateway("igw-1".into()), true),
                ("1.0.0.0/8", Via::Nat("nat-1".into()), false),
                ("2.0.0.0/8", Via::Other("tgw-1".into()), false),
                ("pl-1", Via::Other("vpce-1".into()), false),
                ("3.0.0.0/8", Via::Other("something else".into()), false),
            ]
        );
    }

    #[tokio::test]
    async fn rules_and_endpoints_are_read() {
        let rule = "<item><ipProtocol>tcp</ipProtocol><fromPort>443</fromPort><toPort>443</toPort>\
            <ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges>\
            <groups><item><groupId>sg-2</groupId></item></groups></item>\
            <item><ipProtocol>-1</ipProtocol><prefixListIds><item><prefixListId>pl-1</prefixListId></item></prefixListIds></item>";
        let group = format!(
            "<securityGroupInfo><item><groupId>sg-1</groupId><vpcId>vpc-1</vpcId>\
             <ipPermissionsEgress>{rule}</ipPermissionsEgress></item></securityGroupInfo>"
        );
        let ids = ["sg-1".to_owned()];
        let (found, _) =
            asked(&xml("DescribeSecurityGroups", &group), async |ec2| ec2.security_groups(&ids).await).await;
        let found = found.unwrap().remove(0);
        assert_eq!((found.inbound.len(), found.outbound[0].ports), (0, Some((443, 443))));
        assert_eq!(
            (found.outbound[0].cidrs.join(","), found.outbound[0].groups.join(",")),
            ("0.0.0.0/0".into(), "sg-2".into())
        );
        assert_eq!((found.outbound[1].ports, found.outbound[1].prefix_lists.join(",")), (None, "pl-1".into()));

        let endpoint = |kind: &str, rest: &str| {
            format!(
                "<item><vpcEndpointId>vpce-1</vpcEndpointId><vpcId>vpc-1</vpcId><serviceName>s</serviceName>\
                 <state>available</state><vpcEndpointType>{kind}</vpcEndpointType>{rest}</item>"
            )
        };
        let set = [
            endpoint("Gateway", "<routeTableIdSet><item>rtb-1</item></routeTableIdSet>"),
            endpoint(
                "Interface",
                "<privateDnsEnabled>true</privateDnsEnabled><groupSet><item><groupId>sg-9</groupId></item></groupSet>",
            ),
        ]
        .concat();
        let answer = xml("DescribeVpcEndpoints", &format!("<vpcEndpointSet>{set}</vpcEndpointSet>"));
        let (found, _) = asked(&answer, async |ec2| ec2.endpoints("vpc-1").await).await;
        let kinds: Vec<_> = found.unwrap().into_iter().map(|found| (found.kind, found.available)).collect();
        let interface = EndpointKind::Interface { private_dns: Some(true), groups: vec!["sg-9".into()] };
        assert_eq!(kinds, [(EndpointKind::Gateway { route_tables: vec!["rtb-1".into()] }, true), (interface, true)]);
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told_apart() {
        let denied = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized</Message>\
                      </Error></Errors></Response>";
        let endless = xml("DescribeSubnets", "<subnetSet/><nextToken>a/b=</nextToken>");
        for (answer, kind) in [
            (says("403 Forbidden", denied), Kind::Denied),
            (says("500 Oops", "<html></html>"), Kind::Garbled),
            (says("200 OK", "<DescribeSubnetsResponse><subnetSet>"), Kind::Garbled),
            (
                xml("DescribeSubnets", "<subnetSet><item><subnetId>subnet-1</subnetId></item></subnetSet>"),
                Kind::Garbled,
            ),
            // The second page is asked for, and nobody is there any more.
            (endless, Kind::Unreachable),
        ] {
            let (found, _) = asked(&answer, async |ec2| ec2.subnets(&["subnet-1".to_owned()]).await).await;
            let error = found.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.to_string().contains("called as arn:aws:iam::123456789012:user/ann"), "{error}");
        }
    }

    #[test]
    fn amazons_own_endpoints_are_told_from_emulators() {
        let who = Arc::new(Caller::parse("arn:aws-cn:iam::123456789012:user/ann", "123456789012").unwrap());
        let at = |endpoint: &str| Ec2 {
            config: SdkConfig::builder().build(),
            endpoint: endpoint.to_owned(),
            region: "cn-north-1".into(),
            who: who.clone(),
        };
        for (endpoint, amazons) in [
            ("https://ec2.eu-west-1.amazonaws.com", true),
            ("https://vpce-1.ec2.eu-west-1.vpce.amazonaws.com/", true),
            ("https://ec2.cn-north-1.amazonaws.com.cn", true),
            ("http://127.0.0.1:4566", false),
            ("http://amazonaws.com.evil.example:80/x.amazonaws.com", false),
        ] {
            assert_eq!(at(endpoint).is_amazons(), amazons, "{endpoint}");
        }
        assert_eq!(percent_encoded("a/b= c"), "a%2Fb%3D%20c");
    }
}
