//! Methods of Python's str, dict and list that templates call.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, FormatStyle, Value};

use crate::budget::{error, pairs};
use crate::call::Call;
use crate::filters::width;
use crate::operators::{self, items};
use crate::python::{put_text, Text};

/// `call.value()` is the object, `call.name` the method.
pub fn apply(call: &Call) -> Result<Value, Error> {
    let value = call.value();
    match value.kind() {
        ValueKind::String => of_text(value.as_str().unwrap_or_default(), call.name, call),
        ValueKind::Map => of_mapping(value, call),
        ValueKind::Seq | ValueKind::Iterable => of_list(value, call),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_mapping(value: &Value, call: &Call) -> Result<Value, Error> {
    match call.name {
        "keys" => call.list(pairs(value).map(|(key, _)| key).collect()),
        "values" => call.list(pairs(value).map(|(_, item)| item).collect()),
        "items" => call.list(pairs(value).map(|(k, v)| Value::from(vec![k, v])).collect()),
        "get" => {
            let found = value.get_item(&call.need(1, "key")?)?;
            if !found.is_undefined() {
                return Ok(found);
            }
            Ok(call.get(2, "default").unwrap_or_else(|| Value::from(())))
        }
        "copy" => Ok(value.clone()),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_list(value: &Value, call: &Call) -> Result<Value, Error> {
    match call.name {
        "count" | "index" => {
            let wanted = call.need(1, "value")?;
            call.budget.weigh(&wanted)?;
            let all = items(call.budget, value)?;
            if call.name == "count" {
                return Ok(Value::from(
                    all.iter().filter(|item| **item == wanted).count(),
                ));
            }
            let place = all.iter().position(|item| *item == wanted);
            place
                .map(Value::from)
                .ok_or_else(|| error("the value is not in the list"))
        }
        "copy" => Ok(value.clone()),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// str.isspace(), which also holds for the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

fn strip<'t>(text: &'t str, chars: Option<&str>, left: bool, right: bool) -> &'t str {
    let drop = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if left {
        text.trim_start_matches(drop)
    } else {
        text
    };
    if right {
        text.trim_end_matches(drop)
    } else {
        text
    }
}

fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphabetic();
    }
    out
}

fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars.as_str().to_lowercase().chars()).collect()
}

pub enum Side {
    Left,
    Right,
    Both,
}

/// Pads `text` to `width` characters with what goes on the named side.
pub fn pad(call: &Call, text: &str, width: usize, fill: char, side: Side) -> Result<Value, Error> {
    let missing = width.saturating_sub(text.chars().count());
    let left = match side {
        Side::Left => missing,
        Side::Right => 0,
        // Python puts the odd character to the left when the width is odd.
        Side::Both => missing / 2 + (missing & width & 1),
    };
    let blank = |count: usize| std::iter::repeat_n(fill, count).collect::<String>();
    call.make(blank(left) + text + &blank(missing - left))
}

fn split(call: &Call, text: &str, from_right: bool) -> Result<Value, Error> {
    let separator = call.text(1, "sep")?;
    let limit = call.int(2, "maxsplit")?.unwrap_or(-1);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    call.budget.bytes(text.len())?;
    let mut parts: Vec<&str> = match separator.as_deref() {
        Some("") => return Err(error("empty separator")),
        Some(by) if from_right => text.rsplitn(limit.saturating_add(1), by).collect(),
        Some(by) => text.splitn(limit.saturating_add(1), by).collect(),
        None => words(text, limit, from_right),
    };
    if from_right {
        parts.reverse();
    }
    call.flat(parts.into_iter().map(Value::from).collect())
}

/// split() without a separator: runs of white space, none at the ends. From the right in reverse.
fn words(text: &str, limit: usize, from_right: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = strip(text, None, !from_right, from_right);
    while !rest.is_empty() {
        let cut = if from_right {
            rest.rfind(is_space)
        } else {
            rest.find(is_space)
        };
        let Some(cut) = cut.filter(|_| parts.len() < limit) else {
            parts.push(strip(rest, None, from_right, !from_right));
            break;
        };
        if from_right {
            let after = cut + rest[cut..].chars().next().map_or(1, char::len_utf8);
            parts.push(&rest[after..]);
            rest = strip(&rest[..cut], None, false, true);
        } else {
            parts.push(&rest[..cut]);
            rest = strip(&rest[cut..], None, true, false);
        }
    }
    parts
}

fn lines(call: &Call, text: &str) -> Result<Value, Error> {
    let keep = call.flag(1, "keepends", false);
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(ends).unwrap_or(rest.len());
        let length = match rest[end..].chars().next() {
            Some('\r') if rest[end + 1..].starts_with('\n') => 2,
            Some(c) => c.len_utf8(),
            None => 0,
        };
        parts.push(Value::from(&rest[..if keep { end + length } else { end }]));
        rest = &rest[end + length..];
    }
    call.budget.bytes(text.len())?;
    call.flat(parts)
}

