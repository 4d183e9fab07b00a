//! Documents of GraphQL that are refused, and hostile ones: each costs little, whatever it asks for.

use std::fmt::Write;

use offhook_dialects::graphql::{Once, Settings, Unexecuted};
use offhook_engine::{Position, Reply};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::graphql::{Client, INTROSPECTION, SETTINGS, posted};

fn refused(query: &str) -> String {
    Client::connected().refused(query, &Value::Null)
}

fn accepted(query: &str) {
    let body = json!({ "query": query }).to_string();
    let once = Once::post(&body, &SETTINGS);
    assert!(once.is_ok(), "{query}: {once:?}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of documents")]
fn invalid_documents_are_refused_with_what_is_wrong() {
    for (query, words) in [
        (
            "{",
            "syntax: expected a name, found the end of the document",
        ),
        ("{ a ", "syntax: expected a name"),
        ("type X { a: Int }", "defines a type"),
        (
            "{ nothing }",
            "Query has no field \"nothing\"; there are history, state",
        ),
        (
            "{ history(channel: \"a\") { nothing } }",
            "History has no field \"nothing\"",
        ),
        (
            "{ history(channel: \"a\") }",
            "history: is a History; choose fields of it in braces",
        ),
        (
            "{ history(channel: \"a\") { more { x } } }",
            "more: is a Boolean, which has no fields",
        ),
        ("{ history { more } }", "the argument channel is missing"),
        (
            "{ history(channel: 7) { more } }",
            "channel: expected String",
        ),
        (
            "{ history(channel: null) { more } }",
            "channel: expected String!, found null",
        ),
        (
            "{ history(channel: \"a\", channel: \"a\") { more } }",
            "the argument channel is given twice",
        ),
        (
            "{ history(channel: \"a\", nothing: 1) { more } }",
            "there is no argument \"nothing\"; there are channel",
        ),
        (
            "{ history(channel: \"a\", limit: 2147483648) { more } }",
            "is not a whole number of 32 bits",
        ),
        (
            "{ history(channel: \"a\", limit: 1.5) { more } }",
            "limit: expected Int",
        ),
        (
            "{ history(channel: \"a\", since: {epoch: \"1\"}) { more } }",
            "since: offset: is missing",
        ),
        (
            "{ history(channel: \"a\", since: {epoch: \"1\", offset: \"1\", x: 1}) { more } }",
            "Since has no field \"x\"",
        ),
        (
            "{ history(channel: \"a\", since: {epoch: \"1\", epoch: \"1\", offset: \"1\"}) { more } }",
            "epoch is given twice",
        ),
        (
            "{ __typename(x: 1) }",
            "there is no argument \"x\"; there are none",
        ),
        (
            "mutation { __schema { description } }",
            "Mutation has no field \"__schema\"",
        ),
        (
            "mutation { publish(channel: \"a\", data: X) { offset } }",
            "\"X\" is not JSON",
        ),
        (
            "mutation { publish(channel: \"a\", data: null) { offset } }",
            "expected JSON!, found null",
        ),
        (
            "subscription { __typename }",
            "needs a field that is not __typename",
        ),
        (
            "subscription { channel(name: \"a\") { id } filter(pattern: \"#\") { id } }",
            "exactly one field",
        ),
        (
            "subscription { channel(name: \"a\") @skip(if: true) { id } }",
            "exactly one field",
        ),
        (
            "{ a: history(channel: \"a\") { more } a: history(channel: \"b\") { more } }",
            "two different fields",
        ),
        (
            "{ a: __typename a: presence(channel: \"a\") { total } }",
            "two different fields",
        ),
        (
            "{ history(channel: \"a\") { m: more } history(channel: \"a\") { m: gap } }",
            "two different fields",
        ),
        ("{ ...F }", "there is no fragment \"F\""),
        (
            "{ __typename } fragment F on Query { __typename }",
            "fragment F: it is not used",
        ),
        (
            "{ ...F } fragment F on Nothing { a }",
            "there is no object type \"Nothing\"",
        ),
        (
            "{ ...F } fragment F on JSON { a }",
            "there is no object type \"JSON\"",
        ),
        (
            "{ ...F } fragment F on Message { id }",
            "can never apply to Query",
        ),
        (
            "{ ... on Mutation { __typename } }",
            "can never apply to Query",
        ),
        ("{ ...F } fragment F on Query { ...F }", "it uses itself"),
        (
            "{ ...A } fragment A on Query { ...B } fragment B on Query { ...C } fragment C on Query { ...A }",
            "it uses itself",
        ),
        (
            "query A { __typename } query A { __typename }",
            "two operations named \"A\"",
        ),
        (
            "{ __typename } query A { __typename }",
            "must be the only one of its document",
        ),
        (
            "query($a: Int) { __typename }",
            "variable $a: it is not used",
        ),
        (
            "query($a: Nothing) { history(channel: $a) { more } }",
            "there is no type Nothing",
        ),
        (
            "query($a: Message) { history(channel: $a) { more } }",
            "there is no type Message",
        ),
        (
            "query($a: String) { history(channel: $a) { more } }",
            "it is a String, and a String! is needed",
        ),
        (
            "query($a: String!) { history(channel: $a) { more } }",
            "variable $a: is missing",
        ),
        (
            "query($a: String! = 7) { history(channel: $a) { more } }",
            "variable $a: expected String",
        ),
        (
            "query($a: [String!]! = [\"x\"]) { history(channel: $a) { more } }",
            "it is a [String!]!",
        ),
        (
            "query($a: Int, $a: Int) { history(channel: \"a\", limit: $a) { more } }",
            "is defined twice",
        ),
        (
            "{ history(channel: $a) { more } }",
            "variable $a: it is not defined",
        ),
        (
            "query($a: Boolean) { __typename @include(if: $a) }",
            "it is a Boolean, and a Boolean! is needed",
        ),
        ("{ __typename @nothing }", "there is no directive @nothing"),
        ("{ __typename @include }", "the argument if is missing"),
        (
            "{ __typename @skip(if: false) @skip(if: false) }",
            "@skip is given twice",
        ),
        (
            "{ __typename @deprecated }",
            "@deprecated cannot be given here",
        ),
        (
            "query @skip(if: true) { __typename }",
            "cannot be given to an operation",
        ),
        (
            "{ ...F } fragment F on Query @include(if: true) { __typename }",
            "cannot be given to the definition",
        ),
        (
            "query($a: Int @skip(if: true)) { history(channel: \"a\", limit: $a) { more } }",
            "cannot be given to a variable",
        ),
    ] {
        let message = refused(query);
        assert!(message.contains(words), "{query}: {message}");
    }
}

