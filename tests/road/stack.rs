//! The main job against the cloud on loopback. Each task takes its time to be pulled and run, so there are few.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::cloud::{Cloud, registry_that_refuses};
use crate::local::found_below;
use crate::place::{Place, Ran, eventually, interrupt, world};

#[path = "ci.rs"]
mod ci;
#[path = "credentials.rs"]
mod credentials;
#[path = "each.rs"]
mod each;
#[path = "library.rs"]
mod library;
#[path = "many.rs"]
mod many;
#[path = "preflight.rs"]
mod preflight;
#[path = "tasks.rs"]
mod tasks;

const ECR: &str = "AmazonEC2ContainerRegistry_V20150921";
const ECS: &str = "AmazonEC2ContainerServiceV20141113";

/// What every test hands over as the secret, and looks for afterwards.
const SECRET: &str = "sqlite:////tmp/hunter2-places.db";

/// The node loader's build takes minutes, so one home serves all its tests of one run; the first fills it. A run of the
/// tests begins with none, so that every run builds it from nothing once.
pub struct NodeHome {
    folder: PathBuf,
    // Given back when the test ends: two tests at once would both build it.
    _lock: std::fs::File,
}

impl NodeHome {
    pub fn take() -> Self {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-homes");
        std::fs::create_dir_all(&all).expect("it is ours");
        let lock = std::fs::File::create(all.join("lock")).expect("it is ours");
        lock.lock().expect("it can be waited for");
        let name = std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| "no-run".to_owned());
        let folder = std::env::var_os("LOCUS_TEST_NODE_HOME").map_or_else(|| all.join(name), PathBuf::from);
        for other in std::fs::read_dir(&all).expect("it is ours").flatten() {
            if other.path() != folder && other.path().is_dir() {
                std::fs::remove_dir_all(other.path()).expect("an earlier run's is ours too");
            }
        }
        Self { folder, _lock: lock }
    }

    pub fn lend(&self, place: &mut Place) {
        place.var("LOCUS_PUSH_HOME", self.folder.display());
    }
}

/// Calls that change something.
pub fn changes(calls: &[String]) -> Vec<&str> {
    let reads = ["BatchCheck", "Get", "Describe", "List"];
    let changing = |call: &&str| !reads.iter().any(|read| call.starts_with(read));
    let mut changes: Vec<&str> = calls.iter().map(String::as_str).filter(changing).collect();
    changes.sort_unstable();
    changes
}

/// The program's answer: one line, the image by digest.
#[track_caller]
pub fn answer(ran: &Ran, code: i32) -> (String, String) {
    let line = ran.ended(code);
    assert_eq!(ran.stdout, format!("{line}\n"), "{ran}");
    let (name, digest) = line.split_once('@').unwrap_or_else(|| panic!("by digest\n{ran}"));
    assert!(digest.starts_with("sha256:") && !digest.contains('\n'), "{ran}");
    (name.to_owned(), digest.to_owned())
}

fn container(cloud: &Cloud, family: &str) -> (Value, Value) {
    let found = cloud.ask(&format!("{ECS}.DescribeTaskDefinition"), json!({ "taskDefinition": family }));
    let definition = found["taskDefinition"].clone();
    assert_eq!(definition["containerDefinitions"].as_array().map(Vec::len), Some(1), "{definition}");
    (definition["containerDefinitions"][0].clone(), definition)
}

