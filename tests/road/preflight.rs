//! `preflight`: each of its lines made to fail on purpose; and the road, which does not begin what could only fail.

use serde_json::{Value, json};

use super::{ECR, answer, changes, refuses, small};
use crate::cloud::{Cloud, Listener};
use crate::place::Place;

/// The lines of one loader and of whoever asks, as `verdict name: what it says`.
#[track_caller]
fn lines(place: &Place, line: &str, code: i32) -> Vec<String> {
    let ran = place.run(&format!("preflight --json {line}"));
    let told: Value = serde_json::from_str(ran.ended(code)).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    let loaders = told["loaders"].as_array().expect("a list");
    let checks = std::iter::once(&told["identity"]).chain(loaders.iter().map(|loader| &loader["checks"]));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line =
        |check: &Value| format!("{} {}: {}", text(&check["verdict"]), text(&check["name"]), text(&check["says"]));
    checks.flat_map(|checks| checks.as_array().expect("a list")).map(line).collect()
}

/// Beside what is well there is one line, which begins so.
#[track_caller]
fn only(lines: &[String], begins: &str) {
    let others: Vec<&String> = lines.iter().filter(|line| !line.starts_with("ok ")).collect();
    assert!(others.len() == 1 && others[0].starts_with(begins), "{begins}: {lines:#?}");
}

/// A network of its own: its VPC, a subnet with no way out, and its security group.
fn elsewhere(cloud: &Cloud) -> (String, String, String) {
    let vpc = cloud.ec2("Action=CreateVpc&CidrBlock=10.9.0.0/16", "vpcId");
    let subnet = cloud.ec2(&format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock=10.9.1.0/24"), "subnetId");
    let group = format!("Action=CreateSecurityGroup&GroupName=g&GroupDescription=g&VpcId={vpc}");
    let group = cloud.ec2(&group, "groupId");
    (vpc, subnet, group)
}

#[test]
fn what_a_loader_stands_on_is_told_line_by_line_and_nothing_is_changed() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "true");
    place.var("DB", "sqlite:///hunter2");
    let listener = cloud.overheard(&mut place);
    let ran = place.run("preflight --secret DB loaders/x.Dockerfile");
    let text = ran.ok();
    for line in [
        "OK  region ",
        "OK  credentials            the environment (AWS_ACCESS_KEY_ID)",
        "OK  identity               arn:aws:iam::123456789012:root",
        "OK  account                123456789012",
        "OK  secret DB              it is not there yet, and is made from the value that is here",
        "OK  subnets                subnet-00000001, subnet-00000002 in vpc-00000001",
        "OK  security groups        sg-00000001 in vpc-00000001",
        "OK  route of subnet-00000001  to the internet by igw-00000001, with a public IP",
        "OK  egress                 port 443 is open by sg-00000001",
        &format!("OK  cluster                there is no {name}_cluster yet, and it is made"),
    ] {
        // The widest name decides how far the words stand.
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.lines().any(|said| squeezed(said).starts_with(&squeezed(line))), "{line}\n{ran}");
    }
    assert!(text.contains("\nAll of this is well\nNot looked at: network ACLs, "), "{ran}");
    ran.not_said("hunter2");
    assert_eq!(changes(&listener.calls()), Vec::<&str>::new(), "{ran}");
    // By its name, with no Dockerfile in sight.
    assert!(lines(&place, &format!("--secret DB {name}"), 0).len() > 15);
    place.run("preflight loaders/y.Dockerfile").ended(2);
}

