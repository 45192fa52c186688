//! The file's text: what was found, and what may be said besides, behind a `#`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::Environment;
use super::look::{Found, FoundLoader};
use crate::deploy::Size;

pub(super) fn render(found: &Found, env: &Environment) -> String {
    let mut out = String::from(
        "# Settings of locus-push. Flags beat the environment, the environment beats this file, this file beats the defaults.\n\
         # ${VARIABLES} are the environment's.\n\n",
    );
    let exported = |names: &[&str]| -> Vec<String> {
        names.iter().filter(|name| env.set(name).is_some()).map(|name| format!("${{{name}}}")).collect()
    };
    let list = |key: &str, names: &[&str], example: &str, what: &str| match &exported(names)[..] {
        [] => format!("# {key} = [\"{example}\"]    # {what}\n"),
        found => format!("{key} = [{}]\n", found.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")),
    };
    match env.set("REGION") {
        Some(_) => out.push_str("region = \"${REGION}\"\n"),
        None => out.push_str("# region = \"eu-west-1\"    # else the AWS profile's own\n"),
    }
    out.push_str(
        "# profile = \"locus\"    # else the profile `locus` where there is one, else what AWS_PROFILE says\n",
    );
    out.push_str("# repository = \"locus_data_loaders\"    # one for all loaders, told apart by their tags\n");
    out.push_str(&list(
        "subnets",
        &["SUBNET1", "SUBNET2"],
        "subnet-0123456789abcdef0",
        "needed on Fargate; not with --local",
    ));
    out.push_str(&list("security_groups", &["SECURITYGROUP"], "sg-0123456789abcdef0", "the same"));
    out.push_str("# assign_public_ip = false    # for subnets that reach the internet by a NAT gateway\n");
    out.push_str("# log_retention_days = 30\n");
    for (path, why) in &found.nameless {
        write_to(&mut out, format_args!("\n# {} has no table here: {}\n", one_line(path), one_line(why)));
    }
    for found in &found.loaders {
        out.push('\n');
        loader(&mut out, found, env);
    }
    out
}

fn loader(out: &mut String, FoundLoader { name, dockerfile, task }: &FoundLoader, env: &Environment) {
    write_to(out, format_args!("[loaders.{}]\ndockerfile = {}\n", key(name), quoted(dockerfile)));
    out.push_str("# context = \".\"    # what COPY reads from, as in `docker build -f FILE .`\n");
    let task = task.clone().unwrap_or_default();
    if !task.path.is_empty() {
        write_to(out, format_args!("# As {} has it:\n", one_line(&task.path)));
    }
    let default = Size::default();
    let (cpu, memory) = (task.cpu.unwrap_or(default.cpu()), task.memory.unwrap_or(default.memory()));
    match Size::new(cpu, memory) {
        Ok(_) => write_to(out, format_args!("cpu = {cpu}    # 1024 are one CPU\nmemory = {memory}    # MiB\n")),
        Err(why) => write_to(out, format_args!("# cpu = {cpu}, memory = {memory}: {}\n", one_line(&why.to_string()))),
    }
    out.push_str("# ephemeral_storage = 40    # GiB, from 21 to 200; Fargate gives 20\n");
    // Secrets of which a value is here, or an ARN: the others are somebody's to say.
    let mut secrets: BTreeMap<String, String> = task.secrets.clone();
    if ["DBCONNECTION", "DB_CONNECTION_STRING", "SECRETSRESOURCEARN"].iter().any(|name| env.set(name).is_some()) {
        secrets.entry("DBCONNECTION".to_owned()).or_default();
    }
    let plain: BTreeMap<_, _> = task.environment.iter().filter(|(name, _)| !secrets.contains_key(*name)).collect();
    match plain.is_empty() {
        true => out.push_str("# environment = { FILTER = \"Test Loader\" }\n"),
        false => write_to(out, format_args!("environment = {{ {} }}\n", pairs(plain))),
    }
    match secrets.is_empty() {
        true => out
            .push_str("# secrets = [\"DBCONNECTION\"]    # made from the variable of that name, where there is none\n"),
        false => {
            let whole = |text: &str| text.starts_with("arn:") && !text.contains('$');
            let names = || secrets.keys().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
            match secrets.values().any(|from| whole(from)) {
                false => write_to(out, format_args!("secrets = [{}]\n", names())),
                true => {
                    let from = secrets.iter().map(|(name, from)| (name, if whole(from) { from } else { name }));
                    write_to(out, format_args!("secrets = {{ {} }}\n", pairs(from)));
                }
            }
        }
    }
    out.push_str("# access = { s3 = [\"a-bucket\"] }    # what the task's own role may do\n");
}

fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let pairs = pairs.into_iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value)));
    pairs.collect::<Vec<_>>().join(", ")
}

/// TOML v1.0.0, "Keys": bare where it may be.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if bare { name.to_owned() } else { quoted(name) }
}

/// TOML v1.0.0, "String": a basic one.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            char if char.is_control() => write_to(&mut out, format_args!("\\u{:04x}", u32::from(char))),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}
