//! Which files make up the config, and their text.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    json,
    node::Node,
    origins::SourceFile,
    problems::{Problem, Problems},
    toml, yaml,
};

/// A config file's size at most, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

const EXTENSIONS: [&str; 4] = ["yaml", "yml", "toml", "json"];

const VALID_EXTENSIONS: &str = "valid extensions are `.yaml`, `.yml`, `.toml` and `.json`";

/// Where the config is looked for when nobody names one.
const DEFAULT_FILES: [&str; 2] = ["./config/veltrix.yaml", "/etc/veltrix/veltrix.yaml"];

/// The variable that names the config when the command line does not.
const DEFAULT_VARIABLE: &str = "VELTRIX_CONFIG";

/// The files that `-c` names (paths, directories and globs, in order; the files of one are sorted by name). Without any, the one that
/// `VELTRIX_CONFIG` names, else the first of `./config/veltrix.yaml` and `/etc/veltrix/veltrix.yaml` that exists.
///
/// # Errors
/// A file that does not exist, a glob that matches nothing, or no config at all.
pub fn locate(args: &[String]) -> Result<Vec<PathBuf>, Problems> {
    locate_among(args, std::env::var_os(DEFAULT_VARIABLE), &DEFAULT_FILES)
}

fn locate_among(
    args: &[String],
    variable: Option<OsString>,
    defaults: &[&str],
) -> Result<Vec<PathBuf>, Problems> {
    let named: Vec<String> = match variable.filter(|value| !value.is_empty()) {
        _ if !args.is_empty() => args.to_vec(),
        Some(value) => vec![value.to_string_lossy().into_owned()],
        None => Vec::new(),
    };
    if named.is_empty() {
        let found = defaults
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists());
        return found.map(|path| vec![path]).ok_or_else(|| {
            let help = format!(
                "name a file with -c or in {DEFAULT_VARIABLE}; looked for {}",
                defaults.join(" and ")
            );
            Problem::without_place("no config file found", Some(help)).into()
        });
    }
    let mut problems = Problems::default();
    let mut files = Vec::new();
    for name in named {
        match expand(&name) {
            Ok(found) => files.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(problems)
    }
}

fn expand(name: &str) -> Result<Vec<PathBuf>, Problem> {
    let path = Path::new(name);
    if path.is_dir() {
        return in_directory(name, path);
    }
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    if !name.contains(['*', '?', '[']) {
        return Err(Problem::without_place(
            format!("config file `{name}` does not exist"),
            None,
        ));
    }
    let wrong = |why: &dyn std::fmt::Display| {
        Problem::without_place(format!("config glob `{name}`: {why}"), None)
    };
    let mut found = Vec::new();
    for entry in glob::glob(name).map_err(|error| wrong(&error))? {
        let path = entry.map_err(|error| wrong(&error))?;
        if path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        Err(wrong(&"no file matches"))
    } else {
        Ok(found)
    }
}