#[test]
fn an_error_says_where_it_is() {
    let mut client = Client::connected();
    client.subscribe(
        "1",
        "{\r\n  __typename\n\n  # grün\n  ü: a nothing }",
        &Value::Null,
    );
    let error = client.takes();
    assert_eq!(
        error["payload"][0]["locations"],
        json!([{"line": 5, "column": 3}])
    );
    client.subscribe("1", "{ a\n b\n c }", &Value::Null);
    let errors = client.takes();
    let lines: Vec<_> = errors["payload"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["locations"][0]["line"])
        .collect();
    assert_eq!(lines, [1, 2, 3]);
}

#[test]
fn valid_documents_of_every_kind_are_accepted() {
    for query in [
        "{ __typename }",
        "query { a: history(channel: \"a\") { more } ... { b: __typename } }",
        "query($a: String = \"x\") { history(channel: $a) { more } }",
        "query($a: Boolean = true) { __typename @include(if: $a) @skip(if: false) }",
        "query($a: Int = null) { history(channel: \"a\", limit: $a) { more } }",
        "{ history(channel: \"a\", limit: null) { more more } history(channel: \"a\", limit: null) { gap } }",
        "{ history(channel: \"\"\"\n a\n \"\"\") { messages { at { epoch } } } }",
        "{ __schema { types { name fields { args { defaultValue } } } } __type(name: \"X\") { isOneOf } }",
        "query A { ...F } query B { ...F } fragment F on Query { __typename }",
    ] {
        if query.starts_with("query A") {
            let body = json!({"query": query, "operationName": "B"}).to_string();
            assert!(Once::post(&body, &SETTINGS).is_ok(), "{query}");
        } else {
            accepted(query);
        }
    }
    accepted(INTROSPECTION);
}

