//! Chat templates: minijinja with the settings and helpers of transformers
//! (utils/chat_template_utils.py), inside the budget of `budget.rs`.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use minijinja::machinery::{
    make_string_output, CompiledTemplate, TemplateConfig, Vm, WhitespaceConfig,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use crate::budget::{Budget, MAX_OUTPUT, MAX_RECURSION, MAX_STEPS};
use crate::call::Call;
use crate::error::{Failure, Outcome, Status};
use crate::functions::GENERATION;
use crate::{filters, functions, metering, methods, python};

const NAME: &str = "chat_template";
/// Published templates stay below 50 KiB.
const MAX_SOURCE: usize = 128 << 10;
/// Of the thread a template runs on. The compiler recurses once for every `-`, `not`, `.x` or `|f` of
/// a chain: measured at less than 640 bytes each, and MAX_SOURCE has room for 128 Ki of them.
const STACK: usize = 256 << 20;

pub struct Rendered {
    pub text: String,
    pub generated: Vec<i64>,
}

pub struct Template {
    source: String,
}

/// {% generation %} is a call block by another name: the body becomes the caller of a function.
fn rewrite_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 64);
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let inside = tag[2..].trim_start_matches(['-', '+']);
        let opening = &tag[..tag.len() - inside.len()];
        let name = inside.trim_start();
        let blank = &inside[..inside.len() - name.len()];
        let word = name
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(name.len());
        let (word, after) = name.split_at(word);
        let closes = after
            .trim_start()
            .trim_start_matches(['-', '+'])
            .starts_with("%}");
        out.push_str(opening);
        out.push_str(blank);
        match word {
            "generation" if closes => out.push_str(&format!("call {GENERATION}()")),
            "endgeneration" if closes => out.push_str("endcall"),
            other => out.push_str(other),
        }
        rest = after;
    }
    out + rest
}

fn fresh_mark() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("\u{1}{:016x}{:016x}", random(), random())
}

/// Takes the marks of `functions::generation` out of `text`; the ranges of what they enclosed.
fn take_marks(text: &str, mark: &str) -> Rendered {
    let mut out = String::with_capacity(text.len());
    let mut generated: Vec<i64> = Vec::new();
    let mut open = Vec::new();
    let mut parts = text.split(mark);
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        if part.starts_with('(') {
            open.push(generated.len());
            generated.extend([out.len() as i64; 2]);
        } else if let Some(range) = open.pop() {
            generated[range + 1] = out.len() as i64;
        }
        out.push_str(&part[1..]);
    }
    Rendered {
        text: out,
        generated,
    }
}

fn environment<'e>(budget: &Arc<Budget>) -> Environment<'e> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.set_fuel(Some(MAX_STEPS));
    env.set_recursion_limit(MAX_RECURSION);
    metering::register(&mut env, budget);
    filters::register(&mut env, budget);
    functions::register(&mut env, budget);
    let own = budget.clone();
    env.set_formatter(move |out, _, value| {
        let text = match value.as_str() {
            Some(text) => {
                own.bytes(text.len())?;
                return Ok(out.write_str(text)?);
            }
            None => python::text(&own, value)?,
        };
        Ok(out.write_str(&text)?)
    });
    let own = budget.clone();
    env.set_unknown_method_callback(move |state: &State, value, name, args| {
        let all: Vec<Value> = std::iter::once(value.clone())
            .chain(args.iter().cloned())
            .collect();
        own.read(&all)?;
        methods::apply(&Call::new(state, &own, name, &all))
    });
    env
}

fn compile(source: &str) -> Result<CompiledTemplate<'_>, Error> {
    let config = TemplateConfig {
        syntax_config: SyntaxConfig,
        ws_config: WhitespaceConfig {
            keep_trailing_newline: false,
            lstrip_blocks: true,
            trim_blocks: true,
        },
        default_auto_escape: Arc::new(|_| AutoEscape::None),
    };
    CompiledTemplate::new(NAME, source, &config)
}

fn explain(error: &Error) -> String {
    let mut message = match error.kind() {
        ErrorKind::OutOfFuel => format!("the template takes more than {MAX_STEPS} steps"),
        _ => error.to_string(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        message.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    message
}

/// Runs `body` on a stack of its own.
fn on_own_stack<T: Send>(body: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, body);
        let thread = thread.map_err(|e| {
            Failure::new(Status::Internal, format!("no thread for the template: {e}"))
        })?;
        thread
            .join()
            .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    })
}

fn render(source: &str, context: &str) -> Outcome<Rendered> {
    let context: serde_json::Value = serde_json::from_str(context).map_err(Failure::invalid)?;
    let budget = Arc::new(Budget::new(fresh_mark()));
    let env = environment(&budget);
    let mut compiled = compile(source).map_err(|e| Failure::corrupt(explain(&e)))?;
    metering::apply(&mut compiled);
    let mut text = String::new();
    let result = Vm::new(&env).eval(
        &compiled.instructions,
        Value::from_serialize(&context),
        &compiled.blocks,
        &mut make_string_output(&mut text),
        AutoEscape::None,
    );
    match result {
        Ok(_) if text.len() > MAX_OUTPUT => Err(Failure::corrupt(format!(
            "the template writes {} bytes; at most {MAX_OUTPUT} are allowed",
            text.len()
        ))),
        Ok(_) => Ok(take_marks(&text, &budget.mark)),
        Err(error) => {
            let raised = budget
                .raised
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            Err(match raised.as_ref() {
                Some(message) => Failure::new(Status::Raised, message.clone()),
                None => Failure::corrupt(explain(&error)),
            })
        }
    }
}

impl Template {
    pub fn new(source: &str) -> Outcome<Self> {
        if source.len() > MAX_SOURCE {
            return Err(Failure::corrupt(format!(
                "the template has {} bytes; at most {MAX_SOURCE} are accepted",
                source.len()
            )));
        }
        let source = rewrite_generation(source);
        on_own_stack(|| {
            compile(&source)
                .map(|_| ())
                .map_err(|e| Failure::corrupt(explain(&e)))
        })?;
        Ok(Self { source })
    }

    pub fn render(&self, context: &str) -> Outcome<Rendered> {
        on_own_stack(|| render(&self.source, context))
    }
}
