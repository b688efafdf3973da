//! Global functions: those of Jinja and those transformers adds, and the tests (`is ...`).

use std::sync::Arc;

use minijinja::value::ValueKind;
use minijinja::{functions, tests, Environment, Error, Value};

use crate::budget::{error, is_callable, pairs, Budget, MAX_RANGE};
use crate::call::{add_function, add_test, Call, Callable};
use crate::operators::{number, Number};

/// What {% generation %} is rewritten to call.
pub const GENERATION: &str = "__generation";

pub fn register(env: &mut Environment, budget: &Arc<Budget>) {
    let table: [(&'static str, Callable); 6] = [
        ("range", range),
        ("dict", dict),
        ("namespace", namespace),
        ("raise_exception", raise_exception),
        ("strftime_now", strftime_now),
        (GENERATION, generation),
    ];
    for (name, function) in table {
        add_function(env, budget, name, function);
    }
    for name in TESTS {
        add_test(env, budget, name, test);
    }
}

fn range(call: &Call) -> Result<Value, Error> {
    let bounds = (0..call.positional().len())
        .map(|at| {
            call.int(at, "bound")
                .map(Option::unwrap_or_default)
                .map(i128::from)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (start, stop, step) = match bounds[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] if step != 0 => (start, stop, step),
        _ => {
            return Err(error(
                "range takes one to three integers, the last not zero",
            ))
        }
    };
    let span = if step > 0 { stop - start } else { start - stop };
    let count = usize::try_from((span + step.abs() - 1).max(0) / step.abs()).unwrap_or(usize::MAX);
    if count > MAX_RANGE {
        return Err(error(format!(
            "range of {count} numbers; at most {MAX_RANGE} are allowed"
        )));
    }
    call.budget.list(count)?;
    call.budget.work(count)?;
    Ok((0..count as i128)
        .map(|at| Value::from((start + at * step) as i64))
        .collect())
}

fn dict(call: &Call) -> Result<Value, Error> {
    let mut entries = Vec::new();
    for source in call.positional().iter().chain(call.named()) {
        if source.kind() == ValueKind::Map {
            entries.extend(pairs(source));
            continue;
        }
        for pair in source.try_iter()? {
            entries.push((pair.get_item_by_index(0)?, pair.get_item_by_index(1)?));
        }
    }
    call.budget.list(entries.len() * 2)?;
    let made: Value = entries.into_iter().collect();
    call.budget.weigh(&made)?;
    Ok(made)
}

fn namespace(call: &Call) -> Result<Value, Error> {
    let given = dict(call)?;
    call.budget.data(&given)?;
    Value::from_function(functions::namespace).call(call.state, &[given])
}

fn raise_exception(call: &Call) -> Result<Value, Error> {
    let message = call.need_text(0, "message")?;
    *call
        .budget
        .raised
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(message.clone());
    Err(error(message))
}

/// datetime.now().strftime(format), by the C library as Python does.
fn strftime_now(call: &Call) -> Result<Value, Error> {
    const MAX_FORMAT: usize = 256;
    const MAX_TEXT: usize = 4096;
    let format = call.need_text(0, "format")?;
    let format = std::ffi::CString::new(format).map_err(|_| error("a time format has a NUL"))?;
    if format.as_bytes().len() > MAX_FORMAT {
        return Err(error(format!(
            "a time format is longer than {MAX_FORMAT} bytes"
        )));
    }
    if format.is_empty() {
        return Ok(Value::from(""));
    }
    let mut text = vec![0u8; MAX_TEXT];
    // SAFETY: every pointer is to a local of the size given; tm is filled before it is read.
    let length = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut parts).is_null() {
            return Err(error("the local time is not known"));
        }
        libc::strftime(
            text.as_mut_ptr().cast(),
            text.len(),
            format.as_ptr(),
            &parts,
        )
    };
    text.truncate(length);
    call.make(String::from_utf8_lossy(&text).into_owned())
}

/// The body of a {% generation %} block between two marks, which the template object takes out.
fn generation(call: &Call) -> Result<Value, Error> {
    let body = call.need(0, "caller")?.call(call.state, &[])?;
    let mark = &call.budget.mark;
    call.make(format!(
        "{mark}({}{mark})",
        body.as_str().unwrap_or_default()
    ))
}

const TESTS: [&str; 39] = [
    "undefined",
    "defined",
    "none",
    "boolean",
    "true",
    "false",
    "number",
    "integer",
    "float",
    "string",
    "sequence",
    "iterable",
    "mapping",
    "callable",
    "sameas",
    "escaped",
    "odd",
    "even",
    "divisibleby",
    "lower",
    "upper",
    "eq",
    "equalto",
    "==",
    "ne",
    "!=",
    "lt",
    "lessthan",
    "<",
    "le",
    "<=",
    "gt",
    "greaterthan",
    ">",
    "ge",
    ">=",
    "in",
    "filter",
    "test",
];

fn integer(value: &Value) -> Result<i128, Error> {
    match number(value) {
        Some(Number::Int(n)) => Ok(n),
        _ => Err(error(format!("{} is not an integer", value.kind()))),
    }
}

fn is_container(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map
    )
}

fn test(call: &Call) -> Result<Value, Error> {
    let value = call.value();
    let kind = value.kind();
    let is_text = kind == ValueKind::String;
    let cased = |lower: bool| {
        let text = value.as_str().unwrap_or_default();
        let mut cased = text
            .chars()
            .filter(|c| c.is_uppercase() || c.is_lowercase())
            .peekable();
        cased.peek().is_some() && cased.all(|c| c.is_lowercase() == lower)
    };
    Ok(Value::from(match call.name {
        "undefined" => value.is_undefined(),
        "defined" => !value.is_undefined(),
        "none" => value.is_none(),
        "boolean" => kind == ValueKind::Bool,
        "true" => kind == ValueKind::Bool && value.is_true(),
        "false" => kind == ValueKind::Bool && !value.is_true(),
        "number" => number(value).is_some(),
        "integer" => kind == ValueKind::Number && value.is_integer(),
        "float" => kind == ValueKind::Number && !value.is_integer(),
        "string" => is_text,
        // Python asks for __iter__ and __getitem__: strings and undefined have both.
        "sequence" | "iterable" => is_text || value.is_undefined() || is_container(value),
        "mapping" => kind == ValueKind::Map && !is_callable(value),
        "callable" => is_callable(value),
        "escaped" => false,
        "odd" => integer(value)?.rem_euclid(2) == 1,
        "even" => integer(value)?.rem_euclid(2) == 0,
        "divisibleby" => {
            let divisor = integer(&call.need(1, "num")?)?;
            let rest = integer(value)?.checked_rem(divisor);
            rest.ok_or_else(|| error("divisibleby zero"))? == 0
        }
        "lower" => is_text && cased(true),
        "upper" => is_text && cased(false),
        "filter" => return call.native(Value::from_function(tests::is_filter)),
        "test" => return call.native(Value::from_function(tests::is_test)),
        "in" => return call.native(Value::from_function(tests::is_in)),
        _ => compare(call)?,
    }))
}

fn compare(call: &Call) -> Result<bool, Error> {
    let (a, b) = (call.value(), &call.need(1, "other").unwrap_or_default());
    call.budget.weigh(b)?;
    Ok(match call.name {
        "sameas" => a.kind() == b.kind() && a == b,
        "eq" | "equalto" | "==" => a == b,
        "ne" | "!=" => a != b,
        "lt" | "lessthan" | "<" => a < b,
        "le" | "<=" => a <= b,
        "gt" | "greaterthan" | ">" => a > b,
        _ => a >= b,
    })
}