#[test]
fn variables_are_coerced_to_their_types() {
    let asked = |kind: &str, value: &Value| {
        let query = match kind {
            "Int" => "query($v: Int) { history(channel: \"a\", limit: $v) { more } }".to_owned(),
            "Since" | "Since!" => {
                format!("query($v: {kind}) {{ history(channel: \"a\", since: $v) {{ more }} }}")
            }
            "JSON" => {
                "mutation($v: JSON) { publish(channel: \"a\", data: 1, tags: $v) { offset } }"
                    .to_owned()
            }
            _ => format!(
                "mutation($v: {kind}) {{ publish(channel: \"a\", data: {{v: $v}}) {{ offset }} }}"
            ),
        };
        Once::post(
            &json!({"query": query, "variables": {"v": value}}).to_string(),
            &SETTINGS,
        )
        .map(drop)
    };
    for (kind, value) in [
        ("Int", json!(7)),
        ("Int", json!(7.0)),
        ("Int", json!(null)),
        ("Since", json!({"epoch": "1", "offset": "2"})),
        ("Since", json!(null)),
        ("JSON", json!({"a": "b"})),
        ("String", json!("grün")),
        ("ID", json!("a")),
        ("ID", json!(7)),
        ("Float", json!(1)),
        ("Float", json!(1.5)),
        ("Boolean", json!(true)),
        ("[String]", json!(["a", null])),
        ("[String]", json!("a")),
        ("[[Int!]!]", json!([[1], [2, 3]])),
        ("PresenceEvent", json!("JOIN")),
    ] {
        assert_eq!(asked(kind, &value), Ok(()), "{kind} {value}");
    }
    for (kind, value) in [
        ("Int", json!("7")),
        ("Int", json!(1.5)),
        ("Int", json!(2_147_483_648_u64)),
        ("Int", json!(1e30)),
        ("Since!", json!(null)),
        ("Since", json!({"epoch": "1"})),
        ("Since", json!({"epoch": 1, "offset": "1"})),
        ("Since", json!({"epoch": "1", "offset": "1", "x": 1})),
        ("Since", json!([])),
        ("String", json!(7)),
        ("ID", json!(true)),
        ("Float", json!("1")),
        ("Boolean", json!(1)),
        ("[String!]", json!(["a", null])),
        ("[[Int!]!]", json!([null])),
        ("PresenceEvent", json!("NOTHING")),
        ("Query", json!({})),
    ] {
        assert!(
            matches!(asked(kind, &value), Err(Unexecuted::Document(_))),
            "{kind} {value}"
        );
    }
}

