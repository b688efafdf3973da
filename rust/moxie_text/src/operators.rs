//! The operators of the language with Python's meaning, each paying for what it makes.

use minijinja::value::ValueKind;
use minijinja::{format_filter, Error, FormatStyle, Value};

use crate::budget::{error, Budget};
use crate::python::{put_text, Text};

#[derive(Clone, Copy)]
pub enum Number {
    Int(i128),
    Float(f64),
}

pub fn number(value: &Value) -> Option<Number> {
    match value.kind() {
        ValueKind::Bool => Some(Number::Int(value.is_true().into())),
        ValueKind::Number if value.is_integer() => {
            i128::try_from(value.clone()).ok().map(Number::Int)
        }
        ValueKind::Number => f64::try_from(value.clone()).ok().map(Number::Float),
        _ => None,
    }
}

impl Number {
    pub fn float(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(n) => n,
        }
    }
}

pub fn integer(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)
}

fn unsupported(operator: &str, a: &Value, b: &Value) -> Error {
    error(format!(
        "unsupported operands for {operator}: {} and {}",
        a.kind(),
        b.kind()
    ))
}

fn arithmetic(
    operator: &str,
    (a, b): (&Value, &Value),
    ints: impl Fn(i128, i128) -> Option<i128>,
    floats: impl Fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    match (number(a), number(b)) {
        (Some(Number::Int(x)), Some(Number::Int(y))) => ints(x, y)
            .map(integer)
            .ok_or_else(|| error(format!("{operator} of {x} and {y} has no integer result"))),
        (Some(x), Some(y)) => Ok(Value::from(floats(x.float(), y.float()))),
        _ => Err(unsupported(operator, a, b)),
    }
}

pub fn items(budget: &Budget, value: &Value) -> Result<Vec<Value>, Error> {
    budget.list(value.len().unwrap_or(0))?;
    let mut items = Vec::new();
    for item in value.try_iter()? {
        budget.work(1)?;
        items.push(item);
    }
    Ok(items)
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

pub fn add(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(x), Some(y)) = (a.as_str(), b.as_str()) {
        budget.bytes(x.len() + y.len())?;
        return Ok(Value::from([x, y].concat()));
    }
    if is_list(a) && is_list(b) {
        let mut joined = items(budget, a)?;
        joined.extend(items(budget, b)?);
        return Ok(Value::from(joined));
    }
    arithmetic("+", (a, b), i128::checked_add, |x, y| x + y)
}

pub fn mul(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    for (sequence, count) in [(a, b), (b, a)] {
        let Some(Number::Int(count)) = number(count) else {
            continue;
        };
        let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
        if let Some(text) = sequence.as_str() {
            budget.bytes(text.len().saturating_mul(count))?;
            return Ok(Value::from(text.repeat(count)));
        }
        if is_list(sequence) {
            let once = items(budget, sequence)?;
            budget.list(once.len().saturating_mul(count))?;
            budget.work(once.len().saturating_mul(count))?;
            return Ok(std::iter::repeat_n(once, count).flatten().collect());
        }
    }
    arithmetic("*", (a, b), i128::checked_mul, |x, y| x * y)
}

pub fn floor_div(_: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    let ints = |x: i128, y: i128| {
        let quotient = x.checked_div(y)?;
        Some(if x % y != 0 && (x < 0) != (y < 0) {
            quotient - 1
        } else {
            quotient
        })
    };
    arithmetic("//", (a, b), ints, |x, y| (x / y).floor())
}

pub fn modulo(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    if let Some(pattern) = a.as_str() {
        let values = if b.kind() == ValueKind::Seq {
            items(budget, b)?
        } else {
            vec![b.clone()]
        };
        return format(budget, FormatStyle::Printf, pattern, &values);
    }
    let ints = |x: i128, y: i128| {
        let rest = x.checked_rem(y)?;
        Some(if rest != 0 && (rest < 0) != (y < 0) {
            rest + y
        } else {
            rest
        })
    };
    arithmetic("%", (a, b), ints, |x, y| x - y * (x / y).floor())
}

pub fn format(
    budget: &Budget,
    style: FormatStyle,
    pattern: &str,
    values: &[Value],
) -> Result<Value, Error> {
    // A width is the one way in which little input makes much output.
    let digits = pattern
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max();
    if digits.unwrap_or(0) > 4 {
        return Err(error("a width in a format is larger than 9999"));
    }
    values.iter().try_for_each(|value| budget.weigh(value))?;
    let text = format_filter(style, pattern, values)?;
    budget.bytes(text.len())?;
    Ok(Value::from(text))
}

/// The operator ~
pub fn concat(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    let mut out = Text::new(budget);
    put_text(&mut out, a)?;
    put_text(&mut out, b)?;
    Ok(out.value())
}

/// value[key]
pub fn item(budget: &Budget, value: &Value, key: &Value) -> Result<Value, Error> {
    budget.read(std::slice::from_ref(value))?;
    budget.weigh(key)?;
    value.get_item(key)
}

fn bound(value: &Value) -> Result<Option<i128>, Error> {
    match number(value) {
        Some(Number::Int(n)) => Ok(Some(n)),
        None if value.is_none() || value.is_undefined() => Ok(None),
        _ => Err(error("slice indices must be integers or None")),
    }
}

/// Which of `count` positions value[start:stop:step] takes.
fn positions(
    count: usize,
    start: Option<i128>,
    stop: Option<i128>,
    step: i128,
) -> impl Iterator<Item = usize> {
    let count = count as i128;
    let clamp = |index: Option<i128>, default: i128| {
        let (low, high) = if step > 0 {
            (0, count)
        } else {
            (-1, count - 1)
        };
        index.map_or(default, |i| {
            if i < 0 { i.saturating_add(count) } else { i }.clamp(low, high)
        })
    };
    let start = clamp(start, if step > 0 { 0 } else { count - 1 });
    let stop = clamp(stop, if step > 0 { count } else { -1 });
    let inside = move |at: &i128| if step > 0 { *at < stop } else { *at > stop };
    std::iter::successors(Some(start), move |at| at.checked_add(step))
        .take_while(inside)
        .map(|at| at as usize)
}

pub fn slice(budget: &Budget, args: &[Value]) -> Result<Value, Error> {
    let [value, start, stop, step] = args else {
        return Err(error("a slice has three bounds"));
    };
    let step = bound(step)?.unwrap_or(1);
    if step == 0 {
        return Err(error("slice step cannot be zero"));
    }
    let (start, stop) = (bound(start)?, bound(stop)?);
    if let Some(text) = value.as_str() {
        budget.bytes(text.len())?;
        let chars: Vec<char> = text.chars().collect();
        let taken: String = positions(chars.len(), start, stop, step)
            .map(|i| chars[i])
            .collect();
        return Ok(Value::from(taken));
    }
    if !is_list(value) {
        return Err(error(format!("{} cannot be sliced", value.kind())));
    }
    let all = items(budget, value)?;
    Ok(positions(all.len(), start, stop, step)
        .map(|i| all[i].clone())
        .collect())
}
