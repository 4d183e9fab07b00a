//! Definitions, selections and values (GraphQL §2.2 to §2.12).

use std::mem;

use super::{
    Argument, At, Definition, Directive, Document, Fault, Field, Fragment, Kind, MAX_DEFINITIONS,
    MAX_DOCUMENT, MAX_NESTING, Operation, Selection, TypeName, Value,
    lexer::{Lexer, Token},
};

type Parsed<T> = Result<T, Fault>;

struct Parser<'a> {
    lexer: Lexer<'a>,
    at: At,
    /// The next token, which begins at `at`.
    token: Token<'a>,
    /// Open braces and brackets.
    nesting: usize,
    /// How many more fields may have an alias.
    aliases_left: usize,
    aliases: usize,
}

/// Parses a document in which at most so many fields have an alias.
pub(in crate::graphql) fn parse(text: &str, aliases: usize) -> Parsed<Document<'_>> {
    if text.len() > MAX_DOCUMENT {
        let detail = format!(
            "the document has {} bytes; the limit is {MAX_DOCUMENT}; send data as variables instead of \
             writing it into the document",
            text.len()
        );
        return Err(Fault::new(0, detail));
    }
    let mut parser = Parser {
        lexer: Lexer::new(text),
        at: 0,
        token: Token::End,
        nesting: 0,
        aliases_left: aliases,
        aliases,
    };
    parser.advance()?;
    parser.document()
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Parsed<Token<'a>> {
        let (at, token) = self.lexer.next()?;
        self.at = at;
        Ok(mem::replace(&mut self.token, token))
    }

    fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        let detail = format!("syntax: expected {expected}, found {}", self.token.shown());
        Err(Fault::new(self.at, detail))
    }

    fn is_at(&self, sign: char) -> bool {
        self.token == Token::Sign(sign)
    }

    /// Takes a sign if it is next.
    fn takes(&mut self, sign: char) -> Parsed<bool> {
        let is_there = self.is_at(sign);
        if is_there {
            self.advance()?;
        }
        Ok(is_there)
    }

    fn expect(&mut self, sign: char) -> Parsed<()> {
        match self.takes(sign)? {
            true => Ok(()),
            false => self.unexpected(&format!("{sign:?}")),
        }
    }

    fn name(&mut self) -> Parsed<&'a str> {
        let Token::Name(name) = self.token else {
            return self.unexpected("a name");
        };
        self.advance()?;
        Ok(name)
    }

    /// Everything between two signs, at least one.
    fn between<T>(
        &mut self,
        (open, close): (char, char),
        mut one: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.expect(open)?;
        self.deeper()?;
        let mut all = vec![one(self)?];
        while !self.takes(close)? {
            all.push(one(self)?);
        }
        self.nesting = self.nesting.saturating_sub(1);
        Ok(all)
    }

    fn deeper(&mut self) -> Parsed<()> {
        if self.nesting >= MAX_NESTING {
            let detail = format!("the document nests deeper than {MAX_NESTING}");
            return Err(Fault::new(self.at, detail));
        }
        self.nesting = self.nesting.saturating_add(1);
        Ok(())
    }

    fn document(mut self) -> Parsed<Document<'a>> {
        let mut document = Document::default();
        if self.token == Token::End {
            return Err(Fault::new(self.at, "syntax: the document is empty"));
        }
        while self.token != Token::End {
            self.definition(&mut document)?;
            let count = document
                .operations
                .len()
                .saturating_add(document.fragments.len());
            if count > MAX_DEFINITIONS {
                let detail = format!(
                    "the document has more than {MAX_DEFINITIONS} operations and fragments"
                );
                return Err(Fault::new(self.at, detail));
            }
        }
        Ok(document)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other token is something else or unexpected"
    )]
    fn definition(&mut self, document: &mut Document<'a>) -> Parsed<()> {
        let is_described = matches!(self.token, Token::Text(_));
        if is_described {
            self.advance()?;
        }
        let at = self.at;
        let kind = match self.token {
            Token::Sign('{') if !is_described => {
                let selections = self.selections()?;
                document.operations.push(Operation {
                    at,
                    kind: Kind::Query,
                    name: None,
                    variables: Vec::new(),
                    directives: Vec::new(),
                    selections,
                });
                return Ok(());
            }
            Token::Name("query") => Kind::Query,
            Token::Name("mutation") => Kind::Mutation,
            Token::Name("subscription") => Kind::Subscription,
            Token::Name("fragment") => return self.fragment(document),
            Token::Name(
                "schema" | "scalar" | "type" | "interface" | "union" | "enum" | "input"
                | "directive" | "extend",
            ) => {
                let detail =
                    "the document defines a type; only operations and fragments can be executed";
                return Err(Fault::new(at, detail));
            }
            _ => return self.unexpected("an operation or a fragment"),
        };
        self.advance()?;
        let name = match self.token {
            Token::Name(_) => Some(self.name()?),
            _ => None,
        };
        let variables = match self.is_at('(') {
            true => self.between(('(', ')'), Self::variable)?,
            false => Vec::new(),
        };
        document.operations.push(Operation {
            at,
            kind,
            name,
            variables,
            directives: self.directives()?,
            selections: self.selections()?,
        });
        Ok(())
    }

    fn variable(&mut self) -> Parsed<Definition<'a>> {
        if matches!(self.token, Token::Text(_)) {
            self.advance()?;
        }
        let at = self.at;
        self.expect('$')?;
        let name = self.name()?;
        self.expect(':')?;
        let kind = self.type_name()?;
        let default = match self.takes('=')? {
            true => Some(self.value()?),
            false => None,
        };
        Ok(Definition {
            at,
            name,
            kind,
            default,
            directives: self.directives()?,
        })
    }

    fn type_name(&mut self) -> Parsed<TypeName<'a>> {
        let kind = if self.takes('[')? {
            self.deeper()?;
            let of = self.type_name()?;
            self.expect(']')?;
            self.nesting = self.nesting.saturating_sub(1);
            TypeName::List(Box::new(of))
        } else {
            TypeName::Named(self.name()?)
        };
        Ok(match self.takes('!')? {
            true => TypeName::NonNull(Box::new(kind)),
            false => kind,
        })
    }

    fn fragment(&mut self, document: &mut Document<'a>) -> Parsed<()> {
        let at = self.at;
        self.advance()?;
        if self.token == Token::Name("on") {
            return self.unexpected("the fragment's name");
        }
        let name = self.name()?;
        if self.token != Token::Name("on") {
            return self.unexpected("\"on\"");
        }
        self.advance()?;
        let fragment = Fragment {
            at,
            on: self.name()?,
            directives: self.directives()?,
            selections: self.selections()?,
        };
        match document.fragments.insert(name, fragment) {
            None => Ok(()),
            Some(_) => {
                let detail = format!("the document has two fragments named {name:?}");
                Err(Fault::new(at, detail))
            }
        }
    }

    fn selections(&mut self) -> Parsed<Vec<Selection<'a>>> {
        self.between(('{', '}'), Self::selection)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other token is something else or unexpected"
    )]
    fn selection(&mut self) -> Parsed<Selection<'a>> {
        let at = self.at;
        if self.token != Token::Dots {
            return self.field().map(Selection::Field);
        }
        self.advance()?;
        let on = match self.token {
            Token::Name("on") => {
                self.advance()?;
                Some(self.name()?)
            }
            Token::Name(name) => {
                self.advance()?;
                let directives = self.directives()?;
                return Ok(Selection::Spread {
                    at,
                    name,
                    directives,
                });
            }
            _ => None,
        };
        Ok(Selection::Inline {
            at,
            on,
            directives: self.directives()?,
            selections: self.selections()?,
        })
    }

    fn field(&mut self) -> Parsed<Field<'a>> {
        let at = self.at;
        let first = self.name()?;
        let (alias, name) = match self.takes(':')? {
            true => (Some(first), self.name()?),
            false => (None, first),
        };
        if alias.is_some() {
            let Some(left) = self.aliases_left.checked_sub(1) else {
                let detail = format!("the document has more than {} aliases", self.aliases);
                return Err(Fault::new(at, detail));
            };
            self.aliases_left = left;
        }
        Ok(Field {
            at,
            alias,
            name,
            arguments: self.arguments()?,
            directives: self.directives()?,
            selections: match self.is_at('{') {
                true => self.selections()?,
                false => Vec::new(),
            },
        })
    }

    fn arguments(&mut self) -> Parsed<Vec<Argument<'a>>> {
        if !self.is_at('(') {
            return Ok(Vec::new());
        }
        self.between(('(', ')'), |parser| {
            let at = parser.at;
            let name = parser.name()?;
            parser.expect(':')?;
            let value = parser.value()?;
            Ok(Argument { at, name, value })
        })
    }

    fn directives(&mut self) -> Parsed<Vec<Directive<'a>>> {
        let mut directives = Vec::new();
        while self.is_at('@') {
            let at = self.at;
            self.advance()?;
            let name = self.name()?;
            let arguments = self.arguments()?;
            directives.push(Directive {
                at,
                name,
                arguments,
            });
        }
        Ok(directives)
    }

    fn value(&mut self) -> Parsed<Value<'a>> {
        match self.token {
            Token::Sign('$') => {
                self.advance()?;
                return self.name().map(Value::Variable);
            }
            Token::Sign('[') => return self.list(),
            Token::Sign('{') => return self.object(),
            Token::Name(_) | Token::Int(_) | Token::Float(_) | Token::Text(_) => {}
            Token::Sign(_) | Token::Dots | Token::End => return self.unexpected("a value"),
        }
        Ok(match self.advance()? {
            Token::Name("true") => Value::Boolean(true),
            Token::Name("false") => Value::Boolean(false),
            Token::Name("null") => Value::Null,
            Token::Name(name) => Value::Enum(name),
            Token::Int(text) => Value::Int(text),
            Token::Float(text) => Value::Float(text),
            Token::Text(text) => Value::Text(text),
            Token::Sign(_) | Token::Dots | Token::End => Value::Null,
        })
    }

    fn list(&mut self) -> Parsed<Value<'a>> {
        self.expect('[')?;
        self.deeper()?;
        let mut items = Vec::new();
        while !self.takes(']')? {
            items.push(self.value()?);
        }
        self.nesting = self.nesting.saturating_sub(1);
        Ok(Value::List(items))
    }

    fn object(&mut self) -> Parsed<Value<'a>> {
        self.expect('{')?;
        self.deeper()?;
        let mut fields = Vec::new();
        while !self.takes('}')? {
            let name = self.name()?;
            self.expect(':')?;
            fields.push((name, self.value()?));
        }
        self.nesting = self.nesting.saturating_sub(1);
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Fault {
        parse(text, 10).map(|_| text.to_owned()).unwrap_err()
    }

    #[test]
    fn a_document_is_parsed_into_operations_and_fragments() {
        let document = parse(
            r#"
            "A description."
            query Q($a: [String!]! = ["x"], $b: Int) @d(x: 1) {
              one: history(channel: "c", since: {epoch: "1", offset: $b}) { ...F ... on History { more } }
              ... @include(if: true) { __typename }
            }
            fragment F on History { messages { data } }
            mutation { publish(data: [1, 2.5, true, null, X, {}]) { epoch } }
            "#,
            10,
        )
        .unwrap();
        let [query, mutation] = &*document.operations else {
            panic!("two operations")
        };
        assert_eq!(query.name, Some("Q"));
        assert_eq!(query.variables[0].kind.to_string(), "[String!]!");
        assert_eq!(query.directives[0].name, "d");
        let Selection::Field(one) = &query.selections[0] else {
            panic!("a field")
        };
        assert_eq!((one.key(), one.name), ("one", "history"));
        let since = Value::Object(vec![
            ("epoch", Value::Text("1".into())),
            ("offset", Value::Variable("b")),
        ]);
        assert_eq!(one.arguments[1].value, since);
        assert!(matches!(
            query.selections[1],
            Selection::Inline { on: None, .. }
        ));
        assert_eq!(document.fragments["F"].on, "History");
        assert_eq!(mutation.kind, Kind::Mutation);
    }

    #[test]
    fn what_is_no_document_is_refused_where_it_is_wrong() {
        for (text, at) in [
            ("", 0),
            ("{", 1),
            ("{}", 1),
            ("{ a(", 4),
            ("{ a() }", 4),
            ("query Q { a }}", 13),
            ("fragment on on Query { a }", 9),
            ("{ a b: }", 7),
            ("query ($a) { a }", 9),
            ("type X { a: Int }", 0),
            ("\"x\" { a }", 4),
            ("fragment F on Query { a } fragment F on Query { b }", 26),
        ] {
            assert_eq!(wrong(text).at, at, "{text}: {:?}", wrong(text));
        }
    }

    #[test]
    fn nesting_aliases_definitions_and_tokens_have_limits() {
        let deep = format!("{}a{}", "{a".repeat(10_000), "}".repeat(10_000));
        assert!(wrong(&deep).message.contains("nests deeper than 64"));
        let list = format!("{{ a(x: {}) }}", "[".repeat(5_000));
        assert!(wrong(&list).message.contains("nests deeper than 64"));
        let kind = format!("query($a: {}", "[".repeat(5_000));
        assert!(wrong(&kind).message.contains("nests deeper than 64"));
        let aliases = format!("{{ {} }}", "x: a ".repeat(11));
        assert!(wrong(&aliases).message.contains("more than 10 aliases"));
        let many = "query A { a } ".repeat(200);
        assert!(wrong(&many).message.contains("more than 128 operations"));
        let broad = format!("{{ {} }}", "a ".repeat(10_000));
        assert!(wrong(&broad).message.contains("more than 8000 tokens"));
        let long = format!("# {}\n{{ a }}", "x".repeat(65_536));
        assert!(wrong(&long).message.contains("the limit is 65536"));
        let name = "a".repeat(201);
        assert!(wrong(&name).message.contains("201 bytes"));
    }
}
