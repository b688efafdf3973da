//! The arguments of a filter, test, method or function, by place or by name as Python takes them.

use std::sync::Arc;

use minijinja::value::Rest;
use minijinja::{Environment, Error, State, Value};

use crate::budget::{error, Budget};
use crate::operators::{number, Number};

pub struct Call<'a> {
    pub state: &'a State<'a, 'a>,
    pub budget: &'a Budget,
    pub name: &'a str,
    args: &'a [Value],
    named: Option<&'a Value>,
}

pub type Callable = fn(&Call) -> Result<Value, Error>;

impl<'a> Call<'a> {
    pub fn new(
        state: &'a State<'a, 'a>,
        budget: &'a Budget,
        name: &'a str,
        args: &'a [Value],
    ) -> Self {
        match args.split_last() {
            Some((last, rest)) if last.is_kwargs() => Self {
                state,
                budget,
                name,
                args: rest,
                named: Some(last),
            },
            _ => Self {
                state,
                budget,
                name,
                args,
                named: None,
            },
        }
    }

    /// The value a filter, test or method is applied to.
    pub fn value(&self) -> &Value {
        self.args.first().unwrap_or(&Value::UNDEFINED)
    }

    /// The arguments after the value.
    pub fn rest(&self) -> &'a [Value] {
        self.args.get(1..).unwrap_or_default()
    }

    pub fn positional(&self) -> &'a [Value] {
        self.args
    }

    pub fn named(&self) -> Option<&'a Value> {
        self.named
    }

    /// Argument number `place` (the value is 0), or the one called `name`.
    pub fn get(&self, place: usize, name: &str) -> Option<Value> {
        let by_name = || self.named.and_then(|named| named.get_attr(name).ok());
        self.args
            .get(place)
            .cloned()
            .or_else(by_name)
            .filter(|value| !value.is_undefined())
    }

    pub fn need(&self, place: usize, name: &str) -> Result<Value, Error> {
        let missing = || error(format!("{} lacks its argument '{name}'", self.name));
        self.get(place, name).ok_or_else(missing)
    }

    pub fn flag(&self, place: usize, name: &str, default: bool) -> bool {
        self.get(place, name)
            .map_or(default, |value| value.is_true())
    }

    pub fn int(&self, place: usize, name: &str) -> Result<Option<i64>, Error> {
        let Some(value) = self.get(place, name).filter(|value| !value.is_none()) else {
            return Ok(None);
        };
        match number(&value) {
            Some(Number::Int(n)) => Ok(Some(n.clamp(i64::MIN.into(), i64::MAX.into()) as i64)),
            _ => Err(error(format!("{}: '{name}' must be an integer", self.name))),
        }
    }

    pub fn text(&self, place: usize, name: &str) -> Result<Option<String>, Error> {
        let value = self.get(place, name).filter(|value| !value.is_none());
        value
            .map(|value| crate::python::text(self.budget, &value))
            .transpose()
    }

    pub fn need_text(&self, place: usize, name: &str) -> Result<String, Error> {
        crate::python::text(self.budget, &self.need(place, name)?)
    }

    /// A string result, paid for.
    pub fn make(&self, text: String) -> Result<Value, Error> {
        self.budget.bytes(text.len())?;
        Ok(Value::from(text))
    }

    /// A list of scalars, paid for.
    pub fn flat(&self, items: Vec<Value>) -> Result<Value, Error> {
        self.budget.list(items.len())?;
        Ok(Value::from(items))
    }

    /// A list of anything, paid for and weighed.
    pub fn list(&self, items: Vec<Value>) -> Result<Value, Error> {
        let list = self.flat(items)?;
        self.budget.weigh(&list)?;
        Ok(list)
    }

    /// Hands over to what minijinja itself ships under this name.
    pub fn native(&self, function: Value) -> Result<Value, Error> {
        let mut args = self.args.to_vec();
        args.iter().try_for_each(|arg| self.budget.weigh(arg))?;
        args.extend(self.named.cloned());
        let result = function.call(self.state, &args)?;
        self.budget.list(result.len().unwrap_or(0))?;
        self.budget.weigh(&result)?;
        Ok(result)
    }
}

pub fn add_filter(
    env: &mut Environment,
    budget: &Arc<Budget>,
    name: &'static str,
    function: Callable,
) {
    let budget = budget.clone();
    env.add_filter(name, move |state: &State, args: Rest<Value>| {
        budget.read(&args)?;
        function(&Call::new(state, &budget, name, &args))
    });
}

pub fn add_test(env: &mut Environment, budget: &Arc<Budget>, name: &'static str, test: Callable) {
    let budget = budget.clone();
    env.add_test(
        name,
        move |state: &State, args: Rest<Value>| -> Result<bool, Error> {
            test(&Call::new(state, &budget, name, &args)).map(|value| value.is_true())
        },
    );
}

pub fn add_function(
    env: &mut Environment,
    budget: &Arc<Budget>,
    name: &'static str,
    function: Callable,
) {
    let budget = budget.clone();
    env.add_function(name, move |state: &State, args: Rest<Value>| {
        budget.read(&args)?;
        function(&Call::new(state, &budget, name, &args))
    });
}
