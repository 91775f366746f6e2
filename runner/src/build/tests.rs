//! Tests of the parser: files as people write them, faults with their place, and damaged files.

use super::lines::lines;
use super::parse::{Command, Kind, Source, parse, parse_alone};
use super::settings::apply;
use crate::image::Config;

const FILE: &str = "# syntax=docker/dockerfile:1\n# escape=\\\n\n# a comment\nARG V=1\n\
FROM --platform=linux/amd64 debian:${V} AS Base\r\n\
  run apt-get update && \\\n    # inside\n\n    apt-get install -y x\\\n  y\n\
RUN [\"a\", \"b c\"]\nRUN <<EOF\nset -e\necho $HOME\nEOF\n\
RUN cat <<-'A' <<B\n\t$x\n\tA\nb\nB\n\
COPY --chown=1:2 <<\"F\" a.txt /d/\n$raw\nF\n\
ENV A=1 B=\"two words\" C=x\\ y\nENV old  way of it\n\
HEALTHCHECK --interval=30s --retries=2 CMD curl -f x\nONBUILD RUN echo hi\n";

#[test]
fn a_whole_file() {
    let (read, escape) = parse(FILE).unwrap();
    assert_eq!((read.len(), escape), (11, '\\'));
    let Kind::From(from) = &read[1].kind else {
        panic!("{:?}", read[1])
    };
    assert_eq!(from.name.as_deref(), Some("base"));
    assert_eq!(from.image, "debian:${V}");
    let shell = |at: usize| match &read[at].kind {
        Kind::Run(run) => run.command.clone(),
        other => panic!("{other:?}"),
    };
    let text = "apt-get update &&     apt-get install -y x  y".to_owned();
    assert_eq!(shell(2), Command::Shell(text));
    assert_eq!(read[2].line, 7);
    assert_eq!(
        shell(3),
        Command::Exec(vec!["a".to_owned(), "b c".to_owned()])
    );
    assert_eq!(shell(4), Command::Shell("set -e\necho $HOME\n".to_owned()));
    assert_eq!(
        shell(5),
        Command::Shell("cat <<-'A' <<B\n$x\nA\nb\nB".to_owned())
    );
    let Kind::Copy(copy) = &read[6].kind else {
        panic!("{:?}", read[6])
    };
    let Source::Document(document) = &copy.sources[0] else {
        panic!("{copy:?}")
    };
    assert_eq!((document.text.as_str(), document.expand), ("$raw\n", false));
    assert_eq!(copy.target, "/d/");
    let mut config = Config::default();
    for instruction in &read {
        apply(&instruction.kind, &mut config, &mut false, escape, &|_| {
            None
        })
        .unwrap();
    }
    assert_eq!(config.env, ["A=1", "B=two words", "C=x y", "old=way of it"]);
    assert_eq!(config.healthcheck.unwrap().interval, 30_000_000_000);
    assert_eq!(config.on_build, ["RUN echo hi"]);
}

#[test]
fn settings() {
    let mut config = Config::default();
    for line in [
        "ENV A=/srv A2=$A",
        "WORKDIR $A/x",
        "WORKDIR ../y",
        "CMD gone",
        "ENTRYPOINT [\"/bin/x\"]",
        "SHELL [\"/bin/bash\", \"-ec\"]",
        "CMD echo $A",
        "EXPOSE 80 90-91/udp",
        "VOLUME /v \"/w\"",
        "LABEL a.b=\"c d\" e=f",
        "USER me:us",
        "STOPSIGNAL SIGINT",
    ] {
        let read = parse_alone(line).unwrap();
        assert!(
            apply(&read.kind, &mut config, &mut false, '\\', &|_| None).unwrap(),
            "{line}"
        );
    }
    assert_eq!(
        config.env,
        ["A=/srv", "A2="],
        "a line sees what was before it"
    );
    assert_eq!(config.working_dir, "/srv/y");
    assert_eq!(config.entrypoint, ["/bin/x"]);
    assert_eq!(config.cmd, ["/bin/bash", "-ec", "echo $A"]);
    let keys = |map: &std::collections::BTreeMap<String, crate::image::Nothing>| {
        map.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&config.exposed_ports), ["80/tcp", "90/udp", "91/udp"]);
    assert_eq!(keys(&config.volumes), ["/v", "/w"]);
    assert_eq!(config.labels["a.b"], "c d");
    for bad in [
        "EXPOSE x",
        "EXPOSE 9-8",
        "USER $NONE",
        "ENV A=${",
        "WORKDIR \"\"",
    ] {
        let read = parse_alone(bad).unwrap();
        assert!(
            apply(&read.kind, &mut config, &mut false, '\\', &|_| None).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn faults_tell_their_place() {
    for (text, wanted) in [
        (
            "FROM a\nRUNN x",
            "f:2: unknown instruction RUNN; did you mean RUN?\n  2 | RUNN x\n    | ^^^^",
        ),
        (
            "FROM a\nENV A=1 \\\n  B",
            "f:3: \"B\": want NAME=VALUE; values with blanks want quotes\n  3 |   B\n    |   ^",
        ),
        (
            "FROM a b",
            "f:1: FROM wants IMAGE or IMAGE AS NAME\n  1 | FROM a b\n    |      ^^^",
        ),
        (
            "COPY --form=x a b",
            "f:1: COPY has no flag --form; it has --from, --chown, --chmod, --link, --parents, --exclude\n  1 | COPY --form=x a b\n    |      ^^^^^^^^",
        ),
        (
            "RUN <<E\nx",
            "f:1: here-document without its end: a line E is missing\n  1 | RUN <<E\n    |     ^^^",
        ),
        (
            "# escape=x\n",
            "f:1: escape \"x\": want \\ or `\n  1 | # escape=x\n    | ^^^^^^^^^^",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().show("f", text), wanted);
    }
    for bad in [
        "COPY a",
        "ADD",
        "CMD",
        "SHELL x",
        "ARG =",
        "LABEL a",
        "USER a b",
        "HEALTHCHECK x",
        "HEALTHCHECK NONE x",
        "HEALTHCHECK --retries=x CMD a",
        "ONBUILD FROM x",
        "ONBUILD ONBUILD RUN x",
        "ONBUILD RNU x",
        "COPY a b c",
        "FROM a AS 1x",
        "COPY --from a b",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn backticks_may_escape() {
    let (read, escape) = parse("# escape=`\nRUN a `\n b\nRUN c\\\n").unwrap();
    assert_eq!((read.len(), escape), (2, '`'));
    assert!(read[0].text.ends_with("a  b") && read[1].text.ends_with("c\\"));
}

/// Any damage is an error or another file, never a panic; the same damage each time.
#[test]
fn damaged_files_do_no_harm() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let spice: Vec<char> = "\\\"'${}#<>-=[]:/?+%*\n\t \u{e9}\u{1f600}\0`AE"
        .chars()
        .collect();
    for _ in 0..4000 {
        let mut text: Vec<char> = FILE.chars().collect();
        for _ in 0..=random(8) {
            let at = random(text.len());
            match random(3) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, spice[random(spice.len())]),
                _ => text[at] = spice[random(spice.len())],
            }
        }
        let text: String = text.into_iter().collect();
        drop(lines(&text));
        match parse(&text) {
            Err(fault) => drop(fault.show("f", &text)),
            Ok((read, escape)) => {
                let mut config = Config::default();
                for instruction in read {
                    let _ = apply(
                        &instruction.kind,
                        &mut config,
                        &mut false,
                        escape,
                        &|name| Some(name.to_owned()),
                    );
                }
            }
        }
    }
}
