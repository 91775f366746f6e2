//! `--format`: lists and objects as tables, JSON, or by a Go template.
//!
//! ```text
//!   nothing, "table"          the usual columns           ID        NAME
//!   "table {{.A}}\t{{.B}}"    these columns, with a head  3f2a...   web
//!   "json"                    one JSON object a line
//!   "{{.A}}: {{.B}}"          a line by this template
//! ```

mod eval;
mod human;
mod parse;
mod table;

pub(super) use human::{ago, binary_size, size, span};

use crate::error::{Error, Result};
use parse::Node;
use serde_json::{Map, Value};

/// A column that docker knows: what it is called in templates and in the head of a table.
pub(super) type Column = (&'static str, &'static str);

/// How to print.
#[derive(Debug)]
pub(super) enum Format {
    /// The usual columns.
    Usual,
    /// One JSON object a line.
    Json,
    /// By a template, with a head if it is a table.
    Template { nodes: Vec<Node>, table: bool },
}

impl Format {
    /// The value of `--format`.
    pub(super) fn parse(text: Option<&str>) -> Result<Self> {
        let (template, table) = match text {
            None | Some("table" | "") => return Ok(Self::Usual),
            Some("json") => return Ok(Self::Json),
            Some(text) => match text.strip_prefix("table ") {
                Some(rest) => (rest, true),
                None => (text, false),
            },
        };
        // Shells leave these two as they are.
        let template = template.replace("\\t", "\t").replace("\\n", "\n");
        let nodes = parse::parse(&template).map_err(|why| bad(template.clone(), why))?;
        Ok(Self::Template { nodes, table })
    }

    /// Whether a template asks for a field.
    pub(super) fn names(&self, field: &str) -> bool {
        match self {
            Self::Usual | Self::Json => false,
            Self::Template { nodes, .. } => format!("{nodes:?}").contains(&format!("{field:?}")),
        }
    }

    /// A list. `known` are the columns that rows have; `usual` those that are shown when nothing
    /// else is asked for.
    pub(super) fn list(&self, rows: &[Value], known: &[Column], usual: &[&str]) -> Result<String> {
        match self {
            Self::Usual => Ok(usual_table(rows, known, usual)),
            Self::Json => Ok(rows.iter().map(|row| format!("{row}\n")).collect()),
            Self::Template {
                nodes,
                table: false,
            } => {
                let lines = rows
                    .iter()
                    .map(|row| fill(nodes, row).map(|line| line + "\n"));
                lines.collect()
            }
            Self::Template { nodes, table: true } => {
                let head: Map<String, Value> = known
                    .iter()
                    .map(|(field, head)| ((*field).to_owned(), (*head).into()))
                    .collect();
                let mut lines = vec![cells(&fill(nodes, &Value::Object(head))?)];
                for row in rows {
                    lines.push(cells(&fill(nodes, row)?));
                }
                Ok(table::lay_out(&lines))
            }
        }
    }

    /// One object: by the template, or as JSON.
    pub(super) fn object(&self, object: &Value) -> Result<String> {
        match self {
            Self::Template { nodes, .. } => Ok(fill(nodes, object)? + "\n"),
            Self::Usual | Self::Json => Ok(format!("{object}\n")),
        }
    }
}

/// A table with a head, of columns by their fields.
fn usual_table(rows: &[Value], known: &[Column], usual: &[&str]) -> String {
    let head = |field: &&str| {
        let column = known.iter().find(|(name, _)| name == field);
        column.map_or("", |(_, head)| head).to_owned()
    };
    let mut lines: Vec<Vec<String>> = vec![usual.iter().map(head).collect()];
    let cell = |row: &Value, field: &&str| match row.get(*field) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    lines.extend(
        rows.iter()
            .map(|row| usual.iter().map(|field| cell(row, field)).collect()),
    );
    table::lay_out(&lines)
}

fn cells(line: &str) -> Vec<String> {
    line.split('\t').map(str::to_owned).collect()
}

fn fill(nodes: &[Node], value: &Value) -> Result<String> {
    eval::fill(nodes, value).map_err(|why| bad(String::new(), why))
}

fn bad(template: String, why: String) -> Error {
    Error::Value {
        flag: "--format",
        value: template,
        why: format!("template: {why}"),
    }
}

#[cfg(test)]
mod tests;
