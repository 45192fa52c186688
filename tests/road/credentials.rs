//! Credentials that others hand out: short-lived ones, and those of a role.

use super::{answer, small};
use crate::cloud::{self, Cloud, scripted};
use crate::place::Place;

/// A profile whose keys live for two seconds, and tell when they end.
fn short_lived(place: &mut Place) {
    place.write(
        "keys.sh",
        "end=$(($(date +%s) + 2))\n\
         printf '{\"Version\":1,\"AccessKeyId\":\"UNTIL%s\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\",' $end\n\
         printf '\"Expiration\":\"%s\"}' \"$(date -u -d @$end +%Y-%m-%dT%H:%M:%SZ)\"\n",
    );
    let program = format!("sh {}", place.path("keys.sh").display());
    place.write("aws", format!("[profile short]\ncredential_process = {program}\n"));
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        place.vars.remove(name);
    }
    let config = place.path("aws").display().to_string();
    place.var("AWS_CONFIG_FILE", config).var("AWS_PROFILE", "short");
}

#[test]
fn a_build_outlives_its_credentials() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "true");
    short_lived(&mut place);
    place.write(
        "loaders/x.Dockerfile",
        format!("FROM busybox\nRUN sleep 3; echo {name} > /built; env > /env\nCMD true\n"),
    );
    let listener = cloud.overheard(&mut place);
    let told = place.run("preflight x");
    told.ok();
    assert!(told.stdout.contains("the program of credential_process, from the profile: short"), "{told}");
    let before = listener.keys();
    let ran = place.run("deploy loaders/x.Dockerfile");
    answer(&ran, 0);
    let after = listener.keys();
    let (first, last) = (&after[before.len()], after.last().expect("a call"));
    assert!(first.starts_with("UNTIL") && last.starts_with("UNTIL"), "{after:?}");
    // The first were long dead when the task was registered.
    let until = |key: &str| key.trim_start_matches("UNTIL").parse::<u64>().expect("seconds");
    assert!(until(last) >= until(first) + 3, "{first} and {last}");
}

#[test]
fn the_permissions_of_an_assumed_role_are_its_policies() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "true");
    let trust = "%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22AWS%22%3A%22*%22%7D\
                 %2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D";
    cloud.iam(&format!("Action=CreateRole&RoleName={name}-ci&AssumeRolePolicyDocument={trust}"));
    // Everything but handing a role to a task.
    let policy = "%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22*%22%2C%22Resource%22%3A\
                  %22*%22%7D%2C%7B%22Effect%22%3A%22Deny%22%2C%22Action%22%3A%22iam%3APassRole%22%2C%22Resource%22%3A\
                  %22*%22%7D%5D%7D";
    cloud.iam(&format!("Action=PutRolePolicy&RoleName={name}-ci&PolicyName=p&PolicyDocument={policy}"));
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| place.vars.remove(name).expect("the cloud's"));
    place.write(
        "aws",
        format!(
            "[profile ci]\nrole_arn = arn:aws:iam::123456789012:role/{name}-ci\nsource_profile = keys\n\
             [profile keys]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            keys[0], keys[1]
        ),
    );
    let config = place.path("aws").display().to_string();
    // By the variable and by the flag, which beats keys of the environment and knows the region all the same.
    let by_flag = {
        let mut place = small(&cloud, "true").0;
        place.var("AWS_CONFIG_FILE", &config);
        place.run("preflight --profile ci x")
    };
    let words = format!("arn:aws:sts::123456789012:assumed-role/{name}-ci/");
    by_flag.ended(1);
    assert!(by_flag.stdout.contains(&words), "{by_flag}");
    place.var("AWS_CONFIG_FILE", config).var("AWS_PROFILE", "ci");
    let ran = place.run("preflight x");
    ran.ended(1);
    for words in [
        "the profile: ci",
        &format!("arn:aws:sts::123456789012:assumed-role/{name}-ci/"),
        &format!(
            "arn:aws:iam::123456789012:role/{name}-ci may not iam:PassRole on \
             arn:aws:iam::123456789012:role/{name}-task-execution-role, which a policy forbids"
        ),
    ] {
        assert!(ran.stdout.contains(words), "{words}\n{ran}");
    }
    let ran = place.run("loaders/x.Dockerfile");
    assert_eq!(ran.ended(4), "");
    ran.said("error: nothing was built, for it could only fail: permission to run: ");
    ran.not_said("Building");
}

/// Nobody's keys are in the environment.
fn without_keys(cloud: &Cloud) -> (Place, String) {
    let (mut place, name) = small(cloud, "true");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        place.vars.remove(name);
    }
    (place, name)
}

/// What is called with these credentials is called with this key, and where they came from is told.
#[track_caller]
fn known_by(cloud: &Cloud, mut place: Place, flags: &str, key: &str, from: &str) {
    let listener = cloud.overheard(&mut place);
    let ran = place.run(&format!("preflight {flags} x"));
    assert!(ran.ok().contains(from), "{from}\n{ran}");
    let keys = listener.keys();
    assert!(!keys.is_empty() && keys.iter().all(|used| used == key), "{key}: {keys:?}");
}

/// The keys as ECS, EKS and EC2 hand them out.
fn handed_out(key: &str) -> String {
    let keys = format!(
        "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"AccessKeyId\":\"{key}\",\
         \"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}"
    );
    cloud::answer(200, "application/json", &keys)
}

