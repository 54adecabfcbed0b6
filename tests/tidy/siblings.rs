//! Who may name whom: the actors crate never the service, a component never a sibling.

use crate::rules::Finding;
use crate::source_text::Line;

const ROOMS: &[&str] = &["sources", "handlers", "sinks"];
/// Parts of a room that several of its components build on: (room, module). They import no component.
const SHARED_PARTS: &[(&str, &str)] = &[("sinks", "line_buffer"), ("sinks", "retry")];

/// Dependencies that point the wrong way: up from the actors crate, or sideways between components.
pub(crate) fn check_imports(
    path: &str,
    lines: &[Line],
    imports: &[(usize, String)],
    findings: &mut Vec<Finding>,
) {
    let inline = lines
        .iter()
        .enumerate()
        .map(|(index, line)| (index + 1, line.code.clone()));
    for (number, text) in inline.chain(imports.iter().cloned()) {
        if path.starts_with("actors/") && names_crate(&text, "veltrix") {
            let message = "the actors crate names `veltrix`";
            findings.push(Finding::new(
                path,
                number,
                message,
                "`src` depends on `actors`, never the reverse",
            ));
        }
        if let Some(sibling) = sibling_named(path, &text)
            && !lines[number - 1].is_test
        {
            let message = format!("a component imports its sibling `{sibling}`");
            findings.push(Finding::new(
                path,
                number,
                &message,
                "components know the traits, not one another",
            ));
        }
    }
}

fn names_crate(text: &str, name: &str) -> bool {
    let needle = format!("{name}::");
    text.match_indices(&needle).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|symbol| symbol.is_alphanumeric() || symbol == '_' || symbol == ':')
    })
}

/// The other component that a line of a component's file names, such as `sinks::http`.
fn sibling_named(path: &str, text: &str) -> Option<String> {
    let mut parts = path
        .strip_prefix("src/")?
        .trim_end_matches(".rs")
        .split('/');
    let (room, own) = (parts.next()?, parts.next()?);
    if !ROOMS.contains(&room) || own == "mod" || own == "tests" {
        return None;
    }
    let inner: Vec<&str> = parts.filter(|part| *part != "mod").collect();
    let to_room = "super::".repeat(inner.len() + 1);
    let is_other = |module: &str| {
        let is_module = module.starts_with(|c: char| c.is_ascii_lowercase());
        is_module && module != own && !SHARED_PARTS.contains(&(room, module))
    };
    for other in ROOMS {
        let prefix = format!("crate::{other}::");
        for (at, _) in text.match_indices(&prefix) {
            let module = first_name(&text[at + prefix.len()..]);
            if *other != room || is_other(module) {
                return Some(format!("{other}::{module}"));
            }
        }
    }
    for (at, _) in text.match_indices(&to_room) {
        let is_start = !text[..at].ends_with("::");
        let after = &text[at + to_room.len()..];
        let module = first_name(after);
        let is_path = after[module.len()..].starts_with("::");
        if is_start && module != "super" && is_path && is_other(module) {
            return Some(format!("{room}::{module}"));
        }
    }
    None
}

fn first_name(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    &text[..end]
}
