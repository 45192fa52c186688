use crate::dockerfile::{
    AddFiles, Argument, Assignment, Command, CopyFiles, FromImage, Healthcheck, Heredoc, Kind, MountSpec, Onbuild,
    Probe, RunCommand, Source, Word, parse,
};

/// The instructions behind a `FROM x`, one a line, shortly written.
#[track_caller]
fn check(text: &str, expected: &str) {
    check_whole(&format!("FROM x\n{text}"), &format!("from x\n{expected}"));
}

#[track_caller]
fn check_whole(text: &str, expected: &str) {
    let file = parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    let shown: Vec<_> = file.instructions.iter().map(|instruction| show(&instruction.kind)).collect();
    assert_eq!(shown.join("\n"), expected, "{text}");
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let text = format!("FROM x\n{text}");
    match parse(&text) {
        Ok(file) => panic!("{text:?} was accepted: {:?}", file.instructions),
        Err(errors) => assert_eq!(errors.to_string(), expected, "{text}"),
    }
}

fn show(kind: &Kind) -> String {
    match kind {
        Kind::From(FromImage { image, platform, name }) => {
            format!(
                "from{} {image}{}",
                optional("platform", platform),
                name.as_ref().map_or(String::new(), |n| format!(" as {n}"))
            )
        }
        Kind::Arg(arguments) => format!(
            "arg {}",
            list(arguments, |Argument { name, default }| match default {
                Some(default) => format!("{name}=<{default}>"),
                None => name.clone(),
            })
        ),
        Kind::Env(pairs) => format!("env {}", list(pairs, assignment)),
        Kind::Label(pairs) => format!("label {}", list(pairs, assignment)),
        Kind::Maintainer(name) => format!("maintainer {name:?}"),
        Kind::Run(RunCommand { command, heredocs, mounts, network, security, devices }) => {
            let mut shown = "run".to_string();
            shown += &mounts
                .iter()
                .map(|MountSpec { options }| format!(" mount={}", list(options, |(key, _)| key.clone())))
                .collect::<String>();
            shown += &network.map_or(String::new(), |network| format!(" network={network:?}"));
            shown += &security.map_or(String::new(), |security| format!(" security={security:?}"));
            shown += &devices.iter().map(|device| format!(" device={}", device.name)).collect::<String>();
            shown
                + " "
                + &show_command(command)
                + &heredocs.iter().map(|h| " ".to_string() + &heredoc(h)).collect::<String>()
        }
        Kind::Cmd(command) => format!("cmd {}", show_command(command)),
        Kind::Entrypoint(command) => format!("entrypoint {}", show_command(command)),
        Kind::Shell(words) => format!("shell {words:?}"),
        Kind::Workdir(word) => format!("workdir {:?}", word.0),
        Kind::User(word) => format!("user {:?}", word.0),
        Kind::Expose(words) => format!("expose {}", list(words, Word::to_string)),
        Kind::Volume(words) => format!("volume {}", list(words, Word::to_string)),
        Kind::Stopsignal(word) => format!("stopsignal {word}"),
        Kind::Healthcheck(Healthcheck::None) => "healthcheck none".to_string(),
        Kind::Healthcheck(Healthcheck::Probe(Probe {
            command,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        })) => {
            format!(
                "healthcheck {interval} {timeout} {start_period} {start_interval} {retries} {}",
                show_command(command)
            )
        }
        Kind::Onbuild(Onbuild { trigger, kind }) => format!("onbuild {trigger:?} = {}", show(kind)),
        Kind::Copy(CopyFiles { sources, destination, from, chown, chmod, link, parents, exclude }) => {
            let from = from.clone().map(Word);
            format!(
                "copy{}{}{}{}{}{} {} -> {destination}",
                optional("from", &from),
                optional("chown", chown),
                optional("chmod", chmod),
                flag("link", *link),
                flag("parents", *parents),
                exclude.iter().map(|e| format!(" exclude={e}")).collect::<String>(),
                list(sources, source)
            )
        }
        Kind::Add(AddFiles { sources, destination, chown, chmod, link, exclude, checksum, keep_git_dir, unpack }) => {
            format!(
                "add{}{}{}{}{}{}{} {} -> {destination}",
                optional("chown", chown),
                optional("chmod", chmod),
                optional("checksum", checksum),
                flag("link", *link),
                keep_git_dir.map_or(String::new(), |keep| format!(" keep={keep}")),
                unpack.map_or(String::new(), |unpack| format!(" unpack={unpack}")),
                exclude.iter().map(|e| format!(" exclude={e}")).collect::<String>(),
                list(sources, source)
            )
        }
    }
}

