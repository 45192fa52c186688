//! A loader taken down: all that is its own, nothing that is another's, and what is shared with the last of them.

use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::place::{Place, eventually};
use crate::stack::changes;

const ECR: &str = "AmazonEC2ContainerRegistry_V20150921";
const ECS: &str = "AmazonEC2ContainerServiceV20141113";

/// What is removed, `kind name`; and what stays.
#[track_caller]
fn down(place: &Place, flags: &str, code: i32) -> (Vec<String>, Value) {
    let ran = place.run(&format!("down --json {flags}"));
    assert_eq!(ran.code, Some(code), "{ran}");
    let down: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    let text = |value: &Value| crate::image::text(value).to_owned();
    let all = down["changes"].as_array().expect("a list").iter();
    (all.map(|change| ["kind", "name"].map(|key| text(&change[key])).join(" ")).collect(), down)
}

/// The tags of the images that are left.
fn tags(cloud: &Cloud) -> Vec<String> {
    let images = cloud.ask(&format!("{ECR}.DescribeImages"), json!({ "repositoryName": "locus_data_loaders" }));
    let images = images["imageDetails"].as_array().cloned().unwrap_or_default();
    let tags = images.iter().flat_map(|image| image["imageTags"].as_array().cloned().unwrap_or_default());
    tags.map(|tag| crate::image::text(&tag).to_owned()).collect()
}

#[test]
fn of_two_loaders_that_share_everything_one_is_taken_down_and_the_other_still_runs() {
    let cloud = Cloud::own();
    let mut place = cloud.place();
    for name in ["a", "b"] {
        place.write(
            &format!("{name}.Dockerfile"),
            format!("FROM busybox\nCOPY {name}.Dockerfile /\nCMD echo {name} runs\n"),
        );
    }
    place.write(
        "locus.toml",
        "cluster = 'shared'\nlog_group = '/loaders'\n\
         [loaders.a]\nsecrets = ['DBCONNECTION']\nschedule = 'rate(1 day)'\nlog_group = 'a'\naccess = { s3 = ['demo-data'] }\n\
         [loaders.b]\nsecrets = ['DBCONNECTION']\n",
    );
    place.var("DBCONNECTION", "sqlite:///hunter2");
    place.run("deploy --json a.Dockerfile b.Dockerfile").ok();
    cloud.iam("Action=AttachRolePolicy&RoleName=a-task-role&PolicyArn=arn:aws:iam::aws:policy/ReadOnlyAccess");
    cloud.ask(
        &format!("{ECS}.RegisterTaskDefinition"),
        json!({ "family": "a_b", "containerDefinitions": [{ "name": "x", "image": "x" }] }),
    );
    let listener = cloud.overheard(&mut place);

    let shown = place.run("down a");
    assert_eq!(shown.code, Some(2), "{shown}");
    shown.said("error: nothing was removed\nhint: --yes removes what is listed\n");
    assert!(shown.stdout.contains("\n  - schedule a: it runs the loader: rate(1 day) UTC\n"), "{shown}");
    assert!(shown.stdout.ends_with("\nTo remove: 11\n"), "{shown}");
    assert_eq!(changes(&listener.calls()), Vec::<&str>::new());

    // The last thing that it cannot do does not undo the first, and the same command goes on.
    listener.deny("DeleteLogGroup");
    let ran = place.run("down a --yes");
    assert_eq!(ran.code, Some(4), "{ran}");
    ran.said("error: removing the log group a: logs:DeleteLogGroup");
    assert_eq!(cloud.scheduler("GET", "/schedules/a?groupName=locus-push", &Value::Null), None);
    listener.allow("DeleteLogGroup");
    let (gone, told) = down(&place, "a --yes --shared --secrets", 0);
    let wanted = [
        "log group a",
        "attached policy arn:aws:iam::aws:policy/ReadOnlyAccess",
        "policy a-iam-policy-schedule-role",
        "role a-schedule-role",
        "policy a-iam-policy-task-execution-role",
        "role a-task-execution-role",
        "policy a-iam-policy-task-role",
        "role a-task-role",
        "task definition a:1",
    ];
    let mut sorted = (gone.clone(), wanted.map(str::to_owned));
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1, "{told:#}");
    let kept = told["kept"].to_string();
    for words in [
        ":secret:DBCONNECTION-",
        "stays: b:1 has it too",
        "the cluster shared stays: other loaders are left: b",
        "the repository locus_data_loaders stays: other loaders are left: b",
    ] {
        assert!(kept.contains(words), "{words}: {told:#}");
    }
    let left = tags(&cloud);
    assert!(left.len() == 2 && left.iter().all(|tag| tag == "b" || tag.starts_with("b.")), "{left:?}");
    let (again, told) = down(&place, "a", 0);
    assert_eq!((again, &told["removed"]), (Vec::new(), &json!(false)));
    let families = cloud.ask(&format!("{ECS}.ListTaskDefinitionFamilies"), json!({ "status": "ACTIVE" }));
    assert_eq!(families["families"], json!(["a_b", "b"]), "what somebody else made stays");

    // Not followed: a log that is, is waited for after its task's end.
    place.run("run b --detach").ok();
    let ended = || place.run("status b").stdout.contains("STOPPED: exit code 0");
    eventually("the end of the other loader's task", ended);
    assert_eq!(place.run("logs b").ok(), "b runs");
    let ran = place.run_args(&["run", "b", "--detach", "--", "sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"]);
    let task = ran.ok().to_owned();
    let running = || place.run("status b").stdout.contains(&format!("{task}  RUNNING"));
    eventually("the task", running);
    place.run("down b --yes").fails(
        2,
        &format!(
            "error: b has a task that runs: {task}\nhint: wait for the end, or stop what runs with --stop; nothing was removed\n"
        ),
    );
    let (gone, told) = down(&place, "b --yes --stop --shared --secrets", 0);
    for wanted in
        [&format!("task {task}"), "cluster shared", "repository locus_data_loaders", "schedule group locus-push"]
    {
        assert!(gone.iter().any(|one| one == wanted), "{wanted}: {told:#}");
    }
    assert!(gone.iter().any(|one| one.starts_with("secret ")), "{told:#}");
    assert!(told["kept"].to_string().contains("the log group /loaders stays"), "{told:#}");
    let secret = cloud.ask("secretsmanager.DescribeSecret", json!({ "SecretId": "DBCONNECTION" }));
    assert!(!secret["DeletedDate"].is_null(), "it can be brought back: {secret}");
    let clusters = cloud.ask(&format!("{ECS}.DescribeClusters"), json!({ "clusters": ["shared"] }));
    assert_ne!(clusters["clusters"][0]["status"], "ACTIVE", "{clusters}");
}
