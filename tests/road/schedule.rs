//! A loader that is run by its schedule: made, changed, found in plan and status, and removed with its line.

use serde_json::{Value, json};

use crate::cloud::{Cloud, Listener};
use crate::place::Place;
use crate::stack::{answer, changes, small};

/// The plan's changes, `effect kind name`.
#[track_caller]
fn plan(place: &Place) -> (Vec<String>, Value) {
    let ran = place.run("plan --json loaders/x.Dockerfile");
    let plan: Value = serde_json::from_str(ran.ok()).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    let text = |value: &Value| crate::image::text(value).to_owned();
    let all = plan["changes"].as_array().expect("a list").iter();
    let words = all.map(|change| ["effect", "kind", "name"].map(|key| text(&change[key])).join(" ")).collect();
    (words, plan)
}

/// The road makes these calls, and no other that changes something.
#[track_caller]
fn road(place: &Place, listener: &Listener, flags: &str, calls: &[&str]) -> String {
    listener.calls();
    let ran = place.run(&format!("{flags} loaders/x.Dockerfile"));
    answer(&ran, 0);
    assert_eq!(changes(&listener.calls()), calls, "{ran}");
    ran.stderr
}

#[test]
fn a_schedule_is_made_kept_and_removed_with_its_line() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "true");
    let toml = |lines: &str| {
        format!("repository = 'of_{name}'\n[loaders.{name}]\ndockerfile = 'loaders/x.Dockerfile'\n{lines}\n")
    };
    // Another test may be the first to make it.
    cloud.scheduler(
        "POST",
        "/schedule-groups/locus-push",
        &json!({ "Tags": [{ "Key": "managed-by", "Value": "locus-push" }] }),
    );
    let listener = cloud.overheard(&mut place);
    place.write("locus.toml", toml("schedule = 'cron(0 3 * * ? *)'\ntimezone = 'Europe/London'"));
    let (first, _) = plan(&place);
    for wanted in [
        format!("create role {name}-schedule-role"),
        format!("create policy {name}-iam-policy-schedule-role"),
        format!("create schedule {name}"),
    ] {
        assert!(first.contains(&wanted), "{wanted}: {first:#?}");
    }
    let ran = place.run("loaders/x.Dockerfile");
    answer(&ran, 0);
    ran.said(&format!("{name} is run by its schedule, cron(0 3 * * ? *) in Europe/London"));
    let calls = listener.calls();
    let last = changes(&calls);
    assert!(last.contains(&"CreateSchedule") && !last.contains(&"RunTask"), "{last:?}");
    let register = calls.iter().position(|call| call == "RegisterTaskDefinition");
    assert!(
        register < calls.iter().position(|call| call == "CreateSchedule"),
        "what it runs is there first: {calls:?}"
    );

    let path = format!("/schedules/{name}?groupName=locus-push");
    let schedule = || cloud.scheduler("GET", &path, &Value::Null);
    let made = schedule().expect("it is made");
    let arn = |service: &str, rest: &str| format!("arn:aws:{service}:eu-west-1:123456789012:{rest}");
    let role = format!("arn:aws:iam::123456789012:role/{name}-schedule-role");
    assert_eq!(
        (&made["ScheduleExpressionTimezone"], &made["State"], &made["FlexibleTimeWindow"]),
        (&json!("Europe/London"), &json!("ENABLED"), &json!({ "Mode": "OFF" }))
    );
    assert_eq!(
        made["Target"],
        json!({
            "Arn": arn("ecs", &format!("cluster/{name}_cluster")),
            "RoleArn": role,
            "RetryPolicy": { "MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 86400 },
            "EcsParameters": {
                "TaskDefinitionArn": arn("ecs", &format!("task-definition/{name}")),
                "TaskCount": 1,
                "LaunchType": "FARGATE",
                "EnableECSManagedTags": true,
                "PropagateTags": "TASK_DEFINITION",
                "NetworkConfiguration": { "awsvpcConfiguration": {
                    "Subnets": ["subnet-00000001", "subnet-00000002"],
                    "SecurityGroups": ["sg-00000001"],
                    "AssignPublicIp": "ENABLED",
                } },
            },
        })
    );
    let policy = cloud.iam_document(
        &format!("Action=GetRolePolicy&RoleName={name}-schedule-role&PolicyName={name}-iam-policy-schedule-role"),
        "PolicyDocument",
    );
    let roles = json!([
        format!("arn:aws:iam::123456789012:role/{name}-task-execution-role"),
        format!("arn:aws:iam::123456789012:role/{name}-task-role")
    ]);
    assert_eq!(policy["Statement"][2]["Resource"], roles, "{policy}");

    assert_eq!(plan(&place).0, Vec::<String>::new());
    road(&place, &listener, "", &[]);
    let status = place.run(&format!("status {name}"));
    assert!(status.ok().contains("\nschedule cron(0 3 * * ? *) Europe/London\n"), "{status}");

    let table = format!("[loaders.{name}.schedule]\nexpression = 'rate(12 hours)'\nretries = 3\nmax_age = '1h'");
    place.write("locus.toml", toml(&format!("{table}\ndead_letter_queue = 'late'\nenabled = false")));
    let (changed, json) = plan(&place);
    assert_eq!(
        changed,
        [format!("change policy {name}-iam-policy-schedule-role"), format!("change schedule {name}")],
        "{json:#}"
    );
    let field = json!({ "field": "expression", "is": "cron(0 3 * * ? *)", "wanted": "rate(12 hours)" });
    assert!(json["changes"][1]["fields"].as_array().is_some_and(|all| all.contains(&field)), "{json:#}");
    let said = road(&place, &listener, "", &["PutRolePolicy", "UpdateSchedule"]);
    assert!(said.contains(&format!("the schedule of {name} is switched off")), "{said}");
    let updated = schedule().expect("it is there");
    assert_eq!((&updated["ScheduleExpressionTimezone"], &updated["State"]), (&json!("UTC"), &json!("DISABLED")));
    assert_eq!(updated["Target"]["DeadLetterConfig"], json!({ "Arn": arn("sqs", "late") }));

    place.run("--count 2 loaders/x.Dockerfile").fails(
        2,
        &format!(
            "error: --count is for a run, and {name} is run by its schedule\nhint: --run-now runs it now as well\n"
        ),
    );
    road(&place, &listener, "--run-now --detach", &["RunTask"]);

    place.write("locus.toml", toml(""));
    let (gone, json) = plan(&place);
    assert_eq!(
        gone,
        [
            format!("delete schedule {name}"),
            format!("delete policy {name}-iam-policy-schedule-role"),
            format!("delete role {name}-schedule-role"),
        ]
    );
    assert_eq!(json["changes"][0]["why"], "locus.toml has no schedule for the loader any more");
    road(&place, &listener, "deploy", &["DeleteRole", "DeleteRolePolicy", "DeleteSchedule"]);
    assert_eq!(schedule(), None);
    assert_eq!(plan(&place).0, Vec::<String>::new());
}

#[test]
fn a_schedule_that_scheduler_would_refuse_is_shown_where_it_stands() {
    let place = Place::new();
    place.write("x.Dockerfile", "FROM busybox\n");
    place.write("locus.toml", "[loaders.x]\nschedule = 'cron(0 25 * * ? *)'\n");
    place.run("plan x.Dockerfile").fails(
        2,
        "error: `25` is no hours of a cron expression: it is 0–23, `*`, a list `a,b`, a range `a-b`, a step `a/n`\n\
         \x20 --> locus.toml:2:20\n\
         \x20  |\n\
         \x202 | schedule = 'cron(0 25 * * ? *)'\n\
         \x20  |                    ^^\n",
    );
}
