//! The schema: what clients can ask for, and what introspection tells of it (GraphQL §4).
//!
//! Types are constants that refer to each other. `docs/dialects/graphql.md` has the same schema in
//! GraphQL's own language; a test compares the two.

use std::fmt;

/// A type with a name.
pub(super) struct Type {
    pub(super) kind: TypeKind,
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Of an object.
    pub(super) fields: &'static [Field],
    /// The fields of an input object.
    pub(super) inputs: &'static [Input],
    /// Of an enum.
    pub(super) values: &'static [EnumValue],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeKind {
    Scalar,
    Object,
    Enum,
    InputObject,
}

/// A field of an object.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) inputs: &'static [Input],
    pub(super) kind: &'static Ref,
}

/// An argument, or a field of an input object.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) kind: &'static Ref,
    /// In GraphQL's own language.
    pub(super) default: Option<&'static str>,
}

#[derive(Debug)]
pub(super) struct EnumValue {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
}

#[derive(Debug)]
pub(super) struct Directive {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) locations: &'static [&'static str],
    pub(super) inputs: &'static [Input],
}

/// A use of a type.
#[derive(Debug)]
pub(super) enum Ref {
    Named(&'static Type),
    List(&'static Ref),
    NonNull(&'static Ref),
}

impl Ref {
    /// The type in all the lists.
    pub(super) fn named(&self) -> &'static Type {
        match self {
            Self::Named(named) => named,
            Self::List(of) | Self::NonNull(of) => of.named(),
        }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(named) => f.write_str(named.name),
            Self::List(of) => write!(f, "[{of}]"),
            Self::NonNull(of) => write!(f, "{of}!"),
        }
    }
}

/// Without the fields: types refer to themselves.
impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Type {
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Whether values of this type can be given by clients.
    pub(super) const fn is_input(&self) -> bool {
        !matches!(self.kind, TypeKind::Object)
    }
}

/// The type with this name.
pub(super) fn find(name: &str) -> Option<&'static Type> {
    TYPES.iter().copied().find(|known| known.name == name)
}

macro_rules! inputs {
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
    ($($name:ident: $kind:ident $(= $default:literal)?, $about:literal;)*) => {
        &[$(Input {
            name: stringify!($name),
            about: $about,
            kind: &$kind,
            default: inputs!(@default $($default)?),
        }),*]
    };
}

macro_rules! fields {
    ($($name:ident $([$($inputs:tt)*])?: $kind:ident, $about:literal;)*) => {
        &[$(Field {
            name: stringify!($name),
            about: $about,
            inputs: inputs![$($($inputs)*)?],
            kind: &$kind,
        }),*]
    };
}

macro_rules! values {
    ($($name:ident, $about:literal;)*) => {
        &[$(EnumValue { name: stringify!($name), about: $about }),*]
    };
}

macro_rules! types {
    ($($type:ident = $kind:ident $name:literal, $about:literal { $($field:ident: $list:expr)? };)*) => {$(
        pub(super) static $type: Type = Type {
            $($field: $list,)?
            ..empty(TypeKind::$kind, $name, $about)
        };
    )*};
}

const fn empty(kind: TypeKind, name: &'static str, about: &'static str) -> Type {
    Type {
        kind,
        name,
        about,
        fields: &[],
        inputs: &[],
        values: &[],
    }
}

macro_rules! uses {
    ($($use:ident = $kind:ident $of:ident;)*) => {
        $(pub(super) static $use: Ref = Ref::$kind(&$of);)*
    };
}

mod meta;
mod own;

use meta::*;
pub(super) use meta::{DIRECTIVES, META, TYPE_NAME};
use own::*;

/// What the schema is for.
pub(super) const ABOUT: &str = "The channels of an Offhook server.";

/// All types, the roots first.
pub(super) static TYPES: &[&Type] = &[
    &QUERY,
    &MUTATION,
    &SUBSCRIPTION,
    &MESSAGE,
    &PLACE,
    &HISTORY,
    &STATE,
    &PRESENCE,
    &PRESENCE_CHANGE,
    &PRESENCE_EVENT,
    &MEMBER,
    &CHANNELS,
    &CHANNEL,
    &PUBLISHED,
    &SINCE,
    &JSON,
    &STRING,
    &BOOLEAN,
    &INT,
    &FLOAT,
    &ID,
    &SCHEMA,
    &TYPE,
    &FIELD,
    &INPUT_VALUE,
    &ENUM_VALUE,
    &DIRECTIVE,
    &TYPE_KIND,
    &DIRECTIVE_LOCATION,
];

/// The types of the three kinds of operations.
pub(super) const fn root(kind: super::syntax::Kind) -> &'static Type {
    match kind {
        super::syntax::Kind::Query => &QUERY,
        super::syntax::Kind::Mutation => &MUTATION,
        super::syntax::Kind::Subscription => &SUBSCRIPTION,
    }
}

#[cfg(test)]
mod tests;
