use super::*;

fn parse(line: &str) -> Result<Vec<Extension<'_>>, ExtensionsError> {
    parse_extensions([line.as_bytes()])
}

fn written(extensions: &[Extension<'_>]) -> String {
    let one = |extension: &Extension<'_>| {
        let mut text = extension.name.to_owned();
        for parameter in &extension.parameters {
            text.push(';');
            text.push_str(parameter.name);
            if let Some(value) = &parameter.value {
                text.push('=');
                text.push_str(value);
            }
        }
        text
    };
    extensions.iter().map(one).collect::<Vec<_>>().join(",")
}

#[test]
fn without_a_header_there_are_no_extensions() {
    assert_eq!(parse_extensions([]), Ok(Vec::new()));
}

#[test]
fn section_9_1_examples_are_parsed() {
    for (line, expected) in [
        ("foo", "foo"),
        ("bar; baz=2", "bar;baz=2"),
        ("deflate-stream", "deflate-stream"),
        (
            "mux; max-channels=4; flow-control, deflate-stream",
            "mux;max-channels=4;flow-control,deflate-stream",
        ),
        ("private-extension", "private-extension"),
    ] {
        assert_eq!(written(&parse(line).unwrap()), expected);
    }
}

#[test]
fn several_header_lines_are_one_list() {
    let lines: [&[u8]; 3] = [b"foo", b"bar; baz=2", b""];
    assert_eq!(written(&parse_extensions(lines).unwrap()), "foo,bar;baz=2");
}

#[test]
fn space_around_every_separator_is_allowed() {
    let line = " \tfoo ;\ta = 1 ; b\t, bar ";
    assert_eq!(written(&parse(line).unwrap()), "foo;a=1;b,bar");
}

#[test]
fn empty_list_elements_are_ignored() {
    assert_eq!(written(&parse(", ,foo,, bar,").unwrap()), "foo,bar");
    assert_eq!(parse(""), Err(ExtensionsError::Empty));
    assert_eq!(parse(" , ,"), Err(ExtensionsError::Empty));
}

#[test]
fn a_quoted_value_is_unescaped() {
    let line = r#"foo; bits="12"; name="a\b""#;
    assert_eq!(written(&parse(line).unwrap()), "foo;bits=12;name=ab");
}

#[test]
fn a_quoted_value_must_be_a_token_after_unescaping() {
    for (line, at) in [
        (r#"foo; a="""#, 8),
        (r#"foo; a="1 2""#, 9),
        (r#"foo; a="1,2""#, 9),
        (r#"foo; a="\"""#, 8),
        ("foo; a=\"\u{e9}\"", 8),
    ] {
        assert_eq!(
            parse(line),
            Err(ExtensionsError::QuotedValueNotAToken { at }),
            "{line}"
        );
    }
}

#[test]
fn an_open_quote_is_an_error() {
    for line in [r#"foo; a="12"#, r#"foo; a="12\"#, r#"foo; a=""#] {
        assert_eq!(parse(line), Err(ExtensionsError::QuoteNotClosed), "{line}");
    }
}

#[test]
fn the_error_for_a_missing_token_names_its_position() {
    for (line, at) in [
        (";a", 0),
        ("foo;", 4),
        ("foo; ;a", 5),
        ("foo; =1", 5),
        ("foo; a=", 7),
        ("foo; a=;b", 7),
    ] {
        assert_eq!(
            parse(line),
            Err(ExtensionsError::TokenExpected { at }),
            "{line}"
        );
    }
}

#[test]
fn a_missing_separator_is_an_error() {
    for (line, at) in [
        ("foo bar", 4),
        ("foo=1", 3),
        ("foo; a=1 2", 9),
        ("foo/1", 3),
    ] {
        assert_eq!(
            parse(line),
            Err(ExtensionsError::SeparatorExpected { at }),
            "{line}"
        );
    }
}

#[test]
fn bytes_outside_ascii_and_controls_are_not_allowed_in_tokens() {
    for line in ["\u{e9}", "\u{1}", "\n", "foo\r\n bar"] {
        assert!(parse(line).is_err(), "{line:?}");
    }
}

#[test]
fn lists_are_limited() {
    let many = |count: usize, separator: &str| vec!["x"; count].join(separator);
    assert!(parse(&many(MAX_EXTENSIONS, ",")).is_ok());
    let over = many(MAX_EXTENSIONS + 1, ",");
    assert_eq!(parse(&over), Err(ExtensionsError::TooManyExtensions));

    assert!(parse(&many(MAX_PARAMETERS + 1, ";")).is_ok());
    let over = many(MAX_PARAMETERS + 2, ";");
    assert_eq!(parse(&over), Err(ExtensionsError::TooManyParameters));
}

#[test]
fn every_error_names_its_header() {
    for line in ["", ";", "a b", "a;b=\"\"", "a;b=\""] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.starts_with("Sec-WebSocket-Extensions: "), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_input_causes_a_panic(bytes in proptest::collection::vec(0u8..=255, 0..200)) {
        let _ = parse_extensions([bytes.as_slice()]);
    }

    #[test]
    fn a_parsed_list_round_trips(line in "[ab,;= \t\"\\\\]{0,40}") {
        if let Ok(extensions) = parse(&line) {
            let again = written(&extensions);
            proptest::prop_assert_eq!(written(&parse(&again).unwrap()), again);
        }
    }
}
