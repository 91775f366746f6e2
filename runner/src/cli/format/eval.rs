//! Go's template language: a tree and a value to text.

use super::parse::{Node, Pipe, Term};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Fills a template in; the error is a part of a sentence.
pub(super) fn fill(nodes: &[Node], root: &Value) -> Result<String, String> {
    let mut filler = Filler {
        variables: vec![(String::new(), root.clone())],
        out: String::new(),
    };
    filler.nodes(nodes, root)?;
    Ok(filler.out)
}

struct Filler {
    variables: Vec<(String, Value)>,
    out: String,
}

impl Filler {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        let scope = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                self.out.push_str(&show(&value));
            }
            Node::Set(name, pipe) => {
                let value = self.pipe(pipe, dot)?;
                match self.variables.iter_mut().rev().find(|(n, _)| n == name) {
                    Some((_, old)) => *old = value,
                    None => self.variables.push((name.clone(), value)),
                }
            }
            Node::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if truth(&self.pipe(condition, dot)?) {
                        return self.nodes(body, dot);
                    }
                }
                self.nodes(otherwise, dot)?;
            }
            Node::With(pipe, body, otherwise) => {
                let value = self.pipe(pipe, dot)?;
                if truth(&value) {
                    self.nodes(body, &value)?;
                } else {
                    self.nodes(otherwise, dot)?;
                }
            }
            Node::Range {
                names,
                over,
                body,
                otherwise,
            } => self.range(names, over, body, otherwise, dot)?,
        }
        Ok(())
    }

    fn range(
        &mut self,
        names: &[String],
        over: &Pipe,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), String> {
        let items: Vec<(Value, Value)> = match self.pipe(over, dot)? {
            Value::Array(list) => list
                .into_iter()
                .enumerate()
                .map(|(n, v)| (json!(n), v))
                .collect(),
            Value::Object(map) => map.into_iter().map(|(k, v)| (json!(k), v)).collect(),
            Value::Null => Vec::new(),
            other => return Err(format!("cannot range over {}", show(&other))),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, value) in items {
            let scope = self.variables.len();
            match names {
                [element] => self.variables.push((element.clone(), value.clone())),
                [index, element] => {
                    self.variables.push((index.clone(), key));
                    self.variables.push((element.clone(), value.clone()));
                }
                _ => {}
            }
            self.nodes(body, &value)?;
            self.variables.truncate(scope);
        }
        Ok(())
    }

    fn pipe(&self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut before = None;
        for command in pipe {
            before = Some(self.command(command, before, dot)?);
        }
        Ok(before.unwrap_or_default())
    }

    fn command(
        &self,
        command: &[Term],
        before: Option<Value>,
        dot: &Value,
    ) -> Result<Value, String> {
        let Some((first, rest)) = command.split_first() else {
            return Err("a command is empty".to_owned());
        };
        let mut args = Vec::new();
        for term in rest {
            args.push(self.term(term, dot)?);
        }
        args.extend(before);
        match first {
            Term::Word(name) => call(name, &args),
            // A method of docker's rows.
            Term::Field(names) if names == &["Label"] && args.len() == 1 => {
                Ok(label(dot, args.first()))
            }
            term if args.is_empty() => self.term(term, dot),
            _ => Err("what takes arguments must be a function".to_owned()),
        }
    }

    fn term(&self, term: &Term, dot: &Value) -> Result<Value, String> {
        match term {
            Term::Field(names) => walk(dot, names),
            Term::Variable(name, names) => {
                let found = self.variables.iter().rev().find(|(n, _)| n == name);
                let (_, value) = found.ok_or_else(|| format!("unknown variable ${name}"))?;
                walk(value, names)
            }
            Term::Word(name) if name == "true" || name == "false" => Ok(json!(name == "true")),
            Term::Word(name) => call(name, &[]),
            Term::Text(text) => Ok(json!(text)),
            Term::Number(number) if number.fract() == 0.0 => Ok(json!(*number as i64)),
            Term::Number(number) => Ok(json!(number)),
            Term::Nil => Ok(Value::Null),
            Term::Group(pipe, names) => walk(&self.pipe(pipe, dot)?, names),
        }
    }
}

fn walk(from: &Value, names: &[String]) -> Result<Value, String> {
    let mut here = from;
    for name in names {
        here = match here {
            Value::Object(map) => map.get(name).ok_or_else(|| unknown_field(name, map))?,
            Value::Null => &Value::Null,
            _ => return Err(format!("no field {name:?} in {}", show(here))),
        };
    }
    Ok(here.clone())
}

fn unknown_field(name: &str, map: &Map<String, Value>) -> String {
    let known: Vec<_> = map.keys().map(String::as_str).collect();
    format!("no field {name:?}; there are {}", known.join(", "))
}

/// The value of a label, of a row whose `Labels` is a text as `a=b,c=d`.
fn label(row: &Value, name: Option<&Value>) -> Value {
    let labels = row.get("Labels").and_then(Value::as_str).unwrap_or("");
    let name = name.and_then(Value::as_str).unwrap_or("");
    let mut pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(key, _)| *key == name);
    json!(found.map_or("", |(_, value)| value))
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

/// As Go prints it.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(show).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let items: Vec<_> = map
                .iter()
                .map(|(k, v)| format!("{k}:{}", show(v)))
                .collect();
            format!("map[{}]", items.join(" "))
        }
        other => other.to_string(),
    }
}

fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let wrong = || format!("function {name}: wrong arguments");
    let text = |at: usize| args.get(at).and_then(Value::as_str).ok_or_else(wrong);
    let one = || args.first().ok_or_else(wrong);
    Ok(match (name, args.len()) {
        ("json", 1) => json!(one()?.to_string()),
        ("len", 1) => match one()? {
            Value::Array(a) => json!(a.len()),
            Value::Object(o) => json!(o.len()),
            Value::String(s) => json!(s.len()),
            Value::Null => json!(0),
            _ => return Err(wrong()),
        },
        ("index", 1..) => index(args)?,
        ("lower", 1) => json!(text(0)?.to_lowercase()),
        ("upper", 1) => json!(text(0)?.to_uppercase()),
        ("title", 1) => json!(title(text(0)?)),
        ("split", 2) => json!(text(0)?.split(text(1)?).collect::<Vec<_>>()),
        ("join", 2) => match one()? {
            Value::Array(list) => {
                let items: Vec<_> = list.iter().map(show).collect();
                json!(items.join(text(1)?))
            }
            Value::Null => json!(""),
            _ => return Err(wrong()),
        },
        ("truncate", 2) => {
            let length = args.get(1).and_then(Value::as_u64).ok_or_else(wrong)?;
            json!(text(0)?.chars().take(length as usize).collect::<String>())
        }
        ("print" | "println", _) => {
            let items: Vec<_> = args.iter().map(show).collect();
            let end = if name == "println" { "\n" } else { "" };
            json!(items.join(" ") + end)
        }
        ("printf", 1..) => json!(printf(text(0)?, args.get(1..).unwrap_or_default())?),
        ("not", 1) => json!(!truth(one()?)),
        ("and", 1..) => args
            .iter()
            .find(|a| !truth(a))
            .or(args.last())
            .cloned()
            .ok_or_else(wrong)?,
        ("or", 1..) => args
            .iter()
            .find(|a| truth(a))
            .or(args.last())
            .cloned()
            .ok_or_else(wrong)?,
        ("eq", 2..) => json!(args.iter().skip(1).any(|other| same(one(), other))),
        ("ne", 2) => json!(!args.iter().skip(1).any(|other| same(one(), other))),
        ("lt" | "le" | "gt" | "ge", 2) => json!(compare(name, args).ok_or_else(wrong)?),
        (
            "json" | "len" | "lower" | "upper" | "title" | "split" | "join" | "truncate" | "not"
            | "ne" | "lt" | "le" | "gt" | "ge" | "index" | "printf" | "and" | "or" | "eq",
            _,
        ) => {
            return Err(wrong());
        }
        _ => return Err(format!("function {name:?} not defined")),
    })
}

fn same(left: Result<&Value, String>, right: &Value) -> bool {
    left.is_ok_and(|left| match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    })
}

fn compare(name: &str, args: &[Value]) -> Option<bool> {
    let (left, right) = (args.first()?, args.get(1)?);
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => left.cmp(right),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?)?,
    };
    Some(match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn index(args: &[Value]) -> Result<Value, String> {
    let mut args = args.iter();
    let mut here = args.next().cloned().unwrap_or_default();
    for key in args {
        here = match (&here, key) {
            // A map has nothing under other names, as in Go.
            (Value::Object(map), Value::String(key)) => map.get(key).cloned().unwrap_or_default(),
            (Value::Null, _) => Value::Null,
            (Value::Array(list), Value::Number(at)) => {
                let at = at.as_u64().unwrap_or(u64::MAX);
                let found = usize::try_from(at).ok().and_then(|at| list.get(at));
                found
                    .cloned()
                    .ok_or_else(|| format!("index out of range: {key}"))?
            }
            _ => return Err(format!("cannot index {} with {key}", show(&here))),
        };
    }
    Ok(here)
}

fn title(text: &str) -> String {
    let mut begins = true;
    let mut done = String::new();
    for c in text.chars() {
        if begins {
            done.extend(c.to_uppercase());
        } else {
            done.push(c);
        }
        begins = !c.is_alphanumeric();
    }
    done
}

/// Go's printf with `%s %v %d %q %t %%`, width, `-` and precision.
fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut done = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            done.push(c);
            continue;
        }
        let mut spec = String::new();
        let verb = loop {
            match chars.next() {
                Some(c) if c.is_ascii_digit() || c == '-' || c == '.' => spec.push(c),
                Some(c) => break c,
                None => return Err("printf: % at the end".to_owned()),
            }
        };
        if verb == '%' {
            done.push('%');
            continue;
        }
        let value = args.next().ok_or("printf: too few arguments")?;
        let text = match verb {
            's' | 'v' | 'd' | 't' => show(value),
            'q' => format!("{:?}", show(value)),
            other => return Err(format!("printf: unknown verb %{other}")),
        };
        let (width, precision) = spec.split_once('.').unwrap_or((&spec, ""));
        let text = match precision.parse::<usize>() {
            Ok(precision) => text.chars().take(precision).collect(),
            Err(_) => text,
        };
        // Into a String: cannot fail.
        let _ = match (width.strip_prefix('-'), width.parse::<usize>()) {
            (Some(width), _) => write!(done, "{text:<0$}", width.parse().unwrap_or(0)),
            (None, Ok(width)) => write!(done, "{text:>width$}"),
            (None, Err(_)) => write!(done, "{text}"),
        };
    }
    Ok(done)
}
