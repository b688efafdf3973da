//! The filters of Jinja with Python's meaning.

use std::sync::Arc;

use minijinja::value::ValueKind;
use minijinja::{filters, Environment, Error, FormatStyle, Value};

use crate::budget::{error, pairs, Budget};
use crate::call::{add_filter, Call, Callable};
use crate::methods;
use crate::operators::{self, items, number, Number};
use crate::python::{json, put_text, JsonStyle, Text};

const TABLE: &[(&str, Callable)] = &[
    ("abs", |call| {
        call.native(Value::from_function(filters::abs))
    }),
    ("attr", |call| {
        call.native(Value::from_function(filters::attr))
    }),
    ("batch", batch),
    ("bool", |call| Ok(Value::from(call.value().is_true()))),
    ("capitalize", text_method),
    ("center", center),
    ("count", length),
    ("d", default),
    ("default", default),
    ("dictsort", |call| {
        call.native(Value::from_function(filters::dictsort))
    }),
    ("e", escape),
    ("escape", escape),
    ("first", first),
    ("float", float),
    ("forceescape", escape),
    ("format", format),
    ("groupby", |call| {
        call.native(Value::from_function(filters::groupby))
    }),
    ("indent", indent),
    ("int", int),
    ("items", entries),
    ("join", join),
    ("last", |call| {
        call.native(Value::from_function(filters::last))
    }),
    ("length", length),
    ("list", |call| {
        Ok(Value::from(items(call.budget, call.value())?))
    }),
    ("lower", text_method),
    ("map", |call| {
        call.native(Value::from_function(filters::map))
    }),
    ("max", |call| {
        call.native(Value::from_function(filters::max))
    }),
    ("min", |call| {
        call.native(Value::from_function(filters::min))
    }),
    ("pprint", string),
    ("reject", |call| {
        call.native(Value::from_function(filters::reject))
    }),
    ("rejectattr", |call| {
        call.native(Value::from_function(filters::rejectattr))
    }),
    ("replace", text_method),
    ("reverse", reverse),
    ("round", round),
    ("safe", string),
    ("select", |call| {
        call.native(Value::from_function(filters::select))
    }),
    ("selectattr", |call| {
        call.native(Value::from_function(filters::selectattr))
    }),
    ("slice", slice),
    ("sort", |call| {
        call.native(Value::from_function(filters::sort))
    }),
    ("string", string),
    ("sum", sum),
    ("title", text_method),
    ("tojson", tojson),
    ("trim", text_method),
    ("unique", |call| {
        call.native(Value::from_function(filters::unique))
    }),
    ("upper", text_method),
    ("urlencode", urlencode),
    ("wordcount", wordcount),
];

pub fn register(env: &mut Environment, budget: &Arc<Budget>) {
    for (name, function) in TABLE {
        add_filter(env, budget, name, *function);
    }
}

/// Filters that are a method of the text of their value.
fn text_method(call: &Call) -> Result<Value, Error> {
    let text = crate::python::text(call.budget, call.value())?;
    let method = if call.name == "trim" {
        "strip"
    } else {
        call.name
    };
    methods::of_text(&text, method, call)
}

fn string(call: &Call) -> Result<Value, Error> {
    let mut out = Text::new(call.budget);
    put_text(&mut out, call.value())?;
    Ok(out.value())
}

fn length(call: &Call) -> Result<Value, Error> {
    let value = call.value();
    let length = if value.is_undefined() {
        Some(0)
    } else {
        value.len()
    };
    length
        .map(Value::from)
        .ok_or_else(|| error(format!("{} has no length", value.kind())))
}

fn default(call: &Call) -> Result<Value, Error> {
    let value = call.value();
    let replace = value.is_undefined() || (call.flag(2, "boolean", false) && !value.is_true());
    if !replace {
        return Ok(value.clone());
    }
    Ok(call
        .get(1, "default_value")
        .unwrap_or_else(|| Value::from("")))
}

fn first(call: &Call) -> Result<Value, Error> {
    if let Some(text) = call.value().as_str() {
        return Ok(text.chars().next().map_or(Value::UNDEFINED, Value::from));
    }
    Ok(call.value().try_iter()?.next().unwrap_or(Value::UNDEFINED))
}

fn reverse(call: &Call) -> Result<Value, Error> {
    if let Some(text) = call.value().as_str() {
        return call.make(text.chars().rev().collect());
    }
    let mut all = items(call.budget, call.value())?;
    all.reverse();
    Ok(Value::from(all))
}

