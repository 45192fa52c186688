#!/usr/bin/env python3
"""The stack tried by hand: push with skopeo, run with botocore, read the exit code and the log back.

  tests/stack/supply up; tests/stack/bases; tests/stack/up DIR
  . DIR/env; . "$LOCUS_TEST_CACHE/world.env"; export LOCUS_TEST_BASES; DIR/venv/bin/python tests/stack/try.py
"""
import base64, os, subprocess, time
import botocore.session

session = botocore.session.get_session()
ecr, ecs, logs, iam = (session.create_client(name, verify=False) for name in ("ecr", "ecs", "logs", "iam"))
bases = os.environ["LOCUS_TEST_BASES"].removeprefix("http://")
registry = os.environ["LOCUS_REGISTRY_ENDPOINTS"].partition("=")[2].removeprefix("https://")

repository = ecr.create_repository(repositoryName="try")["repository"]["repositoryUri"]
credential = base64.b64decode(ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]).decode()
subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", "--dest-creds", credential,
                f"docker://{bases}/library/busybox:latest", f"docker://{registry}/try:x"], check=True)
ecs.create_cluster(clusterName="try_cluster")
logs.create_log_group(logGroupName="try")
role = iam.create_role(RoleName="try-task-execution-role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
ecs.register_task_definition(
    family="try", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512", executionRoleArn=role,
    containerDefinitions=[{
        "name": "try", "image": repository + ":x", "essential": True, "command": ["sh", "-c", "echo hello; exit 7"],
        "logConfiguration": {"logDriver": "awslogs", "options": {
            "awslogs-group": "try", "awslogs-region": os.environ["REGION"], "awslogs-stream-prefix": "try"}}}])
task = ecs.run_task(cluster="try_cluster", taskDefinition="try", launchType="FARGATE", networkConfiguration={"awsvpcConfiguration": {
    "subnets": [os.environ["SUBNET1"]], "securityGroups": [os.environ["SECURITYGROUP"]], "assignPublicIp": "ENABLED"}})["tasks"][0]["taskArn"]
for _ in range(60):
    seen = ecs.describe_tasks(cluster="try_cluster", tasks=[task])["tasks"][0]
    if seen["lastStatus"] == "STOPPED":
        break
    time.sleep(.5)
code = seen["containers"][0].get("exitCode")
said = [e["message"] for s in logs.describe_log_streams(logGroupName="try")["logStreams"]
        for e in logs.get_log_events(logGroupName="try", logStreamName=s["logStreamName"], startFromHead=True)["events"]]
print(seen["lastStatus"], seen.get("stopCode"), seen.get("stoppedReason"), code, said)
assert (code, said) == (7, ["hello"]), "the stack does not run tasks as ECS does"