fn affix(call: &Call, test: impl Fn(&str) -> bool) -> Result<Value, Error> {
    let wanted = call.need(1, "prefix")?;
    if let Some(one) = wanted.as_str() {
        return Ok(Value::from(test(one)));
    }
    let mut any = wanted.try_iter()?;
    Ok(Value::from(any.any(|one| one.as_str().is_some_and(&test))))
}

fn place(call: &Call, text: &str, found: Option<usize>) -> Result<Value, Error> {
    let place = found.map_or(-1, |at| text[..at].chars().count() as i64);
    if place < 0 && matches!(call.name, "index" | "rindex") {
        return Err(error("substring not found"));
    }
    Ok(Value::from(place))
}

fn replace(call: &Call, text: &str) -> Result<Value, Error> {
    let (old, new) = (call.need_text(1, "old")?, call.need_text(2, "new")?);
    let limit = call.int(3, "count")?.unwrap_or(-1);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = text.matches(old.as_str()).take(limit).count();
    call.budget.bytes(count.saturating_mul(new.len()))?;
    call.make(if limit == usize::MAX {
        text.replace(&old, &new)
    } else {
        text.replacen(&old, &new, limit)
    })
}

fn partition(call: &Call, text: &str) -> Result<Value, Error> {
    let by = call.need_text(1, "sep")?;
    let from_right = call.name == "rpartition";
    let cut = if from_right {
        text.rsplit_once(&by)
    } else {
        text.split_once(&by)
    };
    call.budget.bytes(text.len())?;
    let parts = match cut {
        Some((before, after)) => [before, &by, after],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

fn join(call: &Call, separator: &str) -> Result<Value, Error> {
    let mut out = Text::new(call.budget);
    for (at, item) in call.need(1, "iterable")?.try_iter()?.enumerate() {
        out.put(if at > 0 { separator } else { "" })?;
        put_text(&mut out, &item)?;
    }
    Ok(out.value())
}

/// str.isupper() and its kin.
fn describe(text: &str, method: &str) -> Option<bool> {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    let cased = |upper: bool| {
        let mut cased = text
            .chars()
            .filter(|c| c.is_uppercase() || c.is_lowercase())
            .peekable();
        cased.peek().is_some() && cased.all(|c| c.is_uppercase() == upper)
    };
    Some(match method {
        "isupper" => cased(true),
        "islower" => cased(false),
        "isspace" => all(is_space),
        "isdigit" | "isdecimal" | "isnumeric" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isascii" => text.is_ascii(),
        "isidentifier" => {
            let start = |c: char| c.is_alphabetic() || c == '_';
            text.starts_with(start) && text.chars().all(|c| c.is_alphanumeric() || c == '_')
        }
        _ => return None,
    })
}

pub fn of_text(text: &str, method: &str, call: &Call) -> Result<Value, Error> {
    if let Some(is) = describe(text, method) {
        return Ok(Value::from(is));
    }
    let stripped = |left, right| -> Result<Value, Error> {
        let chars = call.text(1, "chars")?;
        call.make(strip(text, chars.as_deref(), left, right).to_string())
    };
    let fill = || -> Result<char, Error> {
        Ok(call
            .text(2, "fillchar")?
            .and_then(|fill| fill.chars().next())
            .unwrap_or(' '))
    };
    match method {
        "upper" => call.make(text.to_uppercase()),
        "lower" | "casefold" => call.make(text.to_lowercase()),
        "title" => call.make(title(text)),
        "capitalize" => call.make(capitalize(text)),
        "strip" => stripped(true, true),
        "lstrip" => stripped(true, false),
        "rstrip" => stripped(false, true),
        "split" => split(call, text, false),
        "rsplit" => split(call, text, true),
        "splitlines" => lines(call, text),
        "partition" | "rpartition" => partition(call, text),
        "replace" => replace(call, text),
        "join" => join(call, text),
        "startswith" => affix(call, |one| text.starts_with(one)),
        "endswith" => affix(call, |one| text.ends_with(one)),
        "removeprefix" => {
            let prefix = call.need_text(1, "prefix")?;
            call.make(text.strip_prefix(&prefix).unwrap_or(text).to_string())
        }
        "removesuffix" => {
            let suffix = call.need_text(1, "suffix")?;
            call.make(text.strip_suffix(&suffix).unwrap_or(text).to_string())
        }
        "find" | "index" => place(call, text, text.find(&call.need_text(1, "sub")?)),
        "rfind" | "rindex" => place(call, text, text.rfind(&call.need_text(1, "sub")?)),
        "count" => Ok(Value::from(
            text.matches(&call.need_text(1, "sub")?).count(),
        )),
        "format" => {
            let values: Vec<Value> = call.rest().iter().chain(call.named()).cloned().collect();
            operators::format(call.budget, FormatStyle::StrFormat, text, &values)
        }
        "center" => pad(call, text, width(call, 1, 0)?, fill()?, Side::Both),
        "ljust" => pad(call, text, width(call, 1, 0)?, fill()?, Side::Right),
        "rjust" => pad(call, text, width(call, 1, 0)?, fill()?, Side::Left),
        "zfill" => pad(call, text, width(call, 1, 0)?, '0', Side::Left),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}