fn entries(call: &Call) -> Result<Value, Error> {
    let value = call.value();
    if value.is_undefined() {
        return Ok(Value::from(Vec::<Value>::new()));
    }
    if value.kind() != ValueKind::Map {
        return Err(error("Can only get item pairs from a mapping."));
    }
    call.list(
        pairs(value)
            .map(|(key, item)| Value::from(vec![key, item]))
            .collect(),
    )
}

fn join(call: &Call) -> Result<Value, Error> {
    let separator = call.text(1, "d")?.unwrap_or_default();
    let attribute = call.get(2, "attribute");
    let mut out = Text::new(call.budget);
    for (at, item) in call.value().try_iter()?.enumerate() {
        out.put(if at > 0 { &separator } else { "" })?;
        match &attribute {
            Some(name) => put_text(&mut out, &item.get_item(name)?)?,
            None => put_text(&mut out, &item)?,
        }
    }
    Ok(out.value())
}

fn sum(call: &Call) -> Result<Value, Error> {
    let attribute = call.get(1, "attribute").filter(|name| !name.is_none());
    let mut total = call.get(2, "start").unwrap_or_else(|| Value::from(0));
    for item in call.value().try_iter()? {
        let item = attribute
            .as_ref()
            .map_or(Ok(item.clone()), |name| item.get_item(name))?;
        total = operators::add(call.budget, &total, &item)?;
    }
    Ok(total)
}

fn chunked(call: &Call, chunks: Vec<Vec<Value>>) -> Result<Value, Error> {
    call.list(chunks.into_iter().map(Value::from).collect())
}

fn count_of(call: &Call) -> Result<usize, Error> {
    let count = call.int(1, "linecount")?.unwrap_or(0);
    usize::try_from(count)
        .ok()
        .filter(|count| (1..=crate::budget::MAX_RANGE).contains(count))
        .ok_or_else(|| error(format!("{} by {count} is not possible", call.name)))
}

fn batch(call: &Call) -> Result<Value, Error> {
    let count = count_of(call)?;
    let all = items(call.budget, call.value())?;
    let mut chunks: Vec<Vec<Value>> = all.chunks(count).map(<[Value]>::to_vec).collect();
    if let (Some(fill), Some(last)) = (call.get(2, "fill_with"), chunks.last_mut()) {
        call.budget.list(count)?;
        last.resize(count, fill);
    }
    chunked(call, chunks)
}

fn slice(call: &Call) -> Result<Value, Error> {
    let count = count_of(call)?;
    let all = items(call.budget, call.value())?;
    call.budget.list(count)?;
    let (each, more) = (all.len() / count, all.len() % count);
    let fill = call.get(2, "fill_with");
    let mut rest = &all[..];
    let mut chunks = Vec::with_capacity(count);
    for at in 0..count {
        let (mine, others) = rest.split_at(each + usize::from(at < more));
        rest = others;
        let mut chunk = mine.to_vec();
        chunk.extend(fill.clone().filter(|_| at >= more && more > 0));
        chunks.push(chunk);
    }
    chunked(call, chunks)
}

fn escape(call: &Call) -> Result<Value, Error> {
    let text = crate::python::text(call.budget, call.value())?;
    let mut out = Text::new(call.budget);
    for c in text.chars() {
        match c {
            '&' => out.put("&amp;")?,
            '<' => out.put("&lt;")?,
            '>' => out.put("&gt;")?,
            '\'' => out.put("&#39;")?,
            '"' => out.put("&#34;")?,
            c => out.put(c.encode_utf8(&mut [0; 4]))?,
        }
    }
    Ok(out.value())
}

fn urlencode(call: &Call) -> Result<Value, Error> {
    let quote = |value: &Value, out: &mut Text| -> Result<(), Error> {
        for byte in crate::python::text(call.budget, value)?.bytes() {
            if byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte) {
                out.put(char::from(byte).encode_utf8(&mut [0; 4]))?;
            } else {
                out.put(&format!("%{byte:02X}"))?;
            }
        }
        Ok(())
    };
    let mut out = Text::new(call.budget);
    if call.value().kind() != ValueKind::Map {
        quote(call.value(), &mut out)?;
        return Ok(out.value());
    }
    for (at, (key, value)) in pairs(call.value()).enumerate() {
        out.put(if at > 0 { "&" } else { "" })?;
        quote(&key, &mut out)?;
        out.put("=")?;
        quote(&value, &mut out)?;
    }
    Ok(out.value())
}

/// Widest indentation or padding a template may ask for.
const MAX_WIDTH: i64 = 10_000;

pub fn width(call: &Call, place: usize, default: i64) -> Result<usize, Error> {
    let width = call.int(place, "width")?.unwrap_or(default);
    if width > MAX_WIDTH {
        return Err(error(format!(
            "a width of {width}; at most {MAX_WIDTH} is allowed"
        )));
    }
    Ok(width.max(0) as usize)
}

