//! The section of the docs that the command writes.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::Report;

const BEGIN: &str = "<!-- story: begin, written by `veltrix-bench story --docs`; do not edit -->\n";
const END: &str = "<!-- story: end -->\n";

/// Writes tables and conclusions between the markers of `path`, and the plots into the folder beside it.
///
/// # Errors
/// If the file has no markers, or cannot be written.
pub(crate) fn write(report: &Report, path: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let folder = path.with_extension("");
    fs::create_dir_all(&folder)?;
    for plot in &report.plots {
        fs::write(folder.join(plot.file_name()), plot.svg())?;
    }
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = replaced(&text, &section(report, &name))
        .with_context(|| format!("{} has no markers for the story", path.display()))?;
    Ok(fs::write(path, text)?)
}

fn section(report: &Report, folder: &str) -> String {
    let list =
        |lines: &[String]| -> String { lines.iter().map(|line| format!("- {line}\n")).collect() };
    let plots: String = report
        .plots
        .iter()
        .map(|plot| format!("![{}]({folder}/{})\n\n", plot.title, plot.file_name()))
        .collect();
    let tables: String = report
        .tables
        .iter()
        .map(|table| format!("### {}\n\n{}\n", table.title, table.markdown()))
        .collect();
    format!(
        "\n{}\n### What to conclude\n\n{}\n{plots}{tables}",
        list(&report.facts),
        list(&report.conclusions)
    )
}

fn replaced(text: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{section}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        let new = replaced(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}new\n{END}b\n"));
        assert_eq!(replaced("no markers", "new"), None);
    }
}