#[test]
fn depth_breadth_aliases_and_fields_have_limits() {
    let deep = format!(
        "{{ __schema {{ types {{ {} name {} }} }} }}",
        "ofType {".repeat(40),
        "}".repeat(40)
    );
    assert!(refused(&deep).contains("nest deeper than 20"));
    let absurd = format!(
        "{{ __schema {{ types {{ {} name {} }} }} }}",
        "ofType {".repeat(5_000),
        "}".repeat(5_000)
    );
    assert!(refused(&absurd).contains("nests deeper than 64"));
    let broad = format!("{{ __schema {{ {} }} }}", "description ".repeat(501));
    assert!(refused(&broad).contains("more than 500 fields"));
    let absurd = format!("{{ {} }}", "a ".repeat(30_000));
    assert!(refused(&absurd).contains("more than 8000 tokens"));
    assert!(refused(&" ".repeat(65_537)).contains("has 65537 bytes; the limit is 65536"));
    let aliases = (0..40).fold(String::new(), |mut text, n| {
        write!(text, "a{n}: __typename ").unwrap();
        text
    });
    assert!(refused(&format!("{{ {aliases} }}")).contains("more than 32 aliases"));
    let many = (0..17).fold(String::new(), |mut text, n| {
        write!(text, "a{n}: presence(channel: \"a\") {{ total }} ").unwrap();
        text
    });
    assert!(refused(&format!("{{ {many} }}")).contains("the limit is 16"));
    let settings = Settings {
        aliases: 1_000,
        ..SETTINGS
    };
    let long = (0..100).fold(String::new(), |mut text, n| {
        write!(text, "{}{n}: description ", "x".repeat(190)).unwrap();
        text
    });
    let body = json!({"query": format!("{{ __schema {{ {long} }} }}")}).to_string();
    let Err(Unexecuted::Document(answer)) = Once::post(&body, &settings) else {
        panic!("its names are too long")
    };
    assert!(answer.contains("more than 16384 bytes"), "{answer}");
}

/// Each fragment uses the next twice, so that the answer would have 2^100 fields.
#[test]
fn fragments_that_multiply_are_refused_before_they_do() {
    let mut query = String::from("{ __schema { types { ...F0 } } }");
    for n in 0..100 {
        let next = n + 1;
        write!(
            query,
            " fragment F{n} on __Type {{ a: ofType {{ ...F{next} }} b: ofType {{ ...F{next} }} }}"
        )
        .unwrap();
    }
    query.push_str(" fragment F100 on __Type { name }");
    let settings = Settings {
        aliases: 1_000,
        ..SETTINGS
    };
    let Err(Unexecuted::Document(answer)) =
        Once::post(&json!({ "query": query }).to_string(), &settings)
    else {
        panic!("it is refused")
    };
    assert!(
        answer.contains("nest deeper than 20") || answer.contains("more than 500 fields"),
        "{answer}"
    );
    // Without fields in between, each is looked at once.
    let mut query = String::from("{ ...F0 }");
    for n in 0..100 {
        let next = n + 1;
        write!(query, " fragment F{n} on Query {{ ...F{next} ...F{next} }}").unwrap();
    }
    query.push_str(" fragment F100 on Query { __typename }");
    accepted(&query);
}

/// Looking at a fragment again costs time, even where it adds no field.
#[test]
fn every_use_of_a_fragment_counts_towards_a_limit() {
    let settings = Settings {
        fields: 50,
        ..SETTINGS
    };
    // One field, this many spreads, and the field of the fragment, which is looked at once.
    let ask = |spreads: usize| {
        let spreads = "...C ".repeat(spreads);
        let query = format!("{{ __typename {spreads}}} fragment C on Query {{ __typename }}");
        Once::post(&json!({ "query": query }).to_string(), &settings)
    };
    assert!(ask(398).is_ok(), "400 in all");
    let Err(Unexecuted::Document(answer)) = ask(399) else {
        panic!("401 are refused")
    };
    let words = "more than 400 fields and fragments to look at";
    assert!(answer.contains(words), "{answer}");
    // Inline fragments count as well.
    let query = format!("{{ __typename {}}}", "... { __typename } ".repeat(200));
    let once = Once::post(&json!({ "query": query }).to_string(), &settings);
    assert!(matches!(once, Err(Unexecuted::Document(_))), "{once:?}");
}

