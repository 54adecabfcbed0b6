//! Reads YAML (and with it JSON) into values with spans: anchors and merge keys work, duplicate keys are errors.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span as Marks, Tag};

use super::{
    node::{Entry, MAX_DEPTH, MAX_NODES, Node, NodeKind, Scalar},
    origins::{FileLocation, Location, SourceFile, Span},
    problems::Problem,
};

/// What most often is behind a parser's words.
const HINTS: [(&str, &str); 6] = [
    ("',' or '}'", "a `{` is not closed, or a comma is missing"),
    ("',' or ']'", "a `[` is not closed, or a comma is missing"),
    ("scanning a quoted scalar", "a quote is not closed"),
    (
        "unknown anchor",
        "`&name` must come before the `*name` that repeats it",
    ),
    ("tabs disallowed", "indent by spaces"),
    (
        "did not find expected key",
        "entries of one mapping begin in one column",
    ),
];

/// Parses a file of one document. Every duplicate key is a problem of its own; a syntax error is the last one.
pub(crate) fn parse(file: &Arc<SourceFile>) -> (Option<Node>, Vec<Problem>) {
    parse_text(file, &file.text)
}

/// Parses `text`, which stands for the file's own.
pub(crate) fn parse_text(file: &Arc<SourceFile>, text: &str) -> (Option<Node>, Vec<Problem>) {
    let mut builder = Builder::new(file);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, marks)) => builder.on_event(event, marks),
            Err(error) => Err(builder.syntax_error(&error)),
        };
        if let Err(problem) = step {
            builder.problems.push(*problem);
            return (None, builder.problems);
        }
    }
    (builder.root, builder.problems)
}

type Step = Result<(), Box<Problem>>;

/// A mapping or list that is not closed yet.
struct Frame {
    contents: Contents,
    span: Span,
    anchor: usize,
}

enum Contents {
    List(Vec<Node>),
    Map(OpenMap),
}

#[derive(Default)]
struct OpenMap {
    entries: Vec<Entry>,
    seen: HashMap<String, Span>,
    /// The key whose value comes next.
    key: Option<(String, Span)>,
    /// What `<<` brings in, weaker than the mapping's own keys.
    merged: Vec<Entry>,
}

