//! `plan`, and the road that then does what it said: neither more nor less.

use serde_json::{Value, json};

use crate::cloud::{Cloud, Listener};
use crate::place::Place;
use crate::stack::{answer, changes, small};

const ECS: &str = "AmazonEC2ContainerServiceV20141113";

/// The plan as JSON; nothing is changed by it, and nothing built.
#[track_caller]
fn plan(place: &Place, listener: &Listener, flags: &str) -> Value {
    listener.calls();
    let ran = place.run(&format!("plan --json {flags} loaders/x.Dockerfile"));
    ran.ok();
    ran.not_said("Building").not_said("hunter2");
    assert_eq!(changes(&listener.calls()), Vec::<&str>::new(), "{ran}");
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran}"))
}

/// The calls that a plan's changes are made with, and the one that runs the task.
fn calls(plan: &Value) -> Vec<&'static str> {
    let mut all = vec!["RunTask"];
    for change in plan["changes"].as_array().expect("a list") {
        let call: &[&str] = match (change["effect"].as_str(), change["kind"].as_str()) {
            (Some("create"), Some("repository")) => &["CreateRepository"],
            (_, Some("lifecycle policy")) => &["PutLifecyclePolicy"],
            (Some("create"), Some("cluster")) => &["CreateCluster"],
            (Some("create"), Some("log group")) => &["CreateLogGroup", "PutRetentionPolicy"],
            (Some("change"), Some("log group")) if has_field(change, "retention") => &["PutRetentionPolicy"],
            (Some("change"), Some("log group")) => &["TagResource"],
            (Some("create"), Some("secret")) => &["CreateSecret"],
            (Some("change"), Some("secret")) => &["PutSecretValue"],
            (Some("create"), Some("role")) => &["CreateRole"],
            (Some("change"), Some("role")) if has_field(change, "tag managed-by") => &["TagRole"],
            (Some("change"), Some("role")) => &["UpdateAssumeRolePolicy"],
            (Some("create" | "change"), Some("policy")) => &["PutRolePolicy"],
            (Some("create"), Some("task definition")) => &["RegisterTaskDefinition"],
            (Some("delete"), Some("task definition")) => &["DeregisterTaskDefinition"],
            other => panic!("what is {other:?}: {change}"),
        };
        all.extend(call);
    }
    all.sort_unstable();
    all
}

fn has_field(change: &Value, name: &str) -> bool {
    change["fields"].as_array().is_some_and(|fields| fields.iter().any(|field| field["field"] == name))
}

/// The road does what the plan says, with the same flags; the plan is returned.
#[track_caller]
fn planned_and_done(place: &Place, listener: &Listener, flags: &str) -> Value {
    let plan = plan(place, listener, flags);
    let ran = place.run(&format!("{flags} loaders/x.Dockerfile"));
    answer(&ran, 0);
    assert_eq!(changes(&listener.calls()), calls(&plan), "{plan:#}\n{ran}");
    plan
}

#[test]
fn the_road_does_what_the_plan_says_and_a_second_plan_has_nothing_to_do() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "true");
    place.write(
        "locus.toml",
        format!(
            "repository = 'of_{name}'\nimage_tag_mutability = 'IMMUTABLE'\nkeep_revisions = 1\n\
             lifecycle = {{ untagged_days = 1, keep = 20 }}\n[loaders.{name}]\ndockerfile = 'loaders/x.Dockerfile'\n\
             secrets = ['{name}_db']\naccess = {{ s3 = ['demo-data'], sqs = ['jobs'] }}\n"
        ),
    );
    place.var(&format!("{name}_db"), "sqlite:///hunter2");
    let listener = cloud.overheard(&mut place);

    let first = planned_and_done(&place, &listener, "");
    let register = first["changes"].as_array().and_then(|all| all.last()).expect("the last");
    assert!(has_field(register, "image") && register.to_string().contains("(known after build)"), "{register}");
    let nothing = plan(&place, &listener, "");
    assert_eq!((&nothing["nothing_to_do"], &nothing["kept"]), (&json!(true), &json!([])), "{nothing:#}");

    let changed = planned_and_done(&place, &listener, "--env X=1");
    let [register, old] = &changed["changes"].as_array().expect("a list")[..] else { panic!("{changed:#}") };
    assert_eq!(register["fields"][0], json!({ "field": "environment X", "is": null, "wanted": "1" }));
    assert_eq!(old["name"], format!("{name}:1"));

    place.var(&format!("{name}_db"), "sqlite:///hunter2-new");
    assert_eq!(plan(&place, &listener, "--env X=1")["nothing_to_do"], true, "a secret is written when it is asked for");
    let changed = planned_and_done(&place, &listener, "--env X=1 --update-secrets");
    assert_eq!(changed["changes"].as_array().map(Vec::len), Some(1), "no revision: {changed:#}");

    let text = place.run("plan --env X=2 loaders/x.Dockerfile");
    text.ok();
    for words in ["  + task definition ", "      ~ environment X: 1 -> 2\n", "To create: 1; to change: 0; to delete: 1"]
    {
        assert!(text.stdout.contains(words), "{words}\n{text}");
    }
}