/// Thousands of spreads, in each of hundreds of selections: 800,000 in all, for 236 fields.
#[test]
fn spreads_that_add_no_field_are_not_looked_at_without_end() {
    let mut query = String::from("{ __schema { types { ");
    for _ in 0..12 {
        query.push_str("ofType { ...B interfaces { ...B } ");
    }
    query.push_str(&"} ".repeat(12));
    write!(
        query,
        "}} }} }} fragment B on __Type {{ {}}} fragment C on __Type {{ name }}",
        "...C ".repeat(3_400)
    )
    .unwrap();
    let refusal = refused(&query);
    let words = "more than 4000 fields and fragments to look at";
    assert!(refusal.contains(words), "{refusal}");
}

#[test]
fn a_cycle_of_fragments_through_fields_is_refused() {
    let query = "{ __schema { types { ...A } } } fragment A on __Type { ofType { ...B } } fragment B on __Type { ofType { ...A } }";
    assert!(refused(query).contains("it uses itself"));
}

#[test]
fn introspection_that_would_have_no_end_is_cut_off() {
    let wide = (0..16).fold(String::new(), |mut text, n| {
        write!(text, "a{n}: __schema {{ types {{ name description fields {{ name description args {{ name description }} }} }} }} ").unwrap();
        text
    });
    // The results of a batch share the limit of one answer.
    let mut batch = vec![json!({"query": format!("{{ {wide} }}")})];
    batch.resize(16, json!({"query": "{ __typename }"}));
    let answers = posted(&Value::from(batch), vec![Reply::Pong; 16]);
    assert!(answers.to_string().len() < 100_000);
    assert_eq!(answers[0]["errors"][0]["extensions"]["code"], "too_large");
    assert_eq!(answers[0]["data"]["a15"], Value::Null);
    assert!(answers[0]["data"]["a0"].is_object());
    assert_eq!(answers[15]["data"]["__typename"], "Query");

    let cycles = 5;
    let deep = format!(
        "{{ __schema {{ types {{ {} name {} }} }} }}",
        "fields { type { ofType { ".repeat(cycles),
        "} } }".repeat(cycles)
    );
    let result = Client::connected().asks(&deep);
    assert!(result.to_string().len() < 1_100_000);
}

/// Otherwise a publication of 60 KB would be a message of 2 MB, for each of 128 subscriptions.
#[test]
fn a_subscription_chooses_each_field_once() {
    for (query, name) in [
        (
            "subscription { channel(name: \"a\") { data again: data } }",
            "data",
        ),
        (
            "subscription { filter(pattern: \"#\") { ...A ...B } } fragment A on Message { a: base64 } fragment B on Message { b: base64 }",
            "base64",
        ),
        (
            "subscription { presence(channel: \"a\") { members { one: info two: info } } }",
            "info",
        ),
        (
            "subscription { presence(channel: \"a\") { one: members { user } two: members { user } } }",
            "members",
        ),
    ] {
        let refusal = refused(query);
        let words = format!("a subscription chooses each field once; {name} is chosen as");
        assert!(refusal.contains(&words), "{query}: {refusal}");
    }
    let mut client = Client::connected();
    let query = "subscription { channel(name: \"a\") { data ...A no: data @skip(if: true) at { offset } offset } } fragment A on Message { data }";
    client.subscribe("s", query, &Value::Null);
    assert_eq!(client.asked.len(), 1, "{:?}", client.heard);
}

#[test]
fn a_variable_cannot_be_multiplied() {
    let many = "$d, ".repeat(2_000);
    let query =
        format!("mutation($d: JSON!) {{ publish(channel: \"a\", data: [{many}]) {{ offset }} }}");
    let message = Client::connected().refused(&query, &json!({"d": "x".repeat(50_000)}));
    assert!(message.contains("too large together"), "{message}");
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    let query = "mutation($d: JSON!) { publish(channel: \"a\", data: [[[[[[$d]]]]]]) { offset } }";
    let variables: Value = serde_json::from_str(&format!("{{\"d\":{deep}}}")).unwrap();
    let message = Client::connected().refused(query, &variables);
    assert!(message.contains("nests deeper than 64"), "{message}");
}

