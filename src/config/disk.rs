//! Whether paths of the config can be written to on this machine. Looks only: nothing is created, opened or touched.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    io::Errno,
};
use serde_json::Value;

use super::{faults::FaultsConfig, path::KeyPath, problems::Reporter, service::ServiceConfig};

/// Reports every path that cannot be written to.
pub(crate) fn check(
    service: Option<&ServiceConfig>,
    sinks: &[(&str, &Value)],
    faults: Option<&FaultsConfig>,
    reporter: &Reporter,
) {
    let report = |at: &KeyPath, why: Result<(), String>| {
        if let Err(why) = why {
            reporter.value(at, format!("`{at}`: {why}"), None);
        }
    };
    if let Some(service) = service.filter(|service| !service.data_dir.as_os_str().is_empty()) {
        let at = KeyPath::of(["service", "data_dir"]);
        report(&at, directory(&service.data_dir));
    }
    for (name, sink) in sinks {
        let is_file = sink.get("type").and_then(Value::as_str) == Some("file");
        let path = sink.get("path").and_then(Value::as_str);
        if let Some(path) = path.filter(|path| is_file && !path.is_empty()) {
            report(&KeyPath::of(["sinks", name, "path"]), template(path));
        }
    }
    if let Some(log) = faults.and_then(|faults| faults.log.as_deref()) {
        report(&KeyPath::of(["faults", "log"]), file(log));
    }
}

/// The directory is there and takes new files, or can be made.
fn directory(path: &Path) -> Result<(), String> {
    for above in path.ancestors() {
        let above = match above.as_os_str().is_empty() {
            true => Path::new("."),
            false => above,
        };
        match above.metadata() {
            Ok(found) if !found.is_dir() => {
                return Err(format!("`{}` is not a directory", above.display()));
            }
            Ok(_) => return takes_files(above, path),
            Err(_) if above.is_symlink() => {
                return Err(format!(
                    "`{}` is a link to what is not there",
                    above.display()
                ));
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(format!("cannot look at `{}`: {error}", above.display())),
        }
    }
    Ok(())
}

/// `wanted` is `above` or shall be made below it.
fn takes_files(above: &Path, wanted: &Path) -> Result<(), String> {
    let what = match above == wanted {
        true => format!("cannot write into `{}`", above.display()),
        false => format!(
            "cannot create `{}` below `{}`",
            wanted.display(),
            above.display()
        ),
    };
    may(above, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| format!("{what}: {error}"))
}

/// The file is there and can be written to, or can be made.
fn file(path: &Path) -> Result<(), String> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(format!("`{}` is a directory", path.display())),
        Ok(_) => may(path, Access::WRITE_OK)
            .map_err(|error| format!("cannot write to `{}`: {error}", path.display())),
        Err(_) => directory(&path.parent().map(PathBuf::from).unwrap_or_default()),
    }
}

/// A path in which `{type}` and its like are filled in: as far as it is certain.
fn template(path: &str) -> Result<(), String> {
    match path.split_once('{') {
        None => file(Path::new(path)),
        Some((fixed, _)) => {
            let end = fixed.rfind('/').map_or(0, |at| at.max(1));
            directory(Path::new(&fixed[..end]))
        }
    }
}

/// As the process's effective user, whom the kernel will ask.
fn may(path: &Path, access: Access) -> Result<(), std::io::Error> {
    match accessat(CWD, path, access, AtFlags::EACCESS) {
        // old kernels know the real user only
        Err(Errno::NOSYS | Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_can_be_made_and_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        assert_eq!(directory(&deep), Ok(()));
        assert_eq!(file(&deep), Ok(()));
        assert_eq!(template(deep.join("{type}.x").to_str().unwrap()), Ok(()));
        assert_eq!(template("{type}.x"), Ok(()));
        assert_eq!(directory(Path::new("no/such/place")), Ok(()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_or_a_dead_link_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (taken, dead) = (folder.path().join("taken"), folder.path().join("dead"));
        std::fs::write(&taken, "").unwrap();
        std::os::unix::fs::symlink("/no/such/place", &dead).unwrap();
        let shown = taken.display();
        assert_eq!(
            directory(&taken.join("x/y")),
            Err(format!("`{shown}` is not a directory"))
        );
        assert_eq!(file(&taken), Ok(()));
        assert!(file(folder.path()).unwrap_err().ends_with("is a directory"));
        assert!(
            directory(&dead.join("x"))
                .unwrap_err()
                .contains("a link to what is not there")
        );
        let inside = taken.join("{type}.ndjson");
        assert!(template(inside.to_str().unwrap()).is_err());
    }
}
