//! Fills `${env:NAME}`, `${env:NAME:default}` and `${file:/path}` into string values, and remembers what came from
//! outside as secret.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::{
    layers::Tree,
    origins::Origins,
    path::KeyPath,
    problems::{Problem, Problems, Severity},
};

/// What `${file:...}` reads at most, in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

const FORMS: &str = "valid forms are `${env:NAME}`, `${env:NAME:default}` and `${file:/path}`; write `$${` for a plain `${`";

/// Replaces every reference of the tree's strings.
pub(crate) fn fill_in(
    tree: &mut Tree,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    let mut filler = Filler {
        environment,
        origins: &mut tree.origins,
        problems,
    };
    filler.visit(&mut tree.value, &KeyPath::ROOT);
}

struct Filler<'a> {
    environment: &'a BTreeMap<String, String>,
    origins: &'a mut Origins,
    problems: &'a mut Problems,
}

impl Filler<'_> {
    fn visit(&mut self, value: &mut Value, path: &KeyPath) {
        match value {
            Value::Object(map) => map
                .iter_mut()
                .for_each(|(key, value)| self.visit(value, &path.key(key))),
            Value::Array(items) => {
                items
                    .iter_mut()
                    .enumerate()
                    .for_each(|(index, item)| self.visit(item, &path.index(index)));
            }
            Value::String(text) if text.contains("${") => match self.replace(text, path) {
                Ok(filled) => {
                    self.origins.set_text(path, filled.clone());
                    *text = filled;
                }
                Err((message, help)) => self.problems.push(Problem {
                    severity: Severity::Error,
                    path: path.clone(),
                    message: format!("`{path}`: {message}"),
                    origin: self.origins.value(path),
                    help: Some(help),
                }),
            },
            _ => {}
        }
    }

    fn replace(&mut self, text: &str, path: &KeyPath) -> Result<String, (String, String)> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, reference) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = &reference[2..];
                continue;
            }
            out.push_str(before);
            let Some(end) = reference.find('}') else {
                return Err(("`${` has no closing `}`".to_owned(), FORMS.to_owned()));
            };
            let (secret, value) = self.look_up(&reference[2..end])?;
            if secret {
                self.origins.add_secret(path.clone(), value.clone());
            }
            out.push_str(&value);
            rest = &reference[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What stands for a reference, and whether it came from outside the config.
    fn look_up(&self, inner: &str) -> Result<(bool, String), (String, String)> {
        if let Some(name) = inner.strip_prefix("env:") {
            let (name, default) = name
                .split_once(':')
                .map_or((name, None), |(name, default)| (name, Some(default)));
            return match (self.environment.get(name), default) {
                (Some(value), _) => Ok((true, value.clone())),
                (None, Some(default)) => Ok((false, default.to_owned())),
                (None, None) => Err((
                    format!("environment variable `{name}` is not set"),
                    format!("set it, or give a default: `${{env:{name}:default}}`"),
                )),
            };
        }
        if let Some(path) = inner.strip_prefix("file:") {
            return match read_secret(Path::new(path)) {
                Ok(text) => Ok((true, text)),
                Err(why) => Err((
                    format!("cannot read `{path}`: {why}"),
                    "`${file:/path}` takes a text file; a line end at its end is left out"
                        .to_owned(),
                )),
            };
        }
        Err((
            format!("unknown reference `${{{inner}}}`"),
            FORMS.to_owned(),
        ))
    }
}

fn read_secret(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if size > MAX_SECRET_BYTES {
        return Err(format!(
            "{size} bytes are more than the {MAX_SECRET_BYTES} allowed"
        ));
    }
    let mut text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