#[test]
fn who_we_are_and_where_can_be_wrong() {
    let cloud = Cloud::shared();
    let (mut place, _) = small(&cloud, "true");
    place.var("AWSACCOUNT", "210987654321");
    let words =
        "ng account: AWSACCOUNT says 210987654321, and the credentials are those of arn:aws:iam::123456789012:root";
    only(&lines(&place, "x", 1), words);
    let (mut place, _) = small(&cloud, "true");
    place.var("REGION", "Ireland");
    only(&lines(&place, "x", 1), "ng region: `Ireland` is not an AWS region");
    // The doctor is asked of an identity as all the others are.
    for (flags, words) in [
        ("--region Ireland", "`Ireland` is not an AWS region"),
        ("--profile nobody", "there is no AWS profile `nobody`"),
    ] {
        let ran = cloud.place().run(&format!("doctor {flags}"));
        assert!(ran.stdout.contains(words), "{ran}");
    }
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "REGION"] {
        place.vars.remove(name);
    }
    only(&lines(&place, "x", 1), "ng credentials: sts:GetCallerIdentity found no usable credential");
}

#[test]
fn the_network_can_be_wrong() {
    let cloud = Cloud::shared();
    let (vpc, subnet, group) = elsewhere(&cloud);
    let (mut place, _) = small(&cloud, "true");
    let check = |place: &Place, flags: &str, begins: &str| only(&lines(place, &format!("{flags} x"), 1), begins);
    check(&place, "--subnet subnet-00000001,subnet-9", "ng subnets: there is no subnet-9");
    check(&place, "--security-group sg-9", "ng security groups: there is no sg-9");
    let words = format!("ng security groups: {group} is in {vpc}, and the subnets are in vpc-00000001");
    check(&place, &format!("--security-group {group}"), &words);
    let private = format!("--subnet {subnet} --security-group {group}");
    let words = format!("ng route of {subnet}: rtb-");
    check(&place, &private, &words);
    let ways = "vpc endpoints for";
    let ran = place.run(&format!("preflight {private} x"));
    assert!(
        ran.stdout.to_lowercase().contains(ways) && ran.stdout.contains("and there is no VPC endpoint for ecr.api"),
        "{ran}"
    );
    let words = "ng route of subnet-00000001: igw-00000001 serves tasks with a public IP alone, and the task has none";
    check(&place, "--no-public-ip --subnet subnet-00000001", words);

    let all = "IpPermissions.1.IpProtocol=-1&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0";
    cloud.ec2(&format!("Action=RevokeSecurityGroupEgress&GroupId={group}&{all}"), "return");
    let route = |via: &str| {
        let table = cloud.ec2(&format!("Action=CreateRouteTable&VpcId={vpc}"), "routeTableId");
        let route = format!("Action=CreateRoute&RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&{via}");
        cloud.ec2(&route, "return");
        let subnet = cloud.ec2(&format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock=10.9.2.0/24"), "subnetId");
        cloud.ec2(&format!("Action=AssociateRouteTable&RouteTableId={table}&SubnetId={subnet}"), "associationId");
        subnet
    };
    let behind_nat = route("NatGatewayId=nat-1");
    let words = format!("ng egress: {group} lets nothing out on port 443");
    check(&place, &format!("--no-public-ip --subnet {behind_nat} --security-group {group}"), &words);

    let open = cloud.ec2(&format!("Action=CreateSecurityGroup&GroupName=o&GroupDescription=o&VpcId={vpc}"), "groupId");
    let beyond = route("TransitGatewayId=tgw-1");
    let told = lines(&place, &format!("--subnet {beyond} --security-group {open} x"), 0);
    only(&told, &format!("unknown route of {beyond}: tgw-1: what is behind it is not seen from here"));
    let listener = cloud.overheard(&mut place);
    listener.deny("DescribeSecurityGroups");
    only(&lines(&place, "x", 0), "unknown security groups: ec2:DescribeSecurityGroups, called as arn:aws:iam::");
}

#[test]
fn repository_roles_and_secrets_can_be_wrong() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "true");
    let listener = cloud.overheard(&mut place);
    listener.deny("GetAuthorizationToken");
    only(
        &lines(&place, "x", 1),
        "ng registry: ecr:GetAuthorizationToken, called as arn:aws:iam::123456789012:root, failed",
    );

    let (place, name) = (cloud_place(&cloud, &name), name);
    only(
        &lines(&place, "--secret NOWHERE x", 1),
        "ng secret NOWHERE: it is not in Secrets Manager, and its value is not in",
    );
    cloud.ask(
        "secretsmanager.CreateSecret",
        json!({ "Name": format!("{name}_db"), "SecretString": "{\"user\": \"ann\"}" }),
    );
    place.write("locus.toml", format!("[loaders.{name}]\nsecrets = {{ DB = \"{name}_db:password\" }}\n"));
    only(&lines(&place, &name, 1), "ng secret DB: its JSON has no key password; it has user");
    place.write("locus.toml", format!("[loaders.{name}]\nsecrets = {{ DB = \"{name}_db:user\" }}\n"));
    let told = lines(&place, &name, 0);
    assert!(told.contains(&"ok secret DB: it is there, with the key user".to_owned()), "{told:#?}");

    let tags = json!({ "repositoryName": name, "imageTagMutability": "IMMUTABLE" });
    cloud.ask(&format!("{ECR}.CreateRepository"), tags);
    answer(&place.run(&format!("deploy --repository {name} --tag v1 loaders/x.Dockerfile")), 0);
    let words = "ng tag v1: it names sha256:";
    only(&lines(&place, &format!("--repository {name} --tag v1 {name}"), 1), words);
}

