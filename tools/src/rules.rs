//! The contract's rules, the tests that carry their numbers, and how those ended.
//!
//! ```text
//!   fs/DESIGN.md   "- **R1** A name resolves ..."           ─┐
//!   junit.xml      <testcase name="reading::r1_r2_...">      ├─> Table ─> text or JSON
//!   or cargo's     "test reading::r1_r2_... ... ok"         ─┘
//! ```

use std::collections::BTreeMap;
use std::fmt;

/// A rule of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its number, `R1`.
    pub number: String,
    /// The first words of it: its first sentence, or as much as stands on the first line.
    pub text: String,
}

/// A test that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// Its name, with the program it is in if that is known.
    pub name: String,
    /// How it ended.
    pub passed: bool,
}

/// Each rule with its tests, in the order of the contract.
#[derive(Debug)]
pub struct Table {
    rows: Vec<(Rule, Vec<Test>)>,
    /// Numbers that tests carry and no rule has.
    unknown: Vec<Test>,
}

/// The rules of a design document, in its order.
pub fn rules(design: &str) -> Vec<Rule> {
    let rule = |line: &str| {
        let (number, text) = line.strip_prefix("- **")?.split_once("** ")?;
        is_number(number).then(|| Rule {
            number: number.to_owned(),
            text: text
                .split(['.', ';', ':'])
                .next()
                .unwrap_or(text)
                .to_owned(),
        })
    };
    design.lines().filter_map(rule).collect()
}

/// The tests of a report: JUnit's XML as nextest writes it, or what `cargo test` prints.
///
/// # Errors
/// The report is neither.
pub fn tests(report: &str) -> Result<Vec<Test>, String> {
    let found = match report.trim_start().starts_with("<?xml") {
        true => of_junit(report)?,
        false => report.lines().filter_map(of_line).collect(),
    };
    match found.is_empty() {
        true => Err("no test in it".to_owned()),
        false => Ok(found),
    }
}

fn of_junit(report: &str) -> Result<Vec<Test>, String> {
    let document = roxmltree::Document::parse(report).map_err(|error| error.to_string())?;
    let cases = document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"));
    let test = |case: roxmltree::Node<'_, '_>| {
        let bad = |node: roxmltree::Node<'_, '_>| {
            node.has_tag_name("failure") || node.has_tag_name("error")
        };
        let program = case.attribute("classname").unwrap_or_default();
        Some(Test {
            name: format!("{program} {}", case.attribute("name")?),
            passed: !case.children().any(bad),
        })
    };
    Ok(cases.filter_map(test).collect())
}

/// `test NAME ... ok`
fn of_line(line: &str) -> Option<Test> {
    let (name, end) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    Some(Test {
        name: name.to_owned(),
        passed: end.starts_with("ok"),
    })
}

/// The rules' numbers that begin a test's own name: `places::r7_r8_nested` carries R7 and R8.
pub fn numbers(test: &str) -> Vec<String> {
    let own = test.rsplit("::").next().unwrap_or(test);
    own.rsplit(' ')
        .next()
        .unwrap_or(own)
        .split('_')
        .map(str::to_uppercase)
        .take_while(|word| is_number(word))
        .collect()
}

/// A letter and a digit.
fn is_number(word: &str) -> bool {
    matches!(word.as_bytes(), [letter, digit] if letter.is_ascii_uppercase() && digit.is_ascii_digit())
}

impl Table {
    /// Sorts tests under the rules they carry.
    pub fn new(rules: Vec<Rule>, tests: Vec<Test>) -> Self {
        let mut by_number: BTreeMap<String, Vec<Test>> = BTreeMap::new();
        for test in tests {
            for number in numbers(&test.name) {
                by_number.entry(number).or_default().push(test.clone());
            }
        }
        let rows = rules
            .into_iter()
            .map(|rule| {
                let tests = by_number.remove(&rule.number).unwrap_or_default();
                (rule, tests)
            })
            .collect();
        let unknown = by_number.into_values().flatten().collect();
        Self { rows, unknown }
    }