#[test]
fn what_the_page_of_commands_made_is_adopted_and_its_task_definition_taken() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "false");
    let role = format!("{name}-task-execution-role");
    let trust = json!({ "Statement": [{
        "Effect": "Allow", "Principal": { "Service": "ecs-tasks.amazonaws.com" }, "Action": "sts:AssumeRole",
    }] });
    let broad =
        json!({ "Statement": [{ "Sid": "All", "Effect": "Allow", "Action": ["ecr:*", "logs:*"], "Resource": "*" }] });
    cloud.ask("Logs_20140328.CreateLogGroup", json!({ "logGroupName": name }));
    cloud.iam(&format!("Action=CreateRole&RoleName={role}&AssumeRolePolicyDocument={}", encoded(&trust)));
    let policy = format!("PolicyName={name}-iam-policy-task-execution-role&PolicyDocument={}", encoded(&broad));
    cloud.iam(&format!("Action=PutRolePolicy&RoleName={role}&{policy}"));
    place.write(
        "locus.toml",
        format!("[loaders.{name}]\ndockerfile = 'loaders/x.Dockerfile'\ntask_definition = 'loaders/x-task.json'\n"),
    );
    place.write(
        "loaders/x-task.json",
        json!({
            "family": "$DOCKERNAME",
            "executionRoleArn": "arn:aws:iam::$AWSACCOUNT:role/${DOCKERNAME}-task-execution-role",
            "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": ".5 vCPU", "memory": "1 GB",
            "containerDefinitions": [{
                "name": "loader", "image": "$REPOSITORYURI:latest",
                "command": ["sh", "-c", "echo $$FILTER in $$AWSREGION"],
                "environment": [{ "name": "FILTER", "value": "x" }],
                "ulimits": [{ "name": "nofile", "softLimit": 4096, "hardLimit": 4096 }],
                "logConfiguration": { "logDriver": "awslogs", "options": { "awslogs-group": "$DOCKERNAME" } },
            }],
        })
        .to_string(),
    );
    let listener = cloud.overheard(&mut place);

    let kept = plan(&place, &listener, "")["kept"].to_string();
    assert!(kept.contains("keeps its lines for ever, not 30 days; --adopt changes it"), "{kept}");
    let adopted = planned_and_done(&place, &listener, "--adopt --env FILTER=all");
    let goes = adopted.to_string();
    assert!(goes.contains(r#"{"field":"Statement All Action","is":"[\"ecr:*\",\"logs:*\"]","wanted":null}"#), "{goes}");
    let nothing = plan(&place, &listener, "--env FILTER=all");
    assert_eq!(nothing["nothing_to_do"], true, "it is ours now, and what ECS filled in is none: {nothing:#}");

    let ran = place.run("--env FILTER=all loaders/x.Dockerfile");
    assert_eq!(ran.log(), ["all in eu-west-1"], "{ran}");
    let definition = cloud.ask(&format!("{ECS}.DescribeTaskDefinition"), json!({ "taskDefinition": name }));
    let definition = &definition["taskDefinition"];
    assert_eq!((&definition["cpu"], &definition["memory"]), (&json!("512"), &json!("1024")));
    let container = &definition["containerDefinitions"][0];
    assert_eq!(container["ulimits"], json!([{ "name": "nofile", "softLimit": 4096, "hardLimit": 4096 }]));
    assert!(container["image"].as_str().is_some_and(|image| image.contains("@sha256:")), "{container}");
}

/// Percent-encoded, as IAM's forms want it.
fn encoded(document: &Value) -> String {
    document.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
}
