//! Parses executable documents (GraphQL §2), with limits on their size and nesting.

mod lexer;
mod parser;

use std::{borrow::Cow, collections::HashMap};

pub(super) use parser::parse;

/// Where something is: an offset in bytes from the start of the document.
pub(super) type At = usize;

/// The longest document in bytes. 64 KiB: those of applications have a few. What is wrong is counted in
/// lines from the start, so that its length is a cost. Data belongs into variables.
pub(super) const MAX_DOCUMENT: usize = 64 * 1024;

/// The most tokens of a document. 8,000: the introspection of stock tools has 300.
pub(super) const MAX_TOKENS: usize = 8_000;

/// The deepest nesting of braces and brackets in a document. 64: as deep as JSON data may nest.
pub(super) const MAX_NESTING: usize = 64;

/// The most operations and fragments of a document together. 128: more than a code generator makes
/// of one screen.
pub(super) const MAX_DEFINITIONS: usize = 128;

/// The longest name in bytes: it is part of answers.
pub(super) const MAX_NAME: usize = 200;

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) message: Cow<'static, str>,
}

impl Fault {
    pub(super) fn new(at: At, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { at, message }
    }
}

/// A line and a column, both counted from 1 (GraphQL §7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Spot {
    /// The spot of an offset in a document.
    pub(super) fn of(document: &str, at: At) -> Self {
        let before = document.get(..at).unwrap_or(document);
        let (mut line, mut rest) = (1_usize, before);
        // GraphQL §2.1.2: a line ends with a line feed, a carriage return, or both.
        while let Some(end) = rest.find(['\n', '\r']) {
            let behind = rest.get(end..).unwrap_or_default();
            let len = if behind.starts_with("\r\n") { 2 } else { 1 };
            rest = behind.get(len..).unwrap_or_default();
            line = line.saturating_add(1);
        }
        let column = rest.chars().count().saturating_add(1);
        Self { line, column }
    }
}

/// A document.
#[derive(Debug, Default)]
pub(super) struct Document<'a> {
    pub(super) operations: Vec<Operation<'a>>,
    pub(super) fragments: HashMap<&'a str, Fragment<'a>>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Mutation,
    Subscription,
}

#[derive(Debug)]
pub(super) struct Operation<'a> {
    pub(super) at: At,
    pub(super) kind: Kind,
    pub(super) name: Option<&'a str>,
    pub(super) variables: Vec<Definition<'a>>,
    pub(super) directives: Vec<Directive<'a>>,
    pub(super) selections: Vec<Selection<'a>>,
}

/// The definition of a variable.
#[derive(Debug)]
pub(super) struct Definition<'a> {
    pub(super) at: At,
    pub(super) name: &'a str,
    pub(super) kind: TypeName<'a>,
    pub(super) default: Option<Value<'a>>,
    pub(super) directives: Vec<Directive<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum TypeName<'a> {
    Named(&'a str),
    List(Box<TypeName<'a>>),
    NonNull(Box<TypeName<'a>>),
}

impl std::fmt::Display for TypeName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::List(of) => write!(f, "[{of}]"),
            Self::NonNull(of) => write!(f, "{of}!"),
        }
    }
}

#[derive(Debug)]
pub(super) struct Fragment<'a> {
    pub(super) at: At,
    pub(super) on: &'a str,
    pub(super) directives: Vec<Directive<'a>>,
    pub(super) selections: Vec<Selection<'a>>,
}

#[derive(Debug)]
pub(super) enum Selection<'a> {
    Field(Field<'a>),
    Spread {
        at: At,
        name: &'a str,
        directives: Vec<Directive<'a>>,
    },
    Inline {
        at: At,
        on: Option<&'a str>,
        directives: Vec<Directive<'a>>,
        selections: Vec<Selection<'a>>,
    },
}

#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) at: At,
    pub(super) alias: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) arguments: Vec<Argument<'a>>,
    pub(super) directives: Vec<Directive<'a>>,
    /// Empty if it has none: `{}` is not in the grammar.
    pub(super) selections: Vec<Selection<'a>>,
}

impl<'a> Field<'a> {
    /// The name of the field in the answer.
    pub(super) fn key(&self) -> &'a str {
        self.alias.unwrap_or(self.name)
    }
}

#[derive(Debug)]
pub(super) struct Argument<'a> {
    pub(super) at: At,
    pub(super) name: &'a str,
    pub(super) value: Value<'a>,
}

#[derive(Debug)]
pub(super) struct Directive<'a> {
    pub(super) at: At,
    pub(super) name: &'a str,
    pub(super) arguments: Vec<Argument<'a>>,
}

/// A value as it is written. Numbers stay text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Variable(&'a str),
    Int(&'a str),
    Float(&'a str),
    Text(Cow<'a, str>),
    Boolean(bool),
    Null,
    Enum(&'a str),
    List(Vec<Value<'a>>),
    Object(Vec<(&'a str, Value<'a>)>),
}
