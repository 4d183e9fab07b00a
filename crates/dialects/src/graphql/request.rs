//! A request: the payload of `subscribe`, and the body of a `POST`.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What a client asks to be executed.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The document.
    pub(super) query: Cow<'a, str>,
    /// The operation to execute, if the document has several.
    pub(super) operation: Option<Cow<'a, str>>,
    pub(super) variables: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    query: Option<&'a RawValue>,
    #[serde(borrow, rename = "operationName")]
    operation: Option<&'a RawValue>,
    #[serde(borrow)]
    variables: Option<&'a RawValue>,
    #[serde(borrow)]
    extensions: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl<'a> Request<'a> {
    /// Reads a request from JSON. The error says what is wrong with it.
    pub(super) fn read(json: &'a str) -> Result<Self, &'static str> {
        let is_object = json.trim_start().starts_with('{');
        // Serde would also accept an array of the fields' values.
        let fields: Fields<'_> = match is_object {
            true => serde_json::from_str(json).map_err(|_| "the request is not JSON")?,
            false => return Err("the request is not a JSON object"),
        };
        let text = |raw: &'a RawValue| serde_json::from_str::<Cow<'_, str>>(raw.get()).ok();
        let query = fields.query.ok_or("query: is missing")?;
        let operation = match fields.operation {
            Some(raw) => Some(text(raw).ok_or("operationName: expected text or null")?),
            None => None,
        };
        if let Some(raw) = fields.extensions
            && !raw.get().starts_with('{')
        {
            return Err("extensions: expected an object or null");
        }
        Ok(Self {
            query: text(query).ok_or("query: expected text")?,
            operation,
            variables: variables(fields.variables)?,
        })
    }

    /// Reads the parameters of a URL.
    pub(super) fn of_url(
        query: &'a str,
        operation: Option<&'a str>,
        variables: Option<&'a str>,
        extensions: Option<&'a str>,
    ) -> Result<Self, &'static str> {
        let raw = |json: Option<&'a str>, wrong| match json {
            None | Some("" | "null") => Ok(None),
            Some(json) => serde_json::from_str::<&RawValue>(json)
                .map(Some)
                .map_err(|_| wrong),
        };
        let wrong = "extensions: expected a JSON object";
        if raw(extensions, wrong)?.is_some_and(|raw| !raw.get().starts_with('{')) {
            return Err(wrong);
        }
        let given = raw(variables, "variables: expected a JSON object")?;
        Ok(Self {
            query: query.into(),
            operation: operation.filter(|name| !name.is_empty()).map(Cow::Borrowed),
            variables: self::variables(given)?,
        })
    }
}

fn variables(raw: Option<&RawValue>) -> Result<BTreeMap<Cow<'_, str>, &RawValue>, &'static str> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_str(raw.get()).map_err(|_| "variables: expected an object or null")
}
