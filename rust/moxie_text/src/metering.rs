//! Rewrites the program minijinja compiles from a template, so that every instruction that can cost
//! more than a step pays for it: operators become calls of `operators`, raw text goes through the
//! formatter, and what compares or builds values is weighed. Jumps follow their targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::machinery::{CompiledTemplate, Instruction, Instructions};
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Value};

use crate::budget::{error, Budget};
use crate::operators;

/// "Do not cache which filter this is."
const UNCACHED: u8 = !0;

type Binary = fn(&Budget, &Value, &Value) -> Result<Value, Error>;

const BINARY: [(&str, Binary); 6] = [
    ("__add", operators::add),
    ("__mul", operators::mul),
    ("__floordiv", operators::floor_div),
    ("__mod", operators::modulo),
    ("__concat", operators::concat),
    ("__item", operators::item),
];

/// Adds the filters that the rewritten program calls.
pub fn register(env: &mut Environment, budget: &Arc<Budget>) {
    for (name, operator) in BINARY {
        let budget = budget.clone();
        env.add_filter(name, move |a: &Value, b: &Value| operator(&budget, a, b));
    }
    let own = budget.clone();
    env.add_filter(
        "__slice",
        move |value: &Value, start: &Value, stop: &Value, step: &Value| {
            operators::slice(&own, &[value, start, stop, step].map(Value::clone))
        },
    );
    let own = budget.clone();
    env.add_filter("__weigh", move |value: Value| {
        own.weigh(&value).map(|()| value)
    });
    let own = budget.clone();
    env.add_filter("__iterable", move |value: Value| match value.kind() {
        ValueKind::None => Err(error("none is not iterable")),
        // The characters become a list.
        ValueKind::String => own.list(value.as_str().map_or(0, str::len)).map(|()| value),
        _ => Ok(value),
    });
    let own = budget.clone();
    env.add_filter("__data", move |value: Value| {
        own.data(&value).map(|()| value)
    });
}

fn call<'s>(name: &'s str, arguments: u16) -> Instruction<'s> {
    Instruction::ApplyFilter(name, Some(arguments), UNCACHED)
}

/// What one instruction becomes; the jumps in it still have their old targets.
fn rewrite<'s>(instruction: &Instruction<'s>) -> Vec<Instruction<'s>> {
    use Instruction as I;
    let weigh_top = || vec![I::DupTop, call("__weigh", 1), I::DiscardTop];
    let own = instruction.clone();
    match instruction {
        I::EmitRaw(text) => vec![I::LoadConst(Value::from(*text)), I::Emit],
        I::Add => vec![call("__add", 2)],
        I::Mul => vec![call("__mul", 2)],
        I::IntDiv => vec![call("__floordiv", 2)],
        I::Rem => vec![call("__mod", 2)],
        I::StringConcat => vec![call("__concat", 2)],
        I::Slice => vec![call("__slice", 4)],
        I::Eq | I::Ne | I::Gt | I::Gte | I::Lt | I::Lte | I::In => {
            [weigh_top(), vec![own]].concat()
        }
        I::GetItem => vec![call("__item", 2)],
        I::CompareAndPreserve(_) => [weigh_top(), vec![own]].concat(),
        I::BuildList(_) | I::BuildMap(_) => vec![own, call("__weigh", 1)],
        I::PushLoop(_) => vec![call("__iterable", 1), own],
        I::SetAttr(_) => vec![I::Swap, call("__data", 1), I::Swap, own],
        _ => vec![own],
    }
}

fn retarget<'s>(instruction: Instruction<'s>, moved: &[u32]) -> Instruction<'s> {
    use Instruction as I;
    let at = |target: u32| moved.get(target as usize).copied().unwrap_or(target);
    match instruction {
        I::Iterate(target) => I::Iterate(at(target)),
        I::Jump(target) => I::Jump(at(target)),
        I::JumpIfFalse(target) => I::JumpIfFalse(at(target)),
        I::JumpIfFalseOrPop(target) => I::JumpIfFalseOrPop(at(target)),
        I::JumpIfTrueOrPop(target) => I::JumpIfTrueOrPop(at(target)),
        I::BuildMacro(name, target, flags) => I::BuildMacro(name, at(target), flags),
        other => other,
    }
}

/// A macro sees the variables its body reads; minijinja forgets those it only assigns into
/// (`{% set ns.x = ... %}`), and {% generation %} blocks are macros. The names, for the macro that
/// the BuildMacro at `at` makes.
fn assigned_into<'s>(program: &[&Instruction<'s>], at: usize) -> Vec<Instruction<'s>> {
    let Instruction::BuildMacro(_, body, _) = program[at] else {
        return vec![];
    };
    let body = program.get(*body as usize..at).unwrap_or_default();
    let names = body.windows(2).filter_map(|pair| match pair {
        [Instruction::Lookup(name), Instruction::SetAttr(_)] => Some(Instruction::Enclose(name)),
        _ => None,
    });
    names.collect()
}

fn meter<'s>(program: &Instructions<'s>) -> Instructions<'s> {
    let old: Vec<_> = (0..program.len() as u32)
        .filter_map(|at| program.get(at))
        .collect();
    let mut groups: Vec<Vec<Instruction<'s>>> = old.iter().map(|one| rewrite(one)).collect();
    for at in 2..old.len() {
        // The closure is taken two instructions before the macro is built.
        if matches!(old[at - 2], Instruction::GetClosure) {
            groups[at - 2].splice(0..0, assigned_into(&old, at));
        }
    }
    let mut moved = Vec::with_capacity(groups.len() + 1);
    let mut next = 0u32;
    for group in &groups {
        moved.push(next);
        next += group.len() as u32;
    }
    moved.push(next);
    let mut metered = Instructions::new(program.name(), program.source());
    for (at, group) in groups.into_iter().enumerate() {
        let line = program.get_line(at as u32).unwrap_or(0) as u16;
        for instruction in group {
            metered.add_with_line(retarget(instruction, &moved), line);
        }
    }
    metered
}

pub fn apply(template: &mut CompiledTemplate) {
    template.instructions = meter(&template.instructions);
    let blocks: BTreeMap<_, _> = template
        .blocks
        .iter()
        .map(|(name, program)| (*name, meter(program)))
        .collect();
    template.blocks = blocks;
}
