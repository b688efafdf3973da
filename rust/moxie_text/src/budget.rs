//! What one rendering may spend (rule T3). A template is a program of a stranger: steps are counted
//! by minijinja's fuel, everything else here. Each value is kept small enough (nodes, depth) that no
//! later comparison, printing or dropping of it can run away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use minijinja::value::{DynObject, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// Bytes of the rendered text.
pub const MAX_OUTPUT: usize = 16 << 20;
/// Instructions of the template's program.
pub const MAX_STEPS: u64 = 4_000_000;
/// Nested macro calls count several each, as minijinja weighs them.
pub const MAX_RECURSION: usize = 256;
/// Numbers of one range().
pub const MAX_RANGE: usize = 1_000_000;
/// Bytes of all strings and lists made on the way, kept or not.
const MAX_BYTES: u64 = 64 << 20;
/// Values looked at while comparing, measuring and copying.
const MAX_WORK: u64 = 10_000_000;
/// Values inside one list or mapping, and its depth.
const MAX_NODES: u64 = 200_000;
const MAX_DEPTH: usize = 256;

pub struct Budget {
    bytes: AtomicU64,
    work: AtomicU64,
    /// What raise_exception said, so that it can be told from an error of the template.
    pub raised: Mutex<Option<String>>,
    /// Put around what {% generation %} blocks produce; no message can spell it.
    pub mark: String,
}

pub fn error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn spend(left: &AtomicU64, amount: u64, what: &str) -> Result<(), Error> {
    let spent = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
        n.checked_sub(amount)
    });
    match spent {
        Ok(_) => Ok(()),
        Err(_) => Err(error(format!("the template exceeds its budget of {what}"))),
    }
}

impl Budget {
    pub fn new(mark: String) -> Self {
        Self {
            bytes: AtomicU64::new(MAX_BYTES),
            work: AtomicU64::new(MAX_WORK),
            raised: Mutex::new(None),
            mark,
        }
    }

    pub fn bytes(&self, amount: usize) -> Result<(), Error> {
        spend(&self.bytes, amount as u64, "text and lists")
    }

    pub fn work(&self, amount: usize) -> Result<(), Error> {
        spend(&self.work, amount as u64, "work")
    }

    /// Pays for looking through the strings among `values` once.
    pub fn read(&self, values: &[Value]) -> Result<(), Error> {
        self.work(
            values
                .iter()
                .map(|value| 1 + value.as_str().map_or(0, |s| s.len() / 64))
                .sum(),
        )
    }

    /// Pays for a list of `count` values.
    pub fn list(&self, count: usize) -> Result<(), Error> {
        self.bytes(count.saturating_mul(std::mem::size_of::<Value>()))
    }

    /// Pays for looking at all of `value`; refuses what is too large, too deep or circular.
    pub fn weigh(&self, value: &Value) -> Result<(), Error> {
        self.visit(value, MAX_DEPTH, &mut 0)
    }

    fn visit(&self, value: &Value, depth: usize, nodes: &mut u64) -> Result<(), Error> {
        *nodes += 1;
        if *nodes > MAX_NODES || depth == 0 {
            return Err(error(format!(
                "a value of the template is larger than {MAX_NODES} or deeper than {MAX_DEPTH}"
            )));
        }
        self.work(1 + value.as_str().map_or(0, |s| s.len() / 64))?;
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => value
                .try_iter()?
                .try_for_each(|item| self.visit(&item, depth - 1, nodes)),
            ValueKind::Map if is_namespace(value) => {
                Err(error("a namespace cannot be part of another value"))
            }
            ValueKind::Map => pairs(value).try_for_each(|(key, item)| {
                self.visit(&key, depth - 1, nodes)?;
                self.visit(&item, depth - 1, nodes)
            }),
            _ => Ok(()),
        }
    }

    /// `value` may be kept in a namespace: it is data, so no cycle can come of it.
    pub fn data(&self, value: &Value) -> Result<(), Error> {
        if is_callable(value) || value.kind() == ValueKind::Invalid {
            return Err(error("a namespace cannot hold a function"));
        }
        self.weigh(value)
    }
}

/// Functions, and macros, which minijinja shows as mappings.
pub fn is_callable(value: &Value) -> bool {
    let of_engine = |object: &DynObject| object.type_name().starts_with("minijinja::vm::");
    value.kind() == ValueKind::Plain || value.as_object().is_some_and(of_engine)
}

pub fn is_namespace(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.type_name().ends_with("::Namespace"))
}

/// Keys and values of a mapping, in order; nothing for other values.
pub fn pairs(value: &Value) -> impl Iterator<Item = (Value, Value)> + '_ {
    value
        .as_object()
        .and_then(|object| object.try_iter_pairs())
        .into_iter()
        .flatten()
}