#[test]
fn the_main_job_creates_everything_once_and_runs_the_loader_each_time() {
    let (cloud, home) = (Cloud::own(), NodeHome::take());
    let mut place = cloud.place().with_loaders();
    home.lend(&mut place);
    place.var("DBCONNECTION", SECRET);
    let listener = cloud.overheard(&mut place);

    let first = place.run("loaders/os_opendata.Dockerfile");
    let (name, digest) = answer(&first, 0);
    assert_eq!(name, format!("{}/locus_data_loaders", cloud.registry()));
    let log = [
        "os_opendata: starting",
        "os_opendata: 24 places read, 24 chosen",
        "os_opendata: 24 places in the database",
        "os_opendata: finished",
    ];
    assert_eq!(first.log(), log, "{first}");
    assert!(first.said("Stopped exit code 0") > first.said("os_opendata: finished"), "{first}");
    first.not_said("hunter2");
    let created = [
        "CreateCluster",
        "CreateLogGroup",
        "CreateRepository",
        "CreateRole",
        "CreateRole",
        "CreateSecret",
        "PutRetentionPolicy",
        "PutRolePolicy",
        "RegisterTaskDefinition",
        "RunTask",
    ];
    assert_eq!(changes(&listener.calls()), created);
    everything_is_there(&cloud, &digest);

    let before = cloud.requests().len();
    let second = place.run("loaders/os_opendata.Dockerfile");
    assert_eq!(answer(&second, 0), (name, digest.clone()));
    assert_eq!(second.log(), log, "{second}");
    second.not_said("Building").not_said("Created").not_said("Sent").not_said("hunter2");
    assert_eq!(changes(&listener.calls()), ["RunTask"], "nothing is created and nothing registered");
    let uploads = |requests: &[String]| {
        requests.iter().filter(|asked| asked.starts_with('P') && !asked.starts_with("POST ")).count()
    };
    let requests = cloud.requests();
    assert!(uploads(&requests[..before]) > 0, "{requests:#?}");
    // A POST alone asks whether we may push, and its DELETE takes it back.
    assert_eq!(uploads(&requests[before..]), 0, "nothing is uploaded: {:#?}", &requests[before..]);
    let arns = cloud.ask(&format!("{ECS}.ListTaskDefinitions"), json!({}))["taskDefinitionArns"].clone();
    assert_eq!(arns.as_array().map(Vec::len), Some(1), "{arns}");
    assert_eq!(grep(&place.store(), SECRET), "");
}

/// What the first run left, read back from each service.
fn everything_is_there(cloud: &Cloud, digest: &str) {
    let repositories = cloud.ask(&format!("{ECR}.DescribeRepositories"), json!({}))["repositories"].clone();
    assert_eq!(repositories.as_array().map(Vec::len), Some(1), "{repositories}");
    assert_eq!(repositories[0]["repositoryName"], "locus_data_loaders");
    assert_eq!(repositories[0]["imageTagMutability"], "MUTABLE");
    let images = cloud.ask(&format!("{ECR}.DescribeImages"), json!({ "repositoryName": "locus_data_loaders" }));
    let pushed = images["imageDetails"].as_array().expect("a list").iter().find(|image| image["imageDigest"] == digest);
    let mut tags: Vec<&str> =
        pushed.expect("it is there")["imageTags"].as_array().expect("a list").iter().map(crate::image::text).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["os_opendata", &format!("os_opendata.{}", &digest[7..19])]);

    let clusters = cloud.ask(&format!("{ECS}.DescribeClusters"), json!({ "clusters": ["os_opendata_cluster"] }));
    assert_eq!(clusters["clusters"][0]["status"], "ACTIVE", "{clusters}");
    let groups = cloud.ask("Logs_20140328.DescribeLogGroups", json!({ "logGroupNamePrefix": "os_opendata" }));
    assert_eq!(groups["logGroups"][0]["logGroupName"], "os_opendata", "{groups}");
    assert_eq!(groups["logGroups"][0]["retentionInDays"], 30, "{groups}");
    let secret = cloud.ask("secretsmanager.GetSecretValue", json!({ "SecretId": "DBCONNECTION" }));
    assert_eq!(secret["SecretString"], SECRET);
    let arn = secret["ARN"].clone();

    let role = "RoleName=os_opendata-task-execution-role";
    let policy = format!("Action=GetRolePolicy&{role}&PolicyName=os_opendata-iam-policy-task-execution-role");
    let policy = cloud.iam_document(&policy, "PolicyDocument");
    let mut allowed: Vec<String> = policy["Statement"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|statement| {
            assert_eq!(statement["Effect"], "Allow");
            format!("{} on {}", joined(&statement["Action"]), joined(&statement["Resource"]))
        })
        .collect();
    allowed.sort();
    let of = |service: &str, rest: &str| format!("arn:aws:{service}:eu-west-1:123456789012:{rest}");
    assert_eq!(
        allowed,
        [
            format!(
                "ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:GetDownloadUrlForLayer on {}",
                of("ecr", "repository/locus_data_loaders")
            ),
            "ecr:GetAuthorizationToken on *".to_owned(),
            format!("logs:CreateLogStream logs:PutLogEvents on {}", of("logs", "log-group:os_opendata:*")),
            format!("secretsmanager:GetSecretValue on {}", arn.as_str().expect("an ARN")),
        ],
        "least privilege"
    );
    for role in ["os_opendata-task-execution-role", "os_opendata-task-role"] {
        let trust = cloud.iam_document(&format!("Action=GetRole&RoleName={role}"), "AssumeRolePolicyDocument");
        assert_eq!(trust["Statement"][0]["Principal"], json!({ "Service": "ecs-tasks.amazonaws.com" }), "{trust}");
    }
    let none = cloud.iam("Action=ListRolePolicies&RoleName=os_opendata-task-role");
    assert!(!none.contains("<member>"), "the task itself may do nothing: {none}");

    let (container, definition) = container(cloud, "os_opendata");
    let account_role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    assert_eq!(definition["requiresCompatibilities"], json!(["FARGATE"]));
    assert_eq!(definition["networkMode"], "awsvpc");
    assert_eq!(definition["runtimePlatform"], json!({ "cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX" }));
    assert_eq!((&definition["cpu"], &definition["memory"]), (&json!("256"), &json!("512")));
    assert_eq!(definition["executionRoleArn"], account_role("os_opendata-task-execution-role"));
    assert_eq!(definition["taskRoleArn"], account_role("os_opendata-task-role"));
    assert_eq!(container["image"], format!("{}/locus_data_loaders@{digest}", cloud.registry()), "by digest");
    assert_eq!(container["secrets"], json!([{ "name": "DBCONNECTION", "valueFrom": arn }]));
    let environment = container["environment"].to_string();
    assert!(!environment.contains("hunter2") && environment.contains("AWSREGION"), "{environment}");
    assert_eq!(container["logConfiguration"]["logDriver"], "awslogs");
    assert_eq!(
        container["logConfiguration"]["options"],
        json!({
            "awslogs-group": "os_opendata",
            "awslogs-region": "eu-west-1",
            "awslogs-stream-prefix": "os_opendata",
            "mode": "blocking",
        })
    );

    let tasks =
        cloud.ask(&format!("{ECS}.ListTasks"), json!({ "cluster": "os_opendata_cluster", "desiredStatus": "STOPPED" }));
    let tasks = cloud
        .ask(&format!("{ECS}.DescribeTasks"), json!({ "cluster": "os_opendata_cluster", "tasks": tasks["taskArns"] }));
    assert_eq!(tasks["tasks"].as_array().map(Vec::len), Some(1), "{tasks}");
    assert_eq!(tasks["tasks"][0]["launchType"], "FARGATE");
}