/// The config files right below a directory, sorted by name; hidden ones and schemas are left out.
fn in_directory(name: &str, path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let wrong = |why: &dyn std::fmt::Display, help: Option<String>| {
        Problem::without_place(format!("config directory `{name}`: {why}"), help)
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| wrong(&error, None))? {
        let path = entry.map_err(|error| wrong(&error, None))?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_config = extension.is_some_and(|extension| EXTENSIONS.contains(&extension));
        if is_config && !file.starts_with('.') && !file.ends_with(".schema.json") && path.is_file()
        {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(wrong(
            &"there is no config file in it",
            Some(VALID_EXTENSIONS.to_owned()),
        ));
    }
    Ok(found)
}

/// Reads and parses one file by its extension; `rank` is its place among the layers.
pub(crate) fn read(path: &Path, rank: usize) -> (Arc<SourceFile>, Option<Node>, Vec<Problem>) {
    let name = path.display().to_string();
    let (text, problem) = match read_text(path) {
        Ok(text) => (text, None),
        Err(why) => (
            String::new(),
            Some(Problem::without_place(
                format!("config file `{name}`: {why}"),
                None,
            )),
        ),
    };
    let file = Arc::new(SourceFile::new(name, text, rank));
    if let Some(problem) = problem {
        return (file, None, vec![problem]);
    }
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    let (node, problems) = parse(&file, extension);
    (file, node, problems)
}

/// Parses by extension.
pub(crate) fn parse(file: &Arc<SourceFile>, extension: &str) -> (Option<Node>, Vec<Problem>) {
    match extension {
        "yaml" | "yml" => yaml::parse(file),
        "toml" => toml::parse(file),
        "json" => json::parse(file),
        _ => {
            let message = format!(
                "config file `{}`: the format is told by the extension",
                file.name
            );
            let help = VALID_EXTENSIONS.to_owned();
            (None, vec![Problem::without_place(message, Some(help))])
        }
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(format!(
            "{size} bytes are more than the {MAX_FILE_BYTES} that a config file may have"
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        format!("line {line} is not UTF-8")
    })?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_goes_before_the_variable_and_the_variable_before_the_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        for name in ["a.yaml", "b.yaml", "c.yaml"] {
            std::fs::write(path(name), "").unwrap();
        }
        let (a, b, c) = (path("a.yaml"), path("b.yaml"), path("c.yaml"));
        let found = |args: &[String], variable: Option<&str>| {
            locate_among(args, variable.map(OsString::from), &["/nowhere/x.yaml", &c]).unwrap()
        };
        assert_eq!(
            found(&[b.clone(), a.clone()], Some(&c)),
            [PathBuf::from(&b), PathBuf::from(&a)]
        );
        assert_eq!(found(&[], Some(&b)), [PathBuf::from(&b)]);
        assert_eq!(found(&[], None), [PathBuf::from(&c)]);
        assert_eq!(found(&[], Some("")), [PathBuf::from(&c)]);
        assert_eq!(
            found(&[path("*.yaml")], None),
            [&a, &b, &c].map(PathBuf::from)
        );
        for name in [".hidden.yaml", "veltrix.schema.json", "notes.txt"] {
            std::fs::write(path(name), "").unwrap();
        }
        let directory = directory.path().to_str().unwrap().to_owned();
        assert_eq!(found(&[directory], None), [a, b, c].map(PathBuf::from));
    }

    #[test]
    fn what_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().to_str().unwrap();
        let args = [
            format!("{here}/x.yaml"),
            format!("{here}/*.toml"),
            format!("{here}/empty"),
        ];
        std::fs::create_dir(format!("{here}/empty")).unwrap();
        let text = locate_among(&args, None, &[]).unwrap_err().to_string();
        assert!(
            text.contains(&format!("config file `{here}/x.yaml` does not exist")),
            "{text}"
        );
        assert!(
            text.contains(&format!("config glob `{here}/*.toml`: no file matches")),
            "{text}"
        );
        assert!(
            text.contains(&format!(
                "config directory `{here}/empty`: there is no config file in it"
            )),
            "{text}"
        );
        let text = locate_among(&[], None, &["/nowhere/x.yaml"])
            .unwrap_err()
            .to_string();
        assert!(
            text.starts_with("error: no config file found\n  help: name a file with -c"),
            "{text}"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(
            text in "[{}\\[\\]:,&*!|>'\"%@`#?~<\\-=.$\\\\ \n\t\rab0\u{e9}]{0,60}",
            format in proptest::sample::select(vec!["yaml", "toml", "json"]),
        ) {
            let file = Arc::new(SourceFile::new("fuzz".to_owned(), text, 0));
            let (node, problems) = parse(&file, format);
            if node.is_none() {
                assert!(!problems.is_empty() || format == "yaml" || format == "json");
            }
            problems.iter().for_each(|problem| assert!(!problem.to_string().is_empty()));
        }
    }
}
