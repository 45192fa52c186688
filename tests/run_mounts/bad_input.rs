//! What cannot work, or is meant to harm: a clear error each, with the line, and nothing left behind.

pub mod sandbox {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use crate::{Here, stderr};

    impl Here {
        /// Builds, which must fail at this line of the Dockerfile with these words, and leave no work behind.
        #[track_caller]
        fn fails_at(&self, line: u32, text: &str, words: &str) {
            let output = self.build(text, "");
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(said.contains(words), "{words} in {said}");
            // The base's two lines stand before the text.
            assert!(said.contains(&format!(":{0}\n   |\n {0} | ", line + 2)), "line {line} in {said}");
            let work = fs::read_dir(self.path("home/work")).expect("the store's own").count();
            assert_eq!(work, 0, "nothing is left in work/");
        }

        fn program(&self, path: &str, content: &[u8]) {
            self.write(path, "");
            let path = self.path("context").join(path);
            fs::write(&path, content).expect("written");
            fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("ours");
        }
    }

    #[test]
    fn a_program_that_cannot_start_is_told_with_the_reason() {
        let here = Here::new();
        here.program("rootfs/script", b"#!/no/such/interpreter\n");
        here.fails_at(1, "RUN [\"/script\"]", "is in the image, but `/no/such/interpreter`, which it needs to start");
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        (elf[16], elf[18], elf[52]) = (2, 243, 64);
        here.program("rootfs/foreign", &elf);
        here.fails_at(1, "RUN [\"/foreign\"]", "it is a riscv64 program, and this machine is");
    }

    #[test]
    fn a_user_or_a_folder_that_cannot_be_is_told_with_its_line() {
        let here = Here::new();
        here.fails_at(2, "USER ghost\nRUN true", "no user `ghost` in the image's /etc/passwd");
        here.fails_at(2, "USER 4294967295\nRUN true", "no user `4294967295`");
        here.fails_at(2, "USER 4294967296\nRUN true", "no user `4294967296`");
        here.fails_at(2, "USER 0x0\nRUN true", "no user `0x0`");
    }

    #[test]
    fn a_working_directory_that_is_a_file_is_told_with_its_line() {
        let here = Here::new();
        here.fails_at(2, "RUN touch /file\nWORKDIR /file\nRUN true", "file");
    }

    #[test]
    fn account_files_that_are_traps_are_not_read() {
        let here = Here::new();
        let traps = [
            ("mkfifo /etc/passwd", "it is not a regular file"),
            ("truncate -s 9M /etc/passwd", "it is larger than 8 MiB"),
            // A link out stays inside, where there is nothing.
            ("ln -s ../../../../../../etc/passwd-of-the-host /etc/passwd", "no user `daemon`"),
            ("ln -s /proc/self/root/etc/passwd /etc/passwd", "no user `daemon`"),
            ("ln -s passwd /etc/passwd", "too many symlinks"),
            ("mkdir /etc/passwd", "it is not a regular file"),
        ];
        for (make, words) in traps {
            here.fails_at(3, &format!("RUN mkdir -p /etc && {make}\nUSER daemon\nRUN true"), words);
        }
    }

    #[test]
    fn a_disk_that_is_full_is_told_and_the_store_stays_usable() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not root: no small disk can be mounted");
            return;
        }
        let here = Here::new();
        fs::create_dir(here.path("home")).expect("made");
        let too_much = "RUN dd if=/dev/urandom of=/big bs=1M count=60";
        let (code, said) = on_a_small_disk(&here, too_much);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("RUN failed with exit code 1") && said.contains("No space left on device"), "{said}");
        assert!(said.contains("\n 3 | RUN dd"), "{said}");
        // The command succeeds, and its layer finds no room beside what it wrote.
        let (code, said) = on_a_small_disk(&here, "RUN head -c 30000000 /dev/urandom > /big");
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("the disk is full") && said.contains("\n 3 | RUN head"), "{said}");
    }

    /// Builds with the store on a tmpfs of 40 MiB, and again something small: what failed has made room.
    fn on_a_small_disk(here: &Here, text: &str) -> (Option<i32>, String) {
        let script = "mount -t tmpfs -o size=40m small \"$LOCUS_PUSH_HOME\" || exit 90; \
                      eval \"$FIRST\"; code=$?; \
                      [ -z \"$(ls -A \"$LOCUS_PUSH_HOME/work\")\" ] || exit 91; \
                      ! grep merged /proc/self/mounts | grep -q \"$LOCUS_PUSH_HOME\" || exit 92; \
                      eval \"$SECOND\" || exit 93; exit $code";
        let words = |command: &Command| {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            words.map(|word| format!("'{}'", word.to_str().expect("text"))).collect::<Vec<_>>().join(" ")
        };
        let (first, second) = (here.command(text, ""), here.command("RUN touch /small", ""));
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).current_dir(here.path("")).env_clear();
        command.envs(first.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("FIRST", words(&first)).env("SECOND", words(&second));
        let output = command.output().expect("unshare is on every machine");
        (output.status.code(), stderr(&output))
    }
}