#[test]
fn a_container_is_handed_its_roles_keys() {
    let cloud = Cloud::shared();
    let (mut place, _) = without_keys(&cloud);
    let server = scripted(|head| {
        let asks = head.starts_with("get /role ") && head.contains("\nauthorization: bearer of-pod\r\n");
        asks.then(|| handed_out("OFCONTAINER"))
    });
    place.write("pod-token", "Bearer of-pod");
    let token = place.path("pod-token").display().to_string();
    place.var("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{server}/role"));
    place.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token);
    known_by(&cloud, place, "", "OFCONTAINER", "the container's role");
}

#[test]
fn an_instance_is_handed_its_roles_keys_by_the_second_version_of_its_metadata() {
    let cloud = Cloud::shared();
    let (mut place, _) = without_keys(&cloud);
    let server = scripted(|head| {
        let folder = "/latest/meta-data/iam/security-credentials/";
        let plain = |text: &str| cloud::answer(200, "text/plain", text);
        if head.starts_with("put /latest/api/token ") && head.contains("\nx-aws-ec2-metadata-token-ttl-seconds: ") {
            let ttl = "\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n";
            return Some(plain("of-session").replacen("\r\n\r\n", ttl, 1));
        }
        if !head.contains("\nx-aws-ec2-metadata-token: of-session\r\n") {
            return Some(cloud::answer(401, "text/plain", "a token is asked for"));
        }
        match head.split(' ').nth(1)?.strip_prefix(folder)? {
            "" => Some(plain("builder")),
            "builder" => Some(handed_out("OFINSTANCE")),
            _ => None,
        }
    });
    place.vars.remove("AWS_EC2_METADATA_DISABLED");
    place.var("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{server}"));
    known_by(&cloud, place, "", "OFINSTANCE", "the instance's role");
}

#[test]
fn who_logged_in_by_sso_is_handed_the_roles_keys() {
    let cloud = Cloud::shared();
    let (mut place, _) = without_keys(&cloud);
    let server = scripted(|head| {
        let asks = head.starts_with("get /federation/credentials?")
            && head.contains("role_name=loaders")
            && head.contains("\nx-amz-sso_bearer_token: of-login\r\n");
        let keys = "{\"roleCredentials\":{\"accessKeyId\":\"OFSSO\",\"secretAccessKey\":\"s\",\"sessionToken\":\"t\",\
                    \"expiration\":4070908800000}}";
        asks.then(|| cloud::answer(200, "application/json", keys))
    });
    // `aws sso login` names the file by the SHA-1 of the address.
    let cached = place.beside("home/.aws/sso/cache");
    std::fs::create_dir_all(&cached).expect("it is ours");
    let token = "{\"accessToken\":\"of-login\",\"expiresAt\":\"2099-01-01T00:00:00Z\",\"region\":\"eu-west-1\",\
                 \"startUrl\":\"https://acme.example/start\"}";
    std::fs::write(cached.join("32b9d3c1dabf96c36d5542a011699561d2dee1fa.json"), token).expect("it is ours");
    place.write(
        "aws",
        "[profile people]\nsso_start_url = https://acme.example/start\nsso_region = eu-west-1\n\
         sso_account_id = 123456789012\nsso_role_name = loaders\n",
    );
    let config = place.path("aws").display().to_string();
    place.var("AWS_CONFIG_FILE", config).var("AWS_ENDPOINT_URL_SSO", format!("http://{server}"));
    known_by(&cloud, place, "--profile people", "OFSSO", "an SSO session, from the profile: people");
}

#[test]
fn a_ci_job_with_a_web_identity_builds_and_no_run_sees_it() {
    let cloud = Cloud::shared();
    let (mut place, name) = without_keys(&cloud);
    let trust = "%7B%22Statement%22%3A%5B%5D%7D";
    cloud.iam(&format!("Action=CreateRole&RoleName={name}-job&AssumeRolePolicyDocument={trust}"));
    let policy = "%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22*%22%2C%22Resource%22%3A\
                  %22*%22%7D%5D%7D";
    cloud.iam(&format!("Action=PutRolePolicy&RoleName={name}-job&PolicyName=p&PolicyDocument={policy}"));
    let token = place.beside("home/web-token");
    std::fs::write(&token, "of-the-job").expect("it is ours");
    let script = format!(
        "if env | grep -e ^AWS -e of-the-jo[b]; then exit 1; fi; for path in {} /root/.aws; do \
         test ! -e $path || exit 1; done; echo {name} > /built",
        token.display()
    );
    place.write("loaders/x.Dockerfile", format!("FROM busybox\nRUN {script}\nCMD true\n"));
    place.var("AWS_WEB_IDENTITY_TOKEN_FILE", token.display());
    place.var("AWS_ROLE_ARN", format!("arn:aws:iam::123456789012:role/{name}-job")).var("AWS_ROLE_SESSION_NAME", "ci");
    let listener = cloud.overheard(&mut place);
    let told = place.run("preflight x");
    for words in ["a web identity (AWS_WEB_IDENTITY_TOKEN_FILE)", &format!("assumed-role/{name}-job/ci")] {
        assert!(told.ok().contains(words), "{words}\n{told}");
    }
    assert!(listener.has_heard("AssumeRoleWithWebIdentity"));
    let ran = place.run("deploy loaders/x.Dockerfile");
    answer(&ran, 0);
    ran.not_said("of-the-job");
}
