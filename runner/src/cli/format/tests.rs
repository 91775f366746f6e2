//! Tests of `--format` against what Go and docker print.

use super::human::{size, span};
use super::*;
use serde_json::json;
use std::time::Duration;

fn fill_in(template: &str, value: &Value) -> Result<String, String> {
    let nodes = parse::parse(template)?;
    eval::fill(&nodes, value)
}

#[test]
fn templates_as_go_fills_them() {
    let value = json!({
        "Name": "/web", "Pid": 42, "Up": true, "List": ["a", "b"], "None": null, "Labels": "a=1,b=2",
        "Map": {"k": "v", "l": {"m": 1.5}}, "State": {"Status": "running", "Code": 0}
    });
    for (template, wanted) in [
        ("{{.Name}}", "/web"),
        ("pid {{ .Pid }}!", "pid 42!"),
        ("{{json .State}}", "{\"Code\":0,\"Status\":\"running\"}"),
        (
            "{{.List}} {{.Map}} {{.Up}}",
            "[a b] map[k:v l:map[m:1.5]] true",
        ),
        ("{{.None}}", "<no value>"),
        ("{{range .List}}<{{.}}>{{end}}", "<a><b>"),
        ("{{range $i, $e := .List}}{{$i}}={{$e}} {{end}}", "0=a 1=b "),
        ("{{range $k, $v := .Map}}{{$k}} {{end}}", "k l "),
        ("{{range .None}}x{{else}}nothing{{end}}", "nothing"),
        ("{{if .Up}}up{{else}}down{{end}}", "up"),
        (
            "{{if eq .State.Code 1}}one{{else if .State.Code}}more{{else}}zero{{end}}",
            "zero",
        ),
        ("{{if and .Up (not .None)}}y{{end}}", "y"),
        ("{{with .Map.l}}{{.m}}{{end}}", "1.5"),
        (
            "{{index .List 1}}{{index .Map \"k\"}}{{index .Map \"l\" \"m\"}}",
            "bv1.5",
        ),
        (
            "{{len .List}} {{upper .Name}} {{join .List \", \"}}",
            "2 /WEB a, b",
        ),
        (
            "{{.Name | printf \"%.3s|%-6s|%6s\" \"x\" \"y\"}}",
            "x|y     |  /web",
        ),
        ("{{printf \"%q %d%%\" .Name .Pid}}", "\"/web\" 42%"),
        (
            "{{$x := .Pid}}{{range .List}}{{$x}}{{$.Name}}{{end}}",
            "42/web42/web",
        ),
        ("a {{- .Pid -}} b{{/* nothing */}}", "a42b"),
        ("{{`raw {{`}}{{\"q\\\"\\n\"}}", "raw {{q\"\n"),
        (
            "{{(index .List 0)}}{{title \"ab cd\"}}{{println 1}}",
            "aAb Cd1\n",
        ),
        (
            "{{.Label \"b\"}}{{gt .Pid 7}}{{or .None \"or\"}}",
            "2trueor",
        ),
        (
            "{{split \"a:b\" \":\"}}{{lower \"X\"}}{{truncate .Name 2}}",
            "[a b]x/w",
        ),
    ] {
        assert_eq!(
            fill_in(template, &value).as_deref(),
            Ok(wanted),
            "{template}"
        );
    }
    for bad in [
        "{{",
        "{{.Name",
        "{{end}}",
        "{{if .Up}}",
        "{{range .List}}",
        "{{nonsense .}}",
        "{{.Nope}}",
        "{{json}}",
        "{{| json}}",
        "{{.Name.x}}",
        "{{index .List 9}}",
        "{{(.Up}}",
        "{{\"x}}",
        "{{else}}",
        "{{$y}}",
        "{{range .Pid}}{{end}}",
        "{{.Up .Pid}}",
        "{{printf \"%z\" 1}}",
    ] {
        assert!(fill_in(bad, &value).is_err(), "{bad}");
    }
}

#[test]
fn tables_as_docker_lays_them_out() {
    let rows = [
        json!({"ID": "1", "Name": "long-enough-name"}),
        json!({"ID": "22", "Name": "x"}),
    ];
    let known = [("ID", "CONTAINER ID"), ("Name", "NAMES")];
    let list = |format: Option<&str>| {
        let format = Format::parse(format).unwrap();
        format.list(&rows, &known, &["ID", "Name"]).unwrap()
    };
    let usual = "CONTAINER ID   NAMES\n1              long-enough-name\n22             x\n";
    assert_eq!(list(None), usual);
    assert_eq!(
        list(Some("table {{.Name}}\\t{{.ID}}")),
        "NAMES              CONTAINER ID\nlong-enough-name   1\nx                  22\n"
    );
    assert_eq!(
        list(Some("{{.ID}}/{{.Name}}")),
        "1/long-enough-name\n22/x\n"
    );
    assert_eq!(list(Some("json")).lines().count(), 2);
    assert!(Format::parse(Some("table {{.ID")).is_err());
}

#[test]
fn for_people() {
    assert_eq!(size(0), "0B");
    assert_eq!(size(999), "999B");
    assert_eq!(size(1_230), "1.23kB");
    assert_eq!(size(124_000_000), "124MB");
    for (seconds, wanted) in [
        (0, "Less than a second"),
        (1, "1 second"),
        (61, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"),
        (7_300, "2 hours"),
        (20 * 86_400, "2 weeks"),
        (800 * 86_400, "2 years"),
    ] {
        assert_eq!(span(Duration::from_secs(seconds)), wanted);
    }
}