/// A word or a list of words, as one sorted line.
fn joined(value: &Value) -> String {
    let mut words: Vec<&str> = value
        .as_array()
        .map_or_else(|| vec![value], |list| list.iter().collect())
        .into_iter()
        .map(crate::image::text)
        .collect();
    words.sort_unstable();
    words.join(" ")
}

/// The files below `folder` that hold `text`.
fn grep(folder: &Path, text: &str) -> String {
    let output = Command::new("grep").args(["-rlF", text]).arg(folder).output().expect("grep is on every machine");
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A small loader under a name that no other test has.
pub fn small(cloud: &Cloud, cmd: &str) -> (Place, String) {
    small_in(cloud.place(), cmd)
}

/// The same in a place of the caller's.
pub fn small_in(mut place: Place, cmd: &str) -> (Place, String) {
    let name = format!(
        "small_{}",
        place
            .path(".")
            .parent()
            .and_then(Path::file_name)
            .expect("a name")
            .to_string_lossy()
            .replace(['.', '-'], "_")
            .to_lowercase()
    );
    place.write(
        "loaders/x.Dockerfile",
        format!("FROM busybox\nCOPY marker /\nRUN echo of the build > /built\nCMD {cmd}\n"),
    );
    place.write("marker", &name);
    place.var("DOCKERNAME", &name);
    (place, name)
}

#[test]
fn the_containers_exit_code_is_ours_and_its_log_is_whole() {
    let cloud = Cloud::shared();
    let (mut place, name) =
        small(&cloud, "for i in $(seq 300); do echo line $i; done; cat /built; echo ${#API} >&2; exit $LOADER_EXIT");
    let secret = format!("{name}_api");
    place.var("TOKEN", SECRET);
    place.var("API", "not this one");
    let flags = format!("--secret {secret}=env:TOKEN --env LOADER_EXIT=7 --env API=sixsix loaders/x.Dockerfile");
    let ran = place.run(&flags);
    answer(&ran, 7);
    let mut wanted: Vec<String> = (1..=300).map(|i| format!("line {i}")).collect();
    wanted.extend(["of the build".to_owned(), "6".to_owned()]);
    let mut log = ran.log();
    // stdout and stderr are two pipes.
    let err = log.iter().position(|line| *line == "6").unwrap_or_else(|| panic!("the last line\n{ran}"));
    let last = log.remove(err);
    log.push(last);
    assert_eq!(log, wanted, "{ran}");
    assert!(ran.said("Stopped exit code 7") > ran.said("line 300"), "why it stopped comes after its log\n{ran}");

    ran.not_said("hunter2");
    let (container, _) = container(&cloud, &name);
    assert_eq!(container["secrets"][0]["name"], secret.as_str());
    assert!(!container.to_string().contains("hunter2"));
    let value = cloud.ask("secretsmanager.GetSecretValue", json!({ "SecretId": secret }));
    assert_eq!(value["SecretString"], SECRET);
    assert_eq!(found_below(&place.store(), SECRET), Vec::<String>::new(), "the secret is nowhere on disk");
    for blob in std::fs::read_dir(place.store().join("blobs/sha256")).expect("blobs").flatten() {
        let mut text = Vec::new();
        let file = std::fs::File::open(blob.path()).expect("it is there");
        if std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(file), &mut text).is_ok() {
            assert!(!text.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "in a layer");
        }
    }
}

