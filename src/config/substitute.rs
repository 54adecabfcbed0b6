//! Fills `${env:NAME}`, `${env:NAME:default}` and `${file:/path}` into string values, and remembers what came from
//! outside as secret.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

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

const TEXT_FILES: &str = "`${file:/path}` takes a text file; a line end at its end is left out";

/// What is wrong, and what helps.
type Wrong = (String, String);

/// Replaces every reference of the tree's strings.
pub(crate) fn fill_in(tree: &mut Tree, environment: &BTreeMap<String, String>) {
    let mut filler = Filler {
        environment,
        origins: &mut tree.origins,
        problems: &mut tree.problems,
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
                Err((message, help)) => {
                    self.origins.add_unknown(path.clone());
                    self.problems.push(Problem {
                        severity: Severity::Error,
                        path: path.clone(),
                        message: format!("`{path}`: {message}"),
                        origin: self.origins.value(path),
                        help: Some(help),
                    });
                }
            },
            _ => {}
        }
    }

    fn replace(&mut self, text: &str, path: &KeyPath) -> Result<String, Wrong> {
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
    fn look_up(&self, inner: &str) -> Result<(bool, String), Wrong> {
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
                Err((why, help)) => Err((format!("cannot read `{path}`: {why}"), help)),
            };
        }
        Err((
            format!("unknown reference `${{{inner}}}`"),
            FORMS.to_owned(),
        ))
    }
}

/// Reads a file that nobody else may read.
fn read_secret(path: &Path) -> Result<String, Wrong> {
    let told = |why: String, help: &str| (why, help.to_owned());
    let failed = |error: std::io::Error| told(error.to_string(), TEXT_FILES);
    // Not waiting, as opening a pipe would until somebody writes to it.
    let mut options = File::options();
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    options.read(true).custom_flags(nonblocking);
    let mut file = options.open(path).map_err(failed)?;
    // of the open file, so that nobody can put another in its place in between
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(told("it is no file".to_owned(), TEXT_FILES));
    }
    let user = rustix::process::geteuid().as_raw();
    if let Some(who) = others_who_may_read(found.mode(), found.uid(), user) {
        let mode = found.mode() & 0o777;
        let help = format!(
            "`chmod 600 {}`; a container's secret takes a `mode` (Docker) or `defaultMode` (Kubernetes) of 0400",
            path.display()
        );
        return Err((format!("{who} may read it (mode {mode:03o})"), help));
    }
    if found.len() > MAX_SECRET_BYTES {
        let size = found.len();
        let why = format!("{size} bytes are more than the {MAX_SECRET_BYTES} allowed");
        return Err(told(why, TEXT_FILES));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// Who may read a file that only we should. A file of root's may have a group, by which we read it.
fn others_who_may_read(mode: u32, owner: u32, user: u32) -> Option<&'static str> {
    let is_lent = owner == 0 && user != 0;
    match (mode & 0o007, mode & 0o070) {
        (1.., _) => Some("everybody"),
        (0, 1..) if !is_lent => Some("its group"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_for_its_owner_and_one_of_roots_for_its_group() {
        assert_eq!(others_who_may_read(0o600, 1000, 1000), None);
        assert_eq!(others_who_may_read(0o400, 0, 0), None);
        assert_eq!(others_who_may_read(0o440, 0, 1000), None);
        assert_eq!(others_who_may_read(0o640, 1000, 1000), Some("its group"));
        assert_eq!(others_who_may_read(0o440, 0, 0), Some("its group"));
        assert_eq!(others_who_may_read(0o444, 0, 1000), Some("everybody"));
        assert_eq!(others_who_may_read(0o602, 1000, 1000), Some("everybody"));
    }

    #[test]
    fn a_pipe_is_no_secret_and_nobody_waits_for_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let (why, _) = read_secret(&pipe).unwrap_err();
        assert_eq!(why, "it is no file");
    }
}
