//! The answers of introspection (GraphQL §4.2).

use super::{
    out::{Out, Written},
    plan::Plan,
    schema::{
        self, ABOUT, DIRECTIVES, Directive, EnumValue, Field, Input, Ref, TYPES, Type, TypeKind,
    },
    syntax::Kind,
};

/// An object that introspection tells of.
#[derive(Clone, Copy, Debug)]
enum Node {
    Schema,
    Type(&'static Type),
    /// A use of a type.
    Use(&'static Ref),
    Field(&'static Field),
    Input(&'static Input),
    Value(&'static EnumValue),
    Directive(&'static Directive),
}

/// The value of a field of one.
enum Told {
    Null,
    Text(&'static str),
    Boolean(bool),
    Texts(&'static [&'static str]),
    One(Node),
    Many(Vec<Node>),
}

/// Writes `__schema` or `__type`.
pub(super) fn write(out: &mut Out, plan: &Plan) -> Written {
    if plan.field.name == "__schema" {
        return node(out, plan, Node::Schema);
    }
    match plan.text("name").and_then(schema::find) {
        Some(found) => node(out, plan, Node::Type(found)),
        None => out.raw("null"),
    }
}

fn node(out: &mut Out, plan: &Plan, of: Node) -> Written {
    out.object(plan, |out, part| match told(of, part.field.name) {
        Told::Null => out.raw("null"),
        Told::Text(text) => out.text(text),
        Told::Boolean(value) => out.boolean(value),
        Told::Texts(texts) => out.list(texts, |out, text| out.text(text)),
        Told::One(one) => node(out, part, one),
        Told::Many(many) => out.list(many, |out, one| node(out, part, one)),
    })
}

fn told(node: Node, field: &str) -> Told {
    match node {
        Node::Schema => of_schema(field),
        Node::Type(named) => of_type(named, field),
        Node::Use(Ref::Named(named)) => of_type(named, field),
        Node::Use(Ref::List(of)) => of_wrapper("LIST", of, field),
        Node::Use(Ref::NonNull(of)) => of_wrapper("NON_NULL", of, field),
        Node::Field(of) => match field {
            "name" => Told::Text(of.name),
            "description" => Told::Text(of.about),
            "args" => many(of.inputs, Node::Input),
            "type" => Told::One(Node::Use(of.kind)),
            _ => current(field),
        },
        Node::Input(of) => match field {
            "name" => Told::Text(of.name),
            "description" => Told::Text(of.about),
            "type" => Told::One(Node::Use(of.kind)),
            "defaultValue" => of.default.map_or(Told::Null, Told::Text),
            _ => current(field),
        },
        Node::Value(of) => match field {
            "name" => Told::Text(of.name),
            "description" => Told::Text(of.about),
            _ => current(field),
        },
        Node::Directive(of) => match field {
            "name" => Told::Text(of.name),
            "description" => Told::Text(of.about),
            "locations" => Told::Texts(of.locations),
            "args" => many(of.inputs, Node::Input),
            // `isRepeatable`
            _ => Told::Boolean(false),
        },
    }
}

/// Nothing in the schema is deprecated.
fn current(field: &str) -> Told {
    match field {
        "isDeprecated" => Told::Boolean(false),
        // `deprecationReason`
        _ => Told::Null,
    }
}

fn many<T>(all: &'static [T], node: impl Fn(&'static T) -> Node) -> Told {
    Told::Many(all.iter().map(node).collect())
}

fn of_schema(field: &str) -> Told {
    let root = |kind| Told::One(Node::Type(schema::root(kind)));
    match field {
        "description" => Told::Text(ABOUT),
        "types" => many(TYPES, |named| Node::Type(named)),
        "queryType" => root(Kind::Query),
        "mutationType" => root(Kind::Mutation),
        "subscriptionType" => root(Kind::Subscription),
        // `directives`
        _ => many(DIRECTIVES, Node::Directive),
    }
}

fn of_type(named: &'static Type, field: &str) -> Told {
    match (field, named.kind) {
        ("kind", TypeKind::Scalar) => Told::Text("SCALAR"),
        ("kind", TypeKind::Object) => Told::Text("OBJECT"),
        ("kind", TypeKind::Enum) => Told::Text("ENUM"),
        ("kind", TypeKind::InputObject) => Told::Text("INPUT_OBJECT"),
        ("name", _) => Told::Text(named.name),
        ("description", _) => Told::Text(named.about),
        ("fields", TypeKind::Object) => many(named.fields, Node::Field),
        ("interfaces", TypeKind::Object) => Told::Many(Vec::new()),
        ("enumValues", TypeKind::Enum) => many(named.values, Node::Value),
        ("inputFields", TypeKind::InputObject) => many(named.inputs, Node::Input),
        ("isOneOf", TypeKind::InputObject) => Told::Boolean(false),
        _ => Told::Null,
    }
}

/// A list, or a use that is never null.
fn of_wrapper(kind: &'static str, of: &'static Ref, field: &str) -> Told {
    match field {
        "kind" => Told::Text(kind),
        "ofType" => Told::One(Node::Use(of)),
        _ => Told::Null,
    }
}