fn indent(call: &Call) -> Result<Value, Error> {
    let by = match call
        .get(1, "width")
        .as_ref()
        .and_then(|width| width.as_str())
    {
        Some(text) => text.to_string(),
        None => " ".repeat(width(call, 1, 4)?),
    };
    let (first, blank) = (call.flag(2, "first", false), call.flag(3, "blank", false));
    let text = crate::python::text(call.budget, call.value())?;
    let mut out = Text::new(call.budget);
    for (at, line) in text.split('\n').enumerate() {
        out.put(if at > 0 { "\n" } else { "" })?;
        let wanted = if at == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        out.put(if wanted { &by } else { "" })?;
        out.put(line)?;
    }
    Ok(out.value())
}

fn center(call: &Call) -> Result<Value, Error> {
    let text = crate::python::text(call.budget, call.value())?;
    methods::pad(call, &text, width(call, 1, 80)?, ' ', methods::Side::Both)
}

fn wordcount(call: &Call) -> Result<Value, Error> {
    let text = crate::python::text(call.budget, call.value())?;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    Ok(Value::from(
        text.split(|c| !is_word(c))
            .filter(|word| !word.is_empty())
            .count(),
    ))
}

fn int(call: &Call) -> Result<Value, Error> {
    let value = call.value();
    let parsed = match number(value) {
        Some(Number::Int(n)) => Some(n),
        Some(Number::Float(n)) if n.is_finite() => Some(n.trunc() as i128),
        _ => value.as_str().and_then(|text| {
            let text = text.trim().replace('_', "");
            let base = call
                .int(2, "base")
                .ok()
                .flatten()
                .unwrap_or(10)
                .clamp(2, 36) as u32;
            let float = || text.parse::<f64>().ok().filter(|n| n.is_finite());
            i128::from_str_radix(&text, base)
                .ok()
                .or_else(|| float().map(|n| n.trunc() as i128))
        }),
    };
    let default = || call.get(1, "default").unwrap_or_else(|| Value::from(0));
    Ok(parsed.map_or_else(default, operators::integer))
}

fn float(call: &Call) -> Result<Value, Error> {
    let value = call.value();
    let parsed = number(value).map(Number::float);
    let parsed = parsed.or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    let default = || call.get(1, "default").unwrap_or_else(|| Value::from(0.0));
    Ok(parsed.map_or_else(default, Value::from))
}

fn round(call: &Call) -> Result<Value, Error> {
    let value = number(call.value()).ok_or_else(|| error("round of what is not a number"))?;
    let scale = 10f64.powi(call.int(1, "precision")?.unwrap_or(0).clamp(-300, 300) as i32);
    let scaled = value.float() * scale;
    let rounded = match call.text(2, "method")?.as_deref() {
        None | Some("common") => scaled.round_ties_even(),
        Some("ceil") => scaled.ceil(),
        Some("floor") => scaled.floor(),
        Some(other) => return Err(error(format!("round has no method '{other}'"))),
    };
    Ok(Value::from(rounded / scale))
}

fn format(call: &Call) -> Result<Value, Error> {
    let pattern = crate::python::text(call.budget, call.value())?;
    let values: Vec<Value> = call.rest().iter().chain(call.named()).cloned().collect();
    operators::format(call.budget, FormatStyle::Printf, &pattern, &values)
}

fn tojson(call: &Call) -> Result<Value, Error> {
    let separators = call.get(3, "separators").filter(|value| !value.is_none());
    let indent = call.get(2, "indent").filter(|value| !value.is_none());
    let indent = match indent.as_ref().map(|value| (value, value.as_str())) {
        Some((_, Some(text))) => Some(text.to_string()),
        Some((value, None)) => {
            let asked = number(value).map_or(0.0, Number::float);
            if asked > MAX_WIDTH as f64 {
                return Err(error(format!("tojson: an indent of {asked} is too wide")));
            }
            Some(" ".repeat(asked.max(0.0) as usize))
        }
        None => None,
    };
    let (item, key) = match &separators {
        Some(pair) => (
            crate::python::text(call.budget, &pair.get_item_by_index(0)?)?,
            crate::python::text(call.budget, &pair.get_item_by_index(1)?)?,
        ),
        None => (
            (if indent.is_some() { "," } else { ", " }).into(),
            ": ".into(),
        ),
    };
    let style = JsonStyle {
        ascii: call.flag(1, "ensure_ascii", false),
        indent,
        item,
        key,
        sort_keys: call.flag(4, "sort_keys", false),
    };
    let mut out = Text::new(call.budget);
    json(&mut out, call.value(), &style, 0)?;
    Ok(out.value())
}