    /// What is wrong with it: rules without a test, rules with a failed one, numbers without a rule.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (rule, tests) in &self.rows {
            let failed = tests.iter().filter(|test| !test.passed).count();
            match (tests.len(), failed) {
                (0, _) => faults.push(format!("{} has no test: {}", rule.number, rule.text)),
                (_, 0) => {}
                (all, failed) => {
                    faults.push(format!("{}: {failed} of {all} tests failed", rule.number));
                }
            }
        }
        let stray = |test: &Test| format!("{}: no such rule", test.name);
        faults.extend(self.unknown.iter().map(stray));
        faults
    }

    /// The table as JSON: a list of rules, each with its tests.
    pub fn json(&self) -> serde_json::Value {
        let test = |test: &Test| serde_json::json!({"name": test.name, "passed": test.passed});
        let row = |(rule, tests): &(Rule, Vec<Test>)| {
            serde_json::json!({
                "rule": rule.number,
                "text": rule.text,
                "tests": tests.iter().map(test).collect::<Vec<_>>(),
            })
        };
        self.rows.iter().map(row).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rule, tests) in &self.rows {
            writeln!(f, "{}  {}", rule.number, rule.text)?;
            for test in tests {
                let end = if test.passed { "passed" } else { "FAILED" };
                writeln!(f, "    {end}  {}", test.name)?;
            }
            if tests.is_empty() {
                writeln!(f, "    NO TEST")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESIGN: &str = "## The contract\n\n- **R1** A name resolves to the topmost layer. More.\n  \
        And more.\n- **N6** O_TMPFILE works.\n- **Data** (C3): no rule.\n";

    const JUNIT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <testsuites><testsuite name="tests::fs">
        <testcase name="reading::r1_n6_both" classname="tests::fs" time="0.1"/>
        <testcase name="reading::other" classname="tests::fs" time="0.1"/>
        <testcase name="reading::r1_bad" classname="tests::fs"><failure type="x">why</failure></testcase>
        </testsuite></testsuites>"#;

    fn table(report: &str) -> Table {
        Table::new(rules(DESIGN), tests(report).expect("a report"))
    }

    #[test]
    fn rules_are_read_from_the_design() {
        let found = rules(DESIGN);
        let all: Vec<_> = found.iter().map(|rule| rule.number.as_str()).collect();
        assert_eq!(all, ["R1", "N6"]);
        assert_eq!(found[0].text, "A name resolves to the topmost layer");
    }

    #[test]
    fn a_test_carries_the_numbers_its_name_begins_with() {
        assert_eq!(numbers("tests::fs places::r7_r8_nested_r1"), ["R7", "R8"]);
        assert_eq!(numbers("r2_x"), ["R2"]);
        assert!(numbers("tests::fs cli::x2a_help").is_empty());
        assert!(numbers("layerfs ops::tests::a_name").is_empty());
    }

    #[test]
    fn a_failed_test_a_rule_without_one_and_a_number_without_a_rule_are_faults() {
        let faults = table(JUNIT).faults();
        assert_eq!(faults, ["R1: 1 of 2 tests failed"]);
        let faults = table("test a::r1_x ... ok\ntest b::z9_y ... ok\n").faults();
        assert_eq!(
            faults,
            ["N6 has no test: O_TMPFILE works", "b::z9_y: no such rule"]
        );
    }

    #[test]
    fn what_cargo_test_prints_is_read_too() {
        let all =
            table("running 2 tests\ntest a::r1_x ... ok\ntest b::n6_y - should panic ... ok\n");
        assert!(all.faults().is_empty(), "{all}");
        let bad = table("test a::r1_x ... FAILED\ntest b::n6_y ... ok\n");
        assert_eq!(bad.faults(), ["R1: 1 of 1 tests failed"]);
        assert!(tests("nothing ran").is_err());
    }
}