/// Runs the road, which must end in these words before anything was built or changed.
#[track_caller]
fn refuses(mut place: Place, cloud: &Cloud, flags: &str, code: i32, words: &str) {
    let listener = cloud.overheard(&mut place);
    let ran = place.run(&format!("{flags} loaders/x.Dockerfile"));
    ran.fails(code, words);
    ran.not_said("Building").not_said("Created");
    assert_eq!(changes(&listener.calls()), Vec::<&str>::new(), "nothing was changed\n{ran}");
}

#[test]
fn a_missing_subnet_is_told_before_anything_is_created() {
    let cloud = Cloud::shared();
    let (mut place, _) = small(&cloud, "true");
    place.vars.remove("SUBNET1");
    place.vars.remove("SUBNET2");
    let words = "error: no subnet for the task: SUBNET1 is not set\n\
                 hint: export SUBNET1, or write --subnet ID, or `subnets` in locus.toml\nhint: --local needs none of it\n";
    refuses(place, &cloud, "", 2, words);
}

#[test]
fn missing_credentials_are_told_with_where_they_were_looked_for() {
    let cloud = Cloud::shared();
    let (mut place, _) = small(&cloud, "true");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        place.vars.remove(name);
    }
    let listener = cloud.overheard(&mut place);
    let ran = place.run("loaders/x.Dockerfile");
    assert_eq!(ran.ended(4), "");
    ran.said("error: sts:GetCallerIdentity found no usable credential: ");
    // Between these two stand the SDK's own words.
    let hint = "\nhint: looked for: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile `default` (keys, SSO, \
                assumed role), web identity, the container's role, the instance's role; log in (`aws sso login` or \
                `aws login`, with --profile where it is not the default), or export the two variables\n\
                hint: --local does all of it without an AWS account\n";
    assert!(ran.stderr.ends_with(hint), "{ran}");
    ran.not_said("Building");
    assert_eq!(listener.calls(), Vec::<String>::new(), "nobody was asked anything");
}

#[test]
fn another_account_than_the_exported_one_is_told() {
    let cloud = Cloud::shared();
    let (mut place, _) = small(&cloud, "true");
    place.var("AWSACCOUNT", "999999999999");
    let words = "error: AWSACCOUNT says 999999999999, and the credentials are those of arn:aws:iam::123456789012:root in \
                 123456789012\n\
                 hint: nothing was changed; use the profile of that account (--profile), or take the variable back\n";
    refuses(place, &cloud, "", 2, words);
}

