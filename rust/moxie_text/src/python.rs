//! How Python spells values: str(), repr() and json.dumps(). Templates are written against it.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use crate::budget::{error, is_namespace, pairs, Budget};

/// A growing text that pays for every byte.
pub struct Text<'a> {
    budget: &'a Budget,
    out: String,
}

impl<'a> Text<'a> {
    pub fn new(budget: &'a Budget) -> Self {
        Self {
            budget,
            out: String::new(),
        }
    }

    pub fn put(&mut self, text: &str) -> Result<(), Error> {
        self.budget.bytes(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    pub fn value(self) -> Value {
        Value::from(self.out)
    }
}

pub fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "inf".into()
        } else {
            "-inf".into()
        };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
}

/// str(value)
pub fn text(budget: &Budget, value: &Value) -> Result<String, Error> {
    let mut out = Text::new(budget);
    put_text(&mut out, value)?;
    Ok(out.out)
}

pub fn put_text(out: &mut Text, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(()),
        ValueKind::String => out.put(value.as_str().unwrap_or_default()),
        _ => repr(out, value, 0),
    }
}

/// Deeper than any value that Budget::weigh lets through.
const MAX_NESTING: usize = 300;

fn repr(out: &mut Text, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_NESTING {
        return Err(error("a value is nested too deeply to be printed"));
    }
    match value.kind() {
        ValueKind::Undefined => out.put("Undefined"),
        ValueKind::None => out.put("None"),
        ValueKind::Bool => out.put(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.put(&number(value)),
        ValueKind::String => repr_string(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.put("[")?;
            for (at, item) in value.try_iter()?.enumerate() {
                out.put(if at > 0 { ", " } else { "" })?;
                repr(out, &item, depth + 1)?;
            }
            out.put("]")
        }
        ValueKind::Map if is_namespace(value) => out.put("<Namespace>"),
        ValueKind::Map => {
            out.put("{")?;
            for (at, (key, item)) in pairs(value).enumerate() {
                out.put(if at > 0 { ", " } else { "" })?;
                repr(out, &key, depth + 1)?;
                out.put(": ")?;
                repr(out, &item, depth + 1)?;
            }
            out.put("}")
        }
        _ => out.put(&value.to_string()),
    }
}

fn is_printable(c: char) -> bool {
    !(c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                       | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}'))
}

fn repr_string(out: &mut Text, text: &str) -> Result<(), Error> {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut spelled = String::with_capacity(text.len() + 2);
    spelled.push(quote);
    for c in text.chars() {
        match c {
            '\\' => spelled.push_str("\\\\"),
            '\n' => spelled.push_str("\\n"),
            '\r' => spelled.push_str("\\r"),
            '\t' => spelled.push_str("\\t"),
            c if c == quote => spelled.extend(['\\', c]),
            c if is_printable(c) => spelled.push(c),
            c if (c as u32) < 0x100 => spelled.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x10000 => spelled.push_str(&format!("\\u{:04x}", c as u32)),
            c => spelled.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    spelled.push(quote);
    out.put(&spelled)
}

/// The arguments of json.dumps that the `tojson` of transformers passes on.
pub struct JsonStyle {
    pub ascii: bool,
    pub indent: Option<String>,
    pub item: String,
    pub key: String,
    pub sort_keys: bool,
}

pub fn json(out: &mut Text, value: &Value, style: &JsonStyle, depth: usize) -> Result<(), Error> {
    if depth > MAX_NESTING {
        return Err(error("a value is nested too deeply to be written as JSON"));
    }
    match value.kind() {
        ValueKind::None => out.put("null"),
        ValueKind::Bool => out.put(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.put(match number(value).as_str() {
            "nan" => "NaN",
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            plain => plain,
        }),
        ValueKind::String => json_string(out, value.as_str().unwrap_or_default(), style),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut count = 0;
            out.put("[")?;
            for item in value.try_iter()? {
                json_break(out, style, depth + 1, count)?;
                json(out, &item, style, depth + 1)?;
                count += 1;
            }
            json_close(out, style, depth, count, "]")
        }
        ValueKind::Map if !is_namespace(value) => {
            let mut entries: Vec<_> = pairs(value).collect();
            if style.sort_keys {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
            }
            out.put("{")?;
            for (at, (key, item)) in entries.iter().enumerate() {
                json_break(out, style, depth + 1, at)?;
                let spelled = match key.kind() {
                    ValueKind::Bool if key.is_true() => "true".into(),
                    ValueKind::Bool => "false".into(),
                    ValueKind::None => "null".into(),
                    ValueKind::Number => number(key),
                    _ => text(out.budget, key)?,
                };
                json_string(out, &spelled, style)?;
                out.put(&style.key)?;
                json(out, item, style, depth + 1)?;
            }
            json_close(out, style, depth, entries.len(), "}")
        }
        kind => Err(error(format!(
            "Object of type {kind} is not JSON serializable"
        ))),
    }
}

fn json_line(out: &mut Text, style: &JsonStyle, depth: usize) -> Result<(), Error> {
    if let Some(indent) = &style.indent {
        out.put("\n")?;
        for _ in 0..depth {
            out.put(indent)?;
        }
    }
    Ok(())
}

fn json_break(out: &mut Text, style: &JsonStyle, depth: usize, at: usize) -> Result<(), Error> {
    out.put(if at > 0 { &style.item } else { "" })?;
    json_line(out, style, depth)
}

fn json_close(
    out: &mut Text,
    style: &JsonStyle,
    depth: usize,
    count: usize,
    bracket: &str,
) -> Result<(), Error> {
    if count > 0 {
        json_line(out, style, depth)?;
    }
    out.put(bracket)
}

fn json_string(out: &mut Text, text: &str, style: &JsonStyle) -> Result<(), Error> {
    let mut spelled = String::with_capacity(text.len() + 2);
    spelled.push('"');
    for c in text.chars() {
        match c {
            '"' => spelled.push_str("\\\""),
            '\\' => spelled.push_str("\\\\"),
            '\n' => spelled.push_str("\\n"),
            '\r' => spelled.push_str("\\r"),
            '\t' => spelled.push_str("\\t"),
            '\u{8}' => spelled.push_str("\\b"),
            '\u{c}' => spelled.push_str("\\f"),
            c if (c as u32) < 0x20 => spelled.push_str(&format!("\\u{:04x}", c as u32)),
            c if style.ascii && (c as u32) > 0x7e => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    spelled.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => spelled.push(c),
        }
    }
    spelled.push('"');
    out.put(&spelled)
}
