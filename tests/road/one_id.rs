//! Where one id is all there is, packages and accounts do to a root what they do for root.

use std::collections::BTreeMap;

use crate::image::Image;
use crate::place::Place;

/// What is in the last layer, without the contents: logs and caches hold times.
fn last_layer(place: Place, dockerfile: &str) -> BTreeMap<String, String> {
    place.write("Dockerfile", dockerfile);
    let (layout, output) = place.layout();
    place.run_args(&["build", "-o", &output, "."]).ok();
    let image = Image::of_folder(&layout);
    image.files(image.layers.len() - 1).into_iter().map(|(path, entry)| (path, entry.meta)).collect()
}

fn same_as_root(dockerfile: &str) -> BTreeMap<String, String> {
    let (root, nobody) = (last_layer(Place::new(), dockerfile), last_layer(Place::of_nobody(), dockerfile));
    let differ = |(path, meta): &(&String, &String)| nobody.get(*path) != Some(*meta);
    let differences: Vec<_> = root.iter().filter(differ).map(|(path, meta)| (path, meta, nobody.get(path))).collect();
    assert!(differences.is_empty(), "path, as root, with one id: {differences:#?}");
    assert_eq!(root.len(), nobody.len(), "nothing more than root makes");
    nobody
}

#[test]
fn users_are_made_and_become_themselves() {
    let files = same_as_root(
        "FROM debian
RUN useradd -m -s /bin/bash alice && usermod -a -G www-data alice \\
 && su alice -c 'id > ~/who && umask 077 && mkdir ~/.config && touch ~/.config/private && ln -s who ~/link' \\
 && grep -q 'uid=1000(alice) gid=1000(alice) groups=1000(alice),33(www-data)' /home/alice/who \\
 && find /home -user alice | grep -q private && install -o www-data -g mail -m 2750 -d /srv/spool
",
    );
    assert_eq!(files["/home/alice/.config/private"], "0600 1000:1000");
    assert_eq!(files["/home/alice/link"], "-> who 1000:1000");
    assert_eq!(files["/etc/shadow"], "0640 0:42");
    assert_eq!(files["/srv/spool"], "2750/ 33:8");
}

#[test]
fn the_rung_is_said_with_what_is_missing() {
    let place = Place::of_nobody();
    place.write("Dockerfile", "FROM busybox\nRUN true\n");
    let ran = place.run("build .");
    ran.ok();
    ran.said("Sandbox one id: /etc/subuid gives `nobody` no range of ids");
}

mod slow {
    use super::same_as_root;

    #[test]
    fn a_server_with_accounts_of_its_own_is_installed() {
        let files = same_as_root(
            "FROM debian
RUN apt-get update && apt-get install -y --no-install-recommends openssh-server dbus cron \\
 && rm -rf /var/lib/apt/lists /var/cache/apt /var/log /etc/ssh/ssh_host_*
",
        );
        assert!(files["/usr/bin/crontab"].starts_with("2755 0:1"), "of the group that its package made");
    }
}