#[test]
fn a_role_that_others_made_is_asked_what_it_allows() {
    let cloud = Cloud::shared();
    let (place, name) = small(&cloud, "true");
    let role = |service: &str| {
        let trust = format!(
            "%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22Service%22%3A%22{service}\
             %22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D"
        );
        let role = format!("{name}-{}", service.split('.').next().unwrap_or_default());
        cloud.iam(&format!("Action=CreateRole&RoleName={role}&AssumeRolePolicyDocument={trust}"));
        role
    };
    let table = |role: &str| {
        place.write("locus.toml", format!("[loaders.{name}]\nexecution_role = \"{role}\"\n"));
    };
    table(&role("ec2.amazonaws.com"));
    let told = lines(&place, &name, 1);
    let words = format!("ng execution role: the role {name}-ec2 may not be taken by ECS tasks");
    assert!(told.iter().any(|line| line.starts_with(&words)), "{told:#?}");
    table(&role("ecs-tasks.amazonaws.com"));
    let words = format!(
        "ng what {name}-ecs-tasks allows: arn:aws:iam::123456789012:role/{name}-ecs-tasks may not \
         ecr:GetAuthorizationToken on *"
    );
    only(&lines(&place, &name, 1), &words);
}

#[test]
fn what_could_only_fail_is_not_begun() {
    let cloud = Cloud::shared();
    let (vpc, _, group) = elsewhere(&cloud);
    let (place, _) = small(&cloud, "true");
    let words = format!(
        "error: nothing was built, for it could only fail: security groups: {group} is in {vpc}, and the subnets are in \
         vpc-00000001\n\
         hint: name a security group of vpc-00000001 (SECURITYGROUP, --security-group, `security_groups`)\n\
         hint: `locus-push preflight` tells all that was looked at; --no-preflight builds in spite of it\n"
    );
    refuses(place, &cloud, &format!("--security-group {group}"), 4, &words);
    let (place, _) = small(&cloud, "true");
    answer(&place.run(&format!("deploy --no-preflight --security-group {group} loaders/x.Dockerfile")), 0);
}

#[test]
fn what_may_fail_is_warned_of_and_what_is_not_known_is_passed_over() {
    let cloud = Cloud::shared();
    let (_, subnet, group) = elsewhere(&cloud);
    let (mut place, _) = small(&cloud, "true");
    let ran = place.run(&format!("deploy --subnet {subnet} --security-group {group} loaders/x.Dockerfile"));
    answer(&ran, 0);
    ran.said(&format!("warning: route of {subnet}: rtb-"));
    let listener = cloud.overheard(&mut place);
    listener.deny("DescribeSubnets");
    let ran = place.run("deploy loaders/x.Dockerfile");
    answer(&ran, 0);
    ran.not_said("DescribeSubnets");
}