#[test]
fn many_arguments_that_are_wrong_cost_no_more_than_their_number() {
    let arguments = (0..2_000).fold(String::new(), |mut text, n| {
        write!(text, "a{n}: 1, ").unwrap();
        text
    });
    let fragment = format!("fragment F on Query {{ presence({arguments}) {{ total }} }}");
    let query = format!("{{ {} }} {fragment}", "...F ".repeat(400));
    let mut client = Client::connected();
    client.subscribe("x", &query, &Value::Null);
    assert_eq!(client.takes()["payload"].as_array().unwrap().len(), 16);
}

#[test]
fn thousands_of_operations_at_once_are_bounded_and_all_answered() {
    let mut client = Client::connected();
    let query = "mutation { publish(channel: \"a\", data: 1) { offset } }";
    for n in 0..2_000 {
        client.subscribe(&n.to_string(), query, &Value::Null);
    }
    assert_eq!(client.asked.len(), 256);
    let busy = client
        .heard
        .drain(..)
        .filter(|one| one["type"] == "error" && one["payload"][0]["extensions"]["code"] == "busy");
    assert_eq!(busy.count(), 2_000 - 256);
    for offset in 0..256 {
        let position = Position::new(1, offset);
        client.reply(Reply::Published {
            position,
            duplicate: false,
        });
    }
    assert_eq!(client.heard.len(), 512);
    assert!(client.closed.is_none());
    // What is cancelled makes room at once, and its answer is not taken for another's.
    client.heard.clear();
    for _ in 0..1_000 {
        client.subscribe("same", query, &Value::Null);
        client.send(&json!({"type": "complete", "id": "same"}));
    }
    assert!(client.heard.is_empty() && client.closed.is_none());
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("(".to_owned()),
        Just(")".to_owned()),
        Just("...".to_owned()),
        Just("...F ".to_owned()),
        Just("fragment F on Query ".to_owned()),
        Just("query Q($v: Since = null) ".to_owned()),
        Just("subscription ".to_owned()),
        Just("channel(name: \"chat\", since: $v) ".to_owned()),
        Just("history(channel: \"chat\") { messages { data } } ".to_owned()),
        Just("__schema { types { name } } ".to_owned()),
        Just("@skip(if: true) ".to_owned()),
        Just("a: ".to_owned()),
        Just("\"\"\"".to_owned()),
        Just("\\".to_owned()),
        "[ -~]{0,6}",
        "\\PC{0,3}",
    ]
}

proptest! {
    /// Whatever is sent, each operation is answered or begun, and the connection goes on.
    #[test]
    fn any_document_is_answered(parts in prop::collection::vec(part(), 0..24), variables in "\\PC{0,20}") {
        let mut client = Client::connected();
        let query = parts.concat();
        client.subscribe("p", &query, &json!({"v": variables}));
        while !client.asked.is_empty() {
            client.reply(Reply::Pong);
        }
        prop_assert!(client.closed.is_none());
        prop_assert!(client.heard.iter().all(|message| message["id"] == "p"));
        client.heard.clear();
        client.say(&query);
        prop_assert!(client.heard.is_empty());
    }

    /// A message that is none closes the connection, and nothing follows.
    #[test]
    fn any_message_is_handled(text in "\\PC{0,60}", rest in "\\PC{0,60}") {
        for text in [text.clone(), format!("{{\"type\":\"{text}\",\"id\":\"{rest}\"}}"), format!("{{\"type\":\"subscribe\",\"id\":\"1\",\"payload\":{{\"query\":\"{rest}\"}}}}")] {
            let mut client = Client::connected();
            client.say(&text);
            prop_assert!(client.closed.is_some() || client.heard.len() <= 1);
        }
    }
}