struct Builder<'a> {
    file: &'a Arc<SourceFile>,
    lines: Vec<&'a str>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
    documents: usize,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn new(file: &'a Arc<SourceFile>) -> Self {
        Self {
            file,
            lines: file.text.lines().collect(),
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            root: None,
            documents: 0,
            problems: Vec::new(),
        }
    }

    fn on_event(&mut self, event: Event<'_>, marks: Marks) -> Step {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let help = "put it into a file of its own and give both with -c".to_owned();
                    return Err(self.error(
                        marks.start,
                        "a second YAML document in one file",
                        Some(help),
                    ));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.on_scalar(&text, style, anchor, tag.as_deref(), marks)
            }
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return Err(self.error(
                        marks.start,
                        "the anchor that this alias names contains the alias",
                        None,
                    ));
                };
                self.nodes += node.count();
                self.check_count(marks.start)?;
                let node = node.clone();
                self.add(node, 0, marks.start)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(Contents::List(Vec::new()), anchor, tag.as_deref(), marks)
            }
            Event::MappingStart(anchor, tag) => self.open(
                Contents::Map(OpenMap::default()),
                anchor,
                tag.as_deref(),
                marks,
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(marks.start),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn on_scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        marks: Marks,
    ) -> Step {
        let span = self.span(marks);
        if let Some(Frame {
            contents: Contents::Map(OpenMap {
                key: key @ None, ..
            }),
            ..
        }) = self.stack.last_mut()
        {
            *key = Some((text.to_owned(), span));
            return Ok(());
        }
        let is_string = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if !is_string {
            self.refuse_tag(tag, marks.start)?;
        }
        let is_plain = matches!(style, ScalarStyle::Plain) && !is_string;
        let scalar = if is_plain {
            Scalar::parse(text)
        } else {
            Scalar::Text(text.to_owned())
        };
        self.add(
            Node {
                kind: NodeKind::Scalar(scalar),
                span,
            },
            anchor,
            marks.start,
        )
    }

    fn open(&mut self, contents: Contents, anchor: usize, tag: Option<&Tag>, marks: Marks) -> Step {
        self.refuse_tag(tag, marks.start)?;
        if matches!(
            self.stack.last(),
            Some(Frame {
                contents: Contents::Map(OpenMap { key: None, .. }),
                ..
            })
        ) {
            return Err(self.error(
                marks.start,
                "a key must be a text, not a mapping or list",
                None,
            ));
        }
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} mappings and lists inside one another");
            return Err(self.error(marks.start, &message, None));
        }
        let span = self.span(marks);
        self.stack.push(Frame {
            contents,
            span,
            anchor,
        });
        Ok(())
    }

    fn close(&mut self, at: Marker) -> Step {
        let Some(Frame {
            contents,
            span,
            anchor,
        }) = self.stack.pop()
        else {
            return Ok(());
        };
        let kind = match contents {
            Contents::List(items) => NodeKind::List(items),
            Contents::Map(OpenMap {
                mut entries,
                seen,
                merged,
                ..
            }) => {
                let mut own: HashSet<String> = seen.into_keys().collect();
                entries.extend(
                    merged
                        .into_iter()
                        .filter(|entry| own.insert(entry.key.clone())),
                );
                NodeKind::Map(entries)
            }
        };
        self.add(Node { kind, span }, anchor, at)
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, node: Node, anchor: usize, at: Marker) -> Step {
        self.nodes += if anchor == 0 { 1 } else { node.count() };
        self.check_count(at)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut frame.contents {
            Contents::List(items) => items.push(node),
            Contents::Map(map) => match map.key.take() {
                None => return Err(self.error(at, "an alias cannot be a key", None)),
                Some((key, span)) if key == "<<" => return self.merge(node, span),
                Some((key, key_span)) => match map.seen.get(&key) {
                    Some(first) => {
                        let message = format!(
                            "duplicate key `{key}`; it already stands in line {}",
                            first.line
                        );
                        let problem = Problem::at(self.location(key_span), message, None);
                        self.problems.push(problem);
                    }
                    None => {
                        map.seen.insert(key.clone(), key_span);
                        map.entries.push(Entry {
                            key,
                            key_span,
                            value: node,
                        });
                    }
                },
            },
        }
        Ok(())
    }

    /// `<<`: the keys of one mapping or of each in a list, the first one winning.
    fn merge(&mut self, node: Node, key: Span) -> Step {
        let mappings = match node.kind {
            NodeKind::List(items) => items,
            _ => vec![node],
        };
        for mapping in mappings {
            let NodeKind::Map(entries) = mapping.kind else {
                let message = "`<<` takes a mapping or a list of mappings, by alias";
                return Err(Box::new(Problem::at(self.location(key), message, None)));
            };
            if let Some(Frame {
                contents: Contents::Map(map),
                ..
            }) = self.stack.last_mut()
            {
                map.merged.extend(entries);
            }
        }
        Ok(())
    }

    fn check_count(&self, at: Marker) -> Step {
        match self.nodes {
            0..=MAX_NODES => Ok(()),
            _ => Err(self.error(
                at,
                &format!("more than {MAX_NODES} values in one file"),
                None,
            )),
        }
    }

    fn refuse_tag(&self, tag: Option<&Tag>, at: Marker) -> Step {
        match tag {
            Some(tag) => Err(self.error(
                at,
                &format!("the YAML tag `{tag}` has no meaning here"),
                None,
            )),
            None => Ok(()),
        }
    }

    fn syntax_error(&self, error: &ScanError) -> Box<Problem> {
        let hint = HINTS.iter().find(|(of, _)| error.info().contains(of));
        self.error(
            *error.marker(),
            &format!("not valid YAML: {}", error.info()),
            hint.map(|(_, hint)| (*hint).to_owned()),
        )
    }

    fn error(&self, at: Marker, message: &str, help: Option<String>) -> Box<Problem> {
        let span = Span {
            line: at.line().max(1),
            column: at.col() + 1,
            length: 1,
        };
        Box::new(Problem::at(self.location(span), message, help))
    }

    fn location(&self, span: Span) -> Location {
        Location::File(FileLocation {
            file: Arc::clone(self.file),
            span,
        })
    }

    /// The first line of what the marks enclose; one character for what opens a mapping or list.
    fn span(&self, marks: Marks) -> Span {
        let (start, end) = (marks.start, marks.end);
        let line = self.lines.get(start.line().saturating_sub(1));
        let line = line.copied().unwrap_or_default();
        let rest = line.chars().skip(start.col());
        // the parser's end of a quoted text is behind the spaces that follow it
        let text: String = match start.line() == end.line() {
            true => rest.take(end.col().saturating_sub(start.col())).collect(),
            false => rest.collect(),
        };
        let length = text.trim_end().chars().count();
        Span {
            line: start.line().max(1),
            column: start.col() + 1,
            length: length.max(1),
        }
    }
}
