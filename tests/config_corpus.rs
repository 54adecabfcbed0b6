//! A corpus of broken configs: the real binary refuses each with exactly the text beside it, and does nothing else.
//!
//! A folder is a config of several files, over which the variables of its file `environment` are laid.
//! `VELTRIX_UPDATE_CORPUS=1 cargo nextest run -p veltrix --test config_corpus` writes the texts anew; read what has changed.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Where the configs are, each with its text in a file that ends in `.expected`.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config_corpus");
/// What `validate` adds to a config that only has warnings.
const DENIED: &str = "error: warnings are denied (--deny-warnings)\n";
/// Exit code of a bad config.
const BAD_CONFIG: i32 = 78;
/// The corpus is worth something only as long as it is large.
const CONFIGS_MIN: usize = 120;

fn corpus() -> BTreeSet<PathBuf> {
    let folder = std::fs::read_dir(CORPUS).expect("the corpus");
    folder
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

fn is_expectation(path: &&PathBuf) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "expected")
}

/// What a command did.
struct Outcome {
    code: Option<i32>,
    output: String,
    log: String,
    /// The names of what is new in the folder that it ran in.
    made: BTreeSet<String>,
}

/// Runs a command on the config in a folder of its own, where a file lies that everybody may read.
fn outcome(config: &Path, arguments: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    let name = config.file_name().expect("a name");
    let variables = put(config, &folder.path().join(name));
    let loose = folder.path().join("loose");
    std::fs::write(&loose, "canary").expect("a file");
    std::fs::set_permissions(&loose, PermissionsExt::from_mode(0o644)).expect("permissions");
    let before = names_below(folder.path());
    let output = Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(arguments)
        .arg("-c")
        .arg(name)
        .current_dir(folder.path())
        .env_remove("VELTRIX_CONFIG")
        .envs(variables)
        .output()
        .expect("the binary");
    let after = names_below(folder.path());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Outcome {
        code: output.status.code(),
        output: text(output.stdout),
        log: text(output.stderr),
        made: after.difference(&before).cloned().collect(),
    }
}

/// Copies a file, or a folder of files; returns the variables that come with it.
fn put(config: &Path, copy: &Path) -> Vec<(String, String)> {
    if config.is_file() {
        std::fs::copy(config, copy).expect("a copy");
        return Vec::new();
    }
    std::fs::create_dir(copy).expect("a folder");
    let mut variables = Vec::new();
    for entry in std::fs::read_dir(config).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_name() == "environment" {
            let text = std::fs::read_to_string(entry.path()).expect("text");
            let lines = text
                .lines()
                .map(|line| line.split_once('=').expect("a variable"));
            variables.extend(lines.map(|(name, value)| (name.to_owned(), value.to_owned())));
        } else {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("a copy");
        }
    }
    variables
}

fn names_below(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            names.extend(names_below(&path));
        }
        names.insert(path.display().to_string());
    }
    names
}

/// What is wrong with how one config is refused.
fn check(config: &Path, is_update: bool) -> Option<String> {
    let beside = config.with_extension("expected");
    let name = config.display();
    let Outcome {
        code,
        output: text,
        log,
        made,
    } = outcome(config, &["validate", "--deny-warnings"]);
    if code != Some(BAD_CONFIG) || !log.is_empty() || !made.is_empty() {
        return Some(format!(
            "{name}: validate: {code:?}, made {made:?}, said {text}{log}"
        ));
    }
    if is_update {
        std::fs::write(&beside, &text).expect("written");
    }
    let expected = std::fs::read_to_string(&beside).unwrap_or_default();
    if text != expected {
        return Some(format!("{name}: expected\n{expected}found\n{text}"));
    }
    if text.ends_with(DENIED) {
        // it would run
        return None;
    }
    let Outcome {
        code,
        output,
        log,
        made,
    } = outcome(config, &["run"]);
    let is_refused = code == Some(BAD_CONFIG) && output.is_empty() && made.is_empty();
    // not a line of log before or after it: nothing has been started
    (!is_refused || log != expected)
        .then(|| format!("{name}: run: {code:?}, made {made:?}, said {output}{log}"))
}

#[test]
fn each_broken_config_is_refused_with_its_text_and_nothing_else_happens() {
    let is_update = std::env::var_os("VELTRIX_UPDATE_CORPUS").is_some();
    let all = corpus();
    let configs: Vec<&PathBuf> = all.iter().filter(|path| !is_expectation(path)).collect();
    assert!(configs.len() >= CONFIGS_MIN, "{}", configs.len());
    let (left, wrong) = (Mutex::new(configs), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("no panic").pop();
                    let Some(config) = next else { break };
                    wrong
                        .lock()
                        .expect("no panic")
                        .extend(check(config, is_update));
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_text_has_its_config() {
    let all = corpus();
    let configs: BTreeSet<PathBuf> = all
        .iter()
        .filter(|path| !is_expectation(path))
        .map(|path| path.with_extension(""))
        .collect();
    let texts: BTreeSet<PathBuf> = all
        .iter()
        .filter(is_expectation)
        .map(|path| path.with_extension(""))
        .collect();
    assert_eq!(configs, texts);
}
