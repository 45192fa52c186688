#!/usr/bin/env python3
"""What a CI service runs of a recipe, as one script of its shell: `recipe.py FILE [INPUT=VALUE…]`.

On stdout is JSON: the shell's command line (the script's path comes after it), the variables that the recipe sets, and
the script. What this reader does not know in a recipe is an error, so that no part of one is passed over.
"""
import json
import pathlib
import re
import sys

import yaml


def only(mapping, *known):
    unknown = set(mapping) - set(known)
    if unknown:
        sys.exit(f"{sys.argv[1]}: this reader does not know {', '.join(sorted(map(str, unknown)))}")
    return mapping


def gitlab(text):
    """The runner's shell executor: before_script and script, one after the other in one shell with -e and pipefail."""
    job = only(only(yaml.safe_load(text), "load")["load"], "image", "id_tokens", "variables", "before_script", "script")
    only(job["id_tokens"], "LOADER_ID_TOKEN")
    return ["bash", "-eo", "pipefail"], job["variables"], job["before_script"] + job["script"]


def codebuild(text):
    """Version 0.2: all commands in one shell; a phase ends at the first that fails."""
    spec = only(yaml.safe_load(text), "version", "env", "phases")
    assert spec["version"] == 0.2
    phases = only(spec["phases"], "install", "build")
    commands = [command for phase in phases.values() for command in only(phase, "commands")["commands"]]
    return ["sh", "-e"], only(spec["env"], "variables")["variables"], commands


def bitbucket(text):
    (step,) = only(only(yaml.safe_load(text), "image", "pipelines")["pipelines"]["custom"], "load")["load"]
    step = only(step["step"], "name", "oidc", "script")
    assert step["oidc"] is True
    return ["bash", "-e"], {}, step["script"]


def jenkins(text):
    """Groovy, of which this knows an `environment` of literals and the one `sh` of a stage."""
    (environment,) = re.findall(r"environment \{\n(.*?)\n    \}", text, re.S)
    variables = dict(re.fullmatch(r"\s*(\w+) = '([^'$]*)'", line).groups() for line in environment.splitlines())
    (script,) = re.findall(r"sh '''\n(.*?)'''", text, re.S)
    assert "\\" not in script, "Groovy would read it"
    assert re.findall(r"\bsh\b", text) == ["sh"]
    return ["sh", "-xe"], variables, [script]


def github(text, given):
    """A composite action: each step in a bash of its own, which leaves PATH, variables and answers in files."""
    action = only(yaml.safe_load(text), "name", "description", "inputs", "outputs", "runs")
    unknown = set(given) - set(action["inputs"])
    missing = [name for name, wish in action["inputs"].items() if wish.get("required") and name not in given]
    assert not unknown and not missing, (unknown, missing)
    inputs = {name: given.get(name, wish.get("default")) for name, wish in action["inputs"].items()}

    def filled(value):
        name = re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value)
        return inputs[name[1]] if name else sys.exit(f"what is {value}?")

    # On a machine of GitHub's; what is asked of it by sudo is not asked of the one that runs the tests.
    wishes = {None: True, "inputs.role != ''": bool(inputs["role"]), "runner.environment == 'github-hosted'": False}
    lines = []
    assert only(action["runs"], "using", "steps")["using"] == "composite"
    for step in action["runs"]["steps"]:
        only(step, "name", "id", "if", "shell", "env", "run")
        assert step["shell"] == "bash" and "${{" not in step["run"], step["name"]
        if not wishes[step.get("if")]:
            continue
        variables = " ".join(f"{name}={quoted(filled(value))}" for name, value in step.get("env", {}).items())
        lines += [
            f"env {variables} bash --noprofile --norc -eo pipefail -c {quoted(step['run'])}",
            'while read -r line; do PATH=$line:$PATH; done < "$GITHUB_PATH"',
            'while read -r line; do export "$line"; done < "$GITHUB_ENV"',
        ]
    return ["bash", "-e"], {}, lines


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


file = pathlib.Path(sys.argv[1])
text = file.read_text()
if file.name == "action.yml":
    found = github(text, dict(word.split("=", 1) for word in sys.argv[2:]))
else:
    readers = {"gitlab-ci.yml": gitlab, "buildspec.yml": codebuild, "bitbucket-pipelines.yml": bitbucket}
    found = readers.get(file.name, jenkins)(text)
shell, variables, lines = found
print(json.dumps({"shell": shell, "variables": variables, "script": "\n".join(lines) + "\n"}))