fn show_command(command: &Command) -> String {
    match command {
        Command::Shell(text) => format!("{text:?}"),
        Command::Exec(words) => format!("{words:?}"),
    }
}

fn heredoc(Heredoc { name, file_descriptor, expand, chomp, body }: &Heredoc) -> String {
    let chomp = if *chomp { "-" } else { "" };
    let quote = if *expand { "" } else { "'" };
    format!("{file_descriptor}<<{chomp}{quote}{name}{quote}{body:?}")
}

fn source(source: &Source) -> String {
    match source {
        Source::Path(path) => path.0.clone(),
        Source::Inline(inline) => heredoc(inline),
    }
}

fn assignment(Assignment { name, value, legacy }: &Assignment) -> String {
    format!("{name}=<{value}>{}", if *legacy { " legacy" } else { "" })
}

fn optional(name: &str, word: &Option<Word>) -> String {
    word.as_ref().map_or(String::new(), |word| format!(" {name}={word}"))
}

fn flag(name: &str, set: bool) -> String {
    if set { format!(" {name}") } else { String::new() }
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_line_ending_in_the_escape_character_continues() {
    check("RUN a \\\n  b", r#"run "a   b""#);
    check("RUN a\\ \t\nb", r#"run "ab""#);
    check("RUN a \\\r\n b\r\n", r#"run "a  b""#);
    check("RUN a\\", r#"run "a""#);
    check("RUN a \\\\\nCMD b", "run \"a \\\\\\\\\"\ncmd \"b\"");
    check_whole(
        "# escape=`\nFROM x\nRUN a `\n b\\",
        r#"from x
run "a  b\\""#,
    );
}

#[test]
fn a_comment_inside_a_continued_line_is_dropped() {
    check("RUN a \\\n# not this\n  # nor this\n  b", r#"run "a   b""#);
    check("RUN a \\\n\n  b", r#"run "a   b""#);
    check("RUN a # this stays", r#"run "a # this stays""#);
    check("  # c\n\t RUN a", r#"run "a""#);
}

#[test]
fn an_instruction_knows_its_place_and_its_text() {
    let text = "# base\nFROM x\n\n# one\n# two\n  run a \\\n\n   b  \nCOPY <<E /f\nx\nE\n";
    let file = parse(text).unwrap();
    let [from, run, copy] = file.instructions.as_slice() else { panic!("{file:?}") };
    assert_eq!((from.span.line, from.span.last_line, from.comments.as_slice()), (2, 2, &["base".to_string()][..]));
    assert_eq!((run.span.line, run.span.last_line, run.source.as_str()), (6, 8, "run a    b"));
    assert_eq!(&text[run.span.start..run.span.end], "run a \\\n\n   b  ");
    assert_eq!((run.keyword.as_str(), run.empty_continuation, run.comments.len()), ("run", true, 2));
    assert_eq!((copy.span.line, copy.span.last_line, copy.source.as_str()), (9, 11, "COPY <<E /f"));
    assert_eq!(&text[copy.span.start..copy.span.end], "COPY <<E /f\nx\nE");
}

#[test]
fn a_stage_has_an_image_and_perhaps_a_name() {
    check_whole("\u{feff}FROM a", "from a");
    check_whole("from --platform=$BUILDPLATFORM a:1 As Build-1.x", "from platform=$BUILDPLATFORM a:1 as build-1.x");
    check_whole("ARG V=1\nFROM a:$V", "arg V=<1>\nfrom a:$V");
    check_error("FROM", "line 2: FROM requires either one or three arguments");
    check_error("FROM a b", "line 2: FROM requires either one or three arguments");
    check_error(
        "FROM a AS 1x",
        "line 2: invalid name for build stage: \"1x\", name can't start with a number or contain symbols",
    );
    check_error("FROM --plaform=x a", "line 2: unknown flag: --plaform (did you mean platform?)");
}

#[test]
fn a_file_begins_with_a_stage() {
    for (text, message) in [
        ("", "line 1: the Dockerfile cannot be empty"),
        ("# only\n\n", "lines 1-2: the Dockerfile cannot be empty"),
        ("ARG x", "line 1: dockerfile contains no stages to build"),
        ("RUN a\nFROM x", "line 1: no build stage in current context"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), message, "{text:?}");
    }
}

#[test]
fn all_faults_of_a_file_are_said_at_once() {
    check_error(
        "FORM a\nRUN ok\nCOPY --form=b c d\nEXPOSE\nnonsense x",
        "line 2: unknown instruction: FORM (did you mean FROM?)\n\
         line 4: unknown flag: --form (did you mean from?)\n\
         line 5: EXPOSE requires at least one argument\n\
         line 6: unknown instruction: nonsense",
    );
}

#[test]
fn arguments_have_defaults_or_none() {
    check("ARG a", "arg a");
    check("ARG a= b=\"c d\" e=f=g h", "arg a=<>, b=<\"c d\">, e=<f=g>, h");
    check_error("ARG", "line 2: ARG requires at least one argument");
    check_error("ARG =x", "line 2: ARG names can not be blank");
}

#[test]
fn pairs_are_new_style_or_legacy() {
    check("ENV a=1 b=\"2 3\" c=4\\ 5 d='$x'", "env a=<1>, b=<\"2 3\">, c=<4\\ 5>, d=<'$x'>");
    check("ENV a  b  c=d ", "env a=<b  c=d> legacy");
    check("LABEL \"com.example/x\"=y z=", "label \"com.example/x\"=<y>, z=<>");
    check("LABEL a b c", "label a=<b c> legacy");
    check("ENV a=1 \\\n  b=2", "env a=<1>, b=<2>");
    check_error("ENV", "line 2: ENV requires at least one argument");
    check_error("ENV a", "line 2: ENV must have two arguments");
    check_error("ENV a=1 b", "line 2: Syntax error - can't find = in \"b\". Must be of the form: name=value");
    check_error("ENV =1", "line 2: ENV names can not be blank");
}

#[test]
fn json_is_the_exec_form_and_what_only_looks_like_it_is_text() {
    check(r#"CMD [ "node", "./a.js" ]"#, r#"cmd ["node", "./a.js"]"#);
    check(r#"ENTRYPOINT ["a\u0041\"b"]"#, r#"entrypoint ["aA\"b"]"#);
    check("CMD []", "cmd []");
    check("CMD", r#"cmd """#);
    check("RUN [ -f x ] && y", r#"run "[ -f x ] && y""#);
    check(r#"CMD ["a", 'b']"#, r#"cmd "[\"a\", 'b']""#);
    check(r#"CMD ["a"] b"#, r#"cmd "[\"a\"] b""#);
    check(r#"RUN --network=none ["a"]"#, r#"run network=None ["a"]"#);
    check_error("CMD [1]", "line 2: when using JSON array syntax, arrays must be comprised of strings only");
}

#[test]
fn run_has_flags() {
    check(
        "RUN --mount=type=cache,target=/x --mount=target=/y --network=host --security=insecure --device=vendor/gpu=all make",
        r#"run mount=type, target mount=target network=Host security=Insecure device=vendor/gpu=all "make""#,
    );
    check_error("RUN --bogus=x y", "line 2: unknown flag: --bogus");
    check_error("RUN --mout=x y", "line 2: unknown flag: --mout (did you mean mount?)");
    check_error("RUN --mount=type=bnd,target=/x y", "line 2: unsupported mount type \"bnd\" (did you mean bind?)");
    check_error("RUN --network=hots y", "line 2: --network=hots is not valid (did you mean host?)");
    check_error("RUN --network=none --network=host y", "line 2: duplicate flag specified: --network");
    check_error("RUN --network y", "line 2: missing a value on flag: --network");
}

#[test]
fn run_takes_heredocs() {
    check("RUN <<EOF\na\n b\nEOF\nCMD c", "run \"<<EOF\" 0<<EOF\"a\\n b\\n\"\ncmd \"c\"");
    check("RUN <<-'E'\n\ta\n\tE", "run \"<<-'E'\" 0<<-'E'\"\\ta\\n\"");
    check("RUN <<\"E\"\nE", "run \"<<\\\"E\\\"\" 0<<'E'\"\"");
    check("RUN python3 <<EOF\nprint(1)\nEOF", "run \"python3 <<EOF\" 0<<EOF\"print(1)\\n\"");
    check("RUN 3<<A cat <<B | sh\na\nA\nb\nB", "run \"3<<A cat <<B | sh\" 3<<A\"a\\n\" 0<<B\"b\\n\"");
    check("RUN <<A cat \\\n <<B\na\nA\nb\nB", "run \"<<A cat  <<B\" 0<<A\"a\\n\" 0<<B\"b\\n\"");
    check("RUN <<E\r\na\r\nE\r\n", "run \"<<E\" 0<<E\"a\\r\\n\"");
    check("RUN <<E\n# kept\na \\\nE", "run \"<<E\" 0<<E\"# kept\\na \\\\\\n\"");
}

#[test]
fn what_is_no_heredoc_is_text() {
    check("RUN a <<< b", r#"run "a <<< b""#);
    check("RUN a '<<E'", r#"run "a '<<E'""#);
    check("RUN a << E", r#"run "a << E""#);
    check("RUN echo $((1<<2))", r#"run "echo $((1<<2))""#);
    check(r#"RUN ["a", "<<E"]"#, r#"run ["a", "<<E"]"#);
    check("CMD a <<E", r#"cmd "a <<E""#);
    check("RUN echo \"open <<E", r#"run "echo \"open <<E""#);
    check_error("RUN <<EOF\na", "line 2: unterminated heredoc");
    check_error("RUN <<EOF\n EOF", "line 2: unterminated heredoc");
}

#[test]
fn copy_and_add_take_files() {
    check("COPY a b /c/", "copy a, b -> /c/");
    check("COPY package*.json ./", "copy package*.json -> ./");
    check("COPY .. .", "copy .. -> .");
    check(r#"COPY ["a b", "c"]"#, "copy a b -> c");
    check(
        "COPY --from=build --chown=1:2 --chmod=0755 --link --parents --exclude=*.md --exclude=x a b",
        "copy from=build chown=1:2 chmod=0755 link parents exclude=*.md exclude=x a -> b",
    );
    check("COPY --link=false --from= a b", "copy a -> b");
    check(
        "ADD --checksum=sha256:00 --keep-git-dir=true --unpack=FALSE --link https://x/y.tgz /z",
        "add checksum=sha256:00 link keep=true unpack=false https://x/y.tgz -> /z",
    );
    check_error(
        "COPY a",
        "line 2: COPY requires at least two arguments, but only one was provided. Destination could not be determined.",
    );
    check_error("ADD --from=x a b", "line 2: unknown flag: --from");
    check_error("COPY --link=maybe a b", "line 2: expecting boolean value for flag --link, not: maybe");
    check_error("COPY --link= a b", "line 2: missing a value on flag: --link");
    check_error("COPY --chown a b", "line 2: missing a value on flag: --chown");
}

#[test]
fn copy_and_add_take_heredocs() {
    check("COPY <<a.txt b <<-'c' /d/\nA\na.txt\n\tC\n\tc", "copy 0<<a.txt\"A\\n\", b, 0<<-'c'\"\\tC\\n\" -> /d/");
    check("ADD --chmod=644 <<E /f\nE", "add chmod=644 0<<E\"\" -> /f");
    check(r#"COPY ["<<E", "/f"]"#, "copy <<E -> /f");
    check_error("COPY a <<E\nE", "lines 2-3: COPY cannot accept a heredoc as a destination");
}

#[test]
fn the_small_ones_take_their_line() {
    check("WORKDIR /a b", r#"workdir "/a b""#);
    check("USER  a:b ", r#"user "a:b""#);
    check("STOPSIGNAL SIGTERM", "stopsignal SIGTERM");
    check("MAINTAINER A <a@b>", r#"maintainer "A <a@b>""#);
    check("EXPOSE 80 443/tcp $P", "expose 80, 443/tcp, $P");
    check("VOLUME /a /b", "volume /a, /b");
    check(r#"VOLUME ["/a b"]"#, "volume /a b");
    check(r#"SHELL ["/bin/bash", "-c"]"#, r#"shell ["/bin/bash", "-c"]"#);
    for keyword in ["WORKDIR", "USER", "STOPSIGNAL", "MAINTAINER"] {
        check_error(keyword, &format!("line 2: {keyword} requires exactly one argument"));
    }
    check_error("SHELL []", "line 2: SHELL requires at least one argument");
    check_error("SHELL bash -c", "line 2: SHELL requires the arguments to be in JSON form");
    check_error("VOLUME", "line 2: VOLUME requires at least one argument");
    check_error(r#"VOLUME [" "]"#, "line 2: VOLUME specified can not be an empty string");
    check_error("USER --x y", "line 2: unknown flag: --x");
}

#[test]
fn a_healthcheck_is_a_probe_or_none() {
    check("HEALTHCHECK NONE", "healthcheck none");
    check("HEALTHCHECK cmd curl x", r#"healthcheck 0 0 0 0 0 "curl x""#);
    check(
        r#"HEALTHCHECK --interval=1m --timeout=1.5s --start-period=0 --start-interval=1ms --retries=3 CMD ["a"]"#,
        r#"healthcheck 60000000000 1500000000 0 1000000 3 ["a"]"#,
    );
    check_error("HEALTHCHECK", "line 2: HEALTHCHECK requires at least one argument");
    check_error("HEALTHCHECK NONE x", "line 2: HEALTHCHECK NONE takes no arguments");
    check_error("HEALTHCHECK CMD", "line 2: Missing command after HEALTHCHECK CMD");
    check_error("HEALTHCHECK curl x", "line 2: Unknown type \"CURL\" in HEALTHCHECK (try CMD)");
    check_error("HEALTHCHECK --interval=1us CMD x", "line 2: Interval \"interval\" cannot be less than 1ms");
    check_error("HEALTHCHECK --timeout=5 CMD x", "line 2: --timeout: missing unit in duration \"5\"");
    check_error("HEALTHCHECK --retries=-1 CMD x", "line 2: --retries cannot be negative (-1)");
    check_error("HEALTHCHECK --intervall=1s CMD x", "line 2: unknown flag: --intervall (did you mean interval?)");
}

#[test]
fn a_trigger_is_kept_as_text_and_parsed() {
    check("ONBUILD COPY --link a b", "onbuild \"COPY --link a b\" = copy link a -> b");
    check("onbuild  run <<E\na\nE", "onbuild \"run <<E\\na\\nE\" = run \"<<E\" 0<<E\"a\\n\"");
    check_error("ONBUILD", "line 2: ONBUILD requires at least one argument");
    check_error("ONBUILD ONBUILD RUN a", "line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    check_error("ONBUILD from a", "line 2: FROM isn't allowed as an ONBUILD trigger");
    check_error("ONBUILD RNU a", "line 2: unknown instruction: RNU (did you mean RUN?)");
}

#[test]
fn a_trigger_is_read_back_by_the_child() {
    let trigger = super::parse_trigger("COPY <<E /f\nx\nE").unwrap();
    assert_eq!(show(&trigger.kind), "copy 0<<E\"x\\n\" -> /f");
    for (text, message) in [
        ("RUN a\nRUN b", "lines 1-2: onbuild trigger should be a single expression"),
        ("", "line 1: onbuild trigger should be a single expression"),
        ("FROM a", "line 1: FROM isn't allowed as an ONBUILD trigger"),
    ] {
        assert_eq!(super::parse_trigger(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn what_is_too_long_is_an_error_not_a_cut() {
    let line = "x".repeat(70_000);
    check_error(&format!("RUN {line}"), "line 2: dockerfile line greater than max allowed size of 65535");
    let errors = parse(&"#\n".repeat(3 << 20)).unwrap_err();
    assert!(errors.first().message.contains("more than 4194304"), "{errors}");
}
