//! Credentials that others hand out: short-lived ones, and those of a role.

use super::{answer, small};
use crate::cloud::Cloud;
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