/// A place for the loader of this name, with nobody in between.
fn cloud_place(cloud: &Cloud, name: &str) -> Place {
    let (mut place, _) = small(cloud, "true");
    place.var("DOCKERNAME", name);
    place
}

/// EC2 is asked by Amazon's own name for it; a proxy leads there.
fn behind_a_proxy(cloud: &Cloud, place: &mut Place) -> Listener {
    let listener = cloud.overheard(place);
    place.var("AWS_ENDPOINT_URL_EC2", "http://ec2.eu-west-1.amazonaws.com");
    place.var("HTTP_PROXY", format!("http://{}", listener.address));
    listener
}

#[test]
fn where_amazon_itself_knows_of_no_route_nothing_is_begun() {
    let cloud = Cloud::shared();
    let (_, subnet, group) = elsewhere(&cloud);
    let (mut place, _) = small(&cloud, "true");
    let listener = behind_a_proxy(&cloud, &mut place);
    let line = format!("deploy --subnet {subnet} --security-group {group} loaders/x.Dockerfile");
    let ran = place.run(&line);
    assert_eq!(ran.ended(4), "", "{ran}");
    ran.said(&format!("error: nothing was built, for it could only fail: route of {subnet}: rtb-"));
    ran.said("and there is no VPC endpoint for ecr.api");
    ran.said("hint: add a route 0.0.0.0/0 to an internet gateway or a NAT gateway; or VPC endpoints for ecr.api, ");
    ran.not_said("Building").not_said("Created");
    let calls = listener.calls();
    assert!(calls.iter().any(|call| call == "DescribeRouteTables"), "{calls:?}");
    assert_eq!(changes(&calls), Vec::<&str>::new(), "{ran}");
    // Of two subnets one will do: a task is put into either.
    let (mut place, _) = small(&cloud, "true");
    behind_a_proxy(&cloud, &mut place);
    place.run("deploy --subnet subnet-00000001 loaders/x.Dockerfile").ok();
}

#[test]
fn all_loaders_of_the_file_are_looked_at_each_by_its_name() {
    let cloud = Cloud::shared();
    let (place, name) = small(&cloud, "true");
    place.run("preflight --all").fails(
        2,
        "error: --all asks for the loaders of locus.toml, and there is none here nor above\n\
         hint: `locus-push init` writes one; --config FILE names another\n",
    );
    let mut place = cloud.place();
    let table = |which: &str, rest: &str| {
        format!("[loaders.{name}_{which}]\ndockerfile = 'loaders/{which}.Dockerfile'\n{rest}\n")
    };
    place.write("locus.toml", table("a", "") + &table("b", ""));
    let ran = place.run("preflight --all");
    assert!(ran.ok().contains(&format!("\n\n{name}_a\nOK  repository")), "{ran}");
    assert!(ran.stdout.contains(&format!("\n\n{name}_b\nOK  repository")), "{ran}");
    // Neither Dockerfile is there, and neither is read.
    place.vars.remove("SECURITYGROUP");
    place.write(
        "locus.toml",
        table("a", "security_groups = ['sg-00000001']") + &table("b", "security_groups = ['sg-9']"),
    );
    let told: Value = serde_json::from_str(place.run("preflight --all --json").ended(1)).expect("an object");
    let wrong = |loader: &Value| {
        let checks = loader["checks"].as_array().expect("a list").iter();
        let wrong: Vec<&Value> = checks.filter(|check| check["verdict"] != "ok").map(|check| &check["says"]).collect();
        (loader["loader"].clone(), json!(wrong))
    };
    let told: Vec<_> = told["loaders"].as_array().expect("a list").iter().map(wrong).collect();
    let wanted = [(format!("{name}_a"), json!([])), (format!("{name}_b"), json!(["there is no sg-9"]))];
    assert_eq!(told, wanted.map(|(name, wrong)| (json!(name), wrong)));
}
