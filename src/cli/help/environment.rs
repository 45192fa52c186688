//! The variables that steer us.

use super::table;

const OURS: &[(&str, &str)] = &[
    ("LOCUS_PUSH_HOME", "the folder for layers, caches and the embedded registry"),
    ("XDG_CACHE_HOME", "else locus-push below this one, else ~/.cache/locus-push"),
    ("HOME", "where ~ is"),
    ("LOCUS_REGISTRY_ENDPOINTS", "HOST=URL,… sends a registry's traffic elsewhere; --registry-endpoint"),
    ("SOURCE_DATE_EPOCH", "the time of layers, in seconds since 1970; a build argument, too"),
];

const TASK: &[(&str, &str)] = &[
    ("AWSACCOUNT", "the account that must be the credentials' own"),
    ("REGION", "the AWS region; --region"),
    ("SUBNET1, SUBNET2", "the task's subnets; --subnet"),
    ("SECURITYGROUP", "the task's security group; --security-group"),
    ("DOCKERNAME", "the loader's name; an error with several loaders"),
    ("REPOSITORYURI", "the ECR repository, with its registry"),
    ("SECRETSRESOURCEARN", "the ARN of the secret DBCONNECTION"),
    ("DB_CONNECTION_STRING", "its value, where no variable DBCONNECTION is set"),
];

const OTHERS: &[(&str, &str)] = &[
    ("AWS_PROFILE, AWS_…", "as the AWS CLI and SDKs have them, AWS_ENDPOINT_URL[_SERVICE] too"),
    ("DOCKER_CONFIG", "the folder of docker's config.json, for credentials of registries"),
    ("SSL_CERT_FILE", "certificates to trust in place of the system's; --ca-file adds some"),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "proxies for registries and downloads; RUN takes its own by --build-arg"),
    ("SSH_AUTH_SOCK", "the agent that --ssh default forwards"),
    ("PATH", "where git, qemu, newuidmap and credential helpers are found"),
];

const SCREEN: &[(&str, &str)] = &[
    ("NO_COLOR", "no colours"),
    ("CLICOLOR_FORCE", "colours in a file, too; CLICOLOR=0: none"),
    ("CLICOLOR", "0: no colours"),
    ("TERM", "dumb: neither colours nor anything that moves"),
    ("CI", "nothing that moves"),
];

pub(super) fn page() -> String {
    format!(
        "A flag beats a variable, a variable beats locus.toml. An empty variable counts as not set.\n\n\
         Ours:\n{}\nThe task and where it runs:\n{}\nOf others:\n{}\nThe terminal:\n{}\n\
         In locus.toml ${{NAME}} is any variable's value.\n",
        table(OURS),
        table(TASK),
        table(OTHERS),
        table(SCREEN)
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The names that a file asks the environment for.
    fn asked(file: &Path, into: &mut Vec<String>) {
        if file.is_dir() {
            for entry in std::fs::read_dir(file).expect("the source can be read") {
                asked(&entry.expect("its entries too").path(), into);
            }
            return;
        }
        let text = std::fs::read_to_string(file).expect("source is text");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in ["env.set(\"", "env.get(\"", "env::var(\"", "env::var_os(\""] {
            let names = text.split(call).skip(1).filter_map(|rest| rest.split_once('"'));
            into.extend(names.map(|(name, _)| name.to_owned()));
        }
    }

    #[test]
    fn no_variable_that_is_asked_for_is_missing() {
        let mut names = Vec::new();
        for room in ["cli", "aws", "registry", "deploy", "road", "build"] {
            asked(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut names);
        }
        // The tests' own.
        names.retain(|name| !name.starts_with("LOCUS_TEST") && !name.starts_with("LOCUS_WRITE"));
        assert!(names.len() > 10, "{names:?}");
        let page = page();
        for name in names {
            assert!(page.contains(&name), "{name} is not on the page");
        }
    }
}
