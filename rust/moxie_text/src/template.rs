//! Chat templates.

use crate::error::{Failure, Outcome};

pub struct Rendered {
    pub text: String,
    pub generated: Vec<i64>,
}

pub struct Template {
    source: String,
}

impl Template {
    pub fn new(source: &str) -> Outcome<Self> {
        Ok(Self {
            source: source.to_string(),
        })
    }

    pub fn render(&self, context: &str) -> Outcome<Rendered> {
        let context: serde_json::Value = serde_json::from_str(context).map_err(Failure::invalid)?;
        let mut env = minijinja::Environment::new();
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        let text = env
            .render_str(&self.source, minijinja::Value::from_serialize(&context))
            .map_err(|e| Failure::corrupt(format!("{e:#}")))?;
        Ok(Rendered {
            text,
            generated: vec![],
        })
    }
}