#[test]
fn a_secret_that_is_nowhere_is_told_before_anything_is_created() {
    let cloud = Cloud::shared();
    let (place, name) = small(&cloud, "true");
    let words = format!(
        "error: the secret {name}_db is not in Secrets Manager, and its value is not here: the variable {name}_db is not set\n\
         hint: export {name}_db, or say where the value comes from: --secret {name}_db=env:NAME, file:PATH or stdin; \
         nothing was changed\n"
    );
    refuses(place, &cloud, &format!("--secret {name}_db"), 2, &words);
}

#[test]
fn a_call_that_is_denied_is_told_with_its_name_and_who_made_it() {
    let cloud = Cloud::shared();
    let (mut place, _) = small(&cloud, "true");
    let listener = cloud.overheard(&mut place);
    listener.deny("DescribeRepositories");
    let ran = place.run("loaders/x.Dockerfile");
    ran.fails(
        4,
        "error: looking at the repository locus_data_loaders: ecr:DescribeRepositories, called as \
         arn:aws:iam::123456789012:root, failed: AccessDeniedException: User: arn:aws:iam::123456789012:root is not \
         authorized to perform: DescribeRepositories\n\
         hint: allow ecr:DescribeRepositories to arn:aws:iam::123456789012:root, or use another profile (--profile)\n",
    );
    ran.not_said("Building");
    assert_eq!(changes(&listener.calls()), Vec::<&str>::new());
}

#[test]
fn a_repository_that_the_caller_may_not_push_to_is_told_before_the_build() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "true");
    cloud.ask(&format!("{ECR}.CreateRepository"), json!({ "repositoryName": name }));
    let endpoints =
        format!("docker.io={},{}=http://{}", world("LOCUS_TEST_BASES"), cloud.registry(), registry_that_refuses());
    place.var("LOCUS_REGISTRY_ENDPOINTS", endpoints);
    let words = format!(
        "error: not allowed to push to `{}/{name}`: DENIED: User: arn:aws:iam::123456789012:root is not authorized to \
         perform: ecr:InitiateLayerUpload\n\
         hint: who pushes needs the right to upload there: for ECR, ecr:InitiateLayerUpload and its companions; \
         elsewhere, log in as a user who may push\n",
        cloud.registry()
    );
    refuses(place, &cloud, &format!("--repository {name}"), 4, &words);
}

/// Among these for the home that it shares: it is `--local`, and asks no cloud.
#[test]
fn the_same_loader_runs_on_this_machine_alone() {
    let mut place = Place::new().with_loaders();
    NodeHome::take().lend(&mut place);
    place.var("DBCONNECTION", SECRET);
    let ran = place.run("--local --env FILTER=Town --env LOADER_EXIT=7 loaders/os_opendata.Dockerfile");
    answer(&ran, 7);
    let log = ran.log();
    assert!(log[1].starts_with("os_opendata: 24 places read, ") && log[1].ends_with(" chosen by FILTER=Town"), "{ran}");
    assert_eq!((log[0], log[3]), ("os_opendata: starting", "os_opendata: finished"), "{ran}");
    ran.not_said("hunter2");
    assert_eq!(grep(&place.store(), SECRET), "");

    place.var("DBCONNECTION", "postgres://ann:hunter2@db/places");
    let ran = place.run("--local loaders/os_opendata.Dockerfile");
    answer(&ran, 3);
    ran.said("DBCONNECTION names no database of a kind that this loader knows");
    ran.not_said("hunter2");
}

#[test]
fn ctrl_c_stops_the_task_and_says_so() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "echo up; sleep 300; echo never");
    let listener = cloud.overheard(&mut place);
    let child = place.start("loaders/x.Dockerfile");
    let logs = || cloud.ask("Logs_20140328.DescribeLogStreams", json!({ "logGroupName": name })).to_string();
    eventually("the task", || listener.has_heard("RunTask"));
    eventually("its log", || logs().contains("logStreamName"));
    interrupt(&child);
    let ran = Ran::of(child.wait_with_output().expect("a child of ours"), &["loaders/x.Dockerfile"]);
    assert_eq!(ran.code, Some(130), "{ran}");
    ran.not_said("never");
    assert!(listener.has_heard("StopTask"), "{ran}");
    let cluster = format!("{name}_cluster");
    let running = cloud.ask(&format!("{ECS}.ListTasks"), json!({ "cluster": cluster, "desiredStatus": "RUNNING" }));
    assert_eq!(running["taskArns"], json!([]), "{ran}");
}
