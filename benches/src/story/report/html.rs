//! The page: everything in one file.

use super::Report;
use super::table::Table;

const STYLE: &str = "body{font-family:sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;font-size:.8rem}td,th{border:1px solid #ccc;padding:.2rem .4rem;text-align:left}svg{width:100%}";

pub(super) fn page(report: &Report) -> String {
    let list = |lines: &[String]| -> String {
        lines
            .iter()
            .map(|line| format!("<li>{}</li>\n", escaped(line)))
            .collect()
    };
    let plots: String = report.plots.iter().map(super::plot::Plot::svg).collect();
    let tables: String = report.tables.iter().map(table).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Veltrix: the story's comparison</title>\
         <style>{STYLE}</style></head>\n<body><h1>The story's comparison</h1>\n<ul>\n{}</ul>\n\
         <h2>What to conclude</h2>\n<ul>\n{}</ul>\n<h2>Plots</h2>\n{plots}\n<h2>Figures</h2>\n\
         <p>Medians with 95 % intervals.</p>\n{tables}</body></html>\n",
        list(&report.facts),
        list(&report.conclusions)
    )
}

fn table(table: &Table) -> String {
    let row = |cells: &Vec<String>, tag: &str| -> String {
        let cells: String = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = table.rows.iter().map(|cells| row(cells, "td")).collect();
    format!(
        "<h3>{}</h3>\n<table>\n{}{rows}</table>\n",
        escaped(&table.title),
        row(&table.head, "th")
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
