//! The head of a request, in the form that handlers expect, which is that of HTTP/1.1.

use hyper::{
    HeaderMap, Method, Request, Uri, Version,
    header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue},
    http::request::Parts,
};
use offhook_http3::qpack::Field;

use crate::http2::{join_cookies, name_host};

/// RFC 9114 §4.2: fields about a connection make a message malformed.
const OF_CONNECTIONS: [&[u8]; 5] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
];

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    /// Its target contains scheme and authority.
    pub(super) parts: Parts,
    /// The protocol that an extended CONNECT asks for (RFC 9220).
    pub(super) protocol: Option<String>,
    /// The announced length of the body.
    pub(super) length: Option<u64>,
}

/// The fields that begin with a colon.
#[derive(Debug, Default)]
struct Pseudo {
    method: Option<Vec<u8>>,
    scheme: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    protocol: Option<Vec<u8>>,
}

impl Pseudo {
    fn set(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), &'static str> {
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            b":protocol" => &mut self.protocol,
            _ => return Err("an unknown pseudo-header"),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err("a pseudo-header is given twice"),
        }
    }
}

/// Converts the fields of a request. The error says why the message is malformed (RFC 9114 §4.1.2).
pub(super) fn head(fields: Vec<Field>) -> Result<Head, &'static str> {
    let (mut pseudo, mut headers) = (Pseudo::default(), HeaderMap::new());
    for Field { name, value } in fields {
        if name.first() == Some(&b':') {
            // §4.3: before all other fields.
            if !headers.is_empty() {
                return Err("a pseudo-header follows other fields");
            }
            pseudo.set(&name, value)?;
            continue;
        }
        if OF_CONNECTIONS.contains(&name.as_slice()) || name == b"te" && value != b"trailers" {
            return Err("a field about the connection");
        }
        // §4.2: names are in lower case.
        let name = HeaderName::from_lowercase(&name).map_err(|_| "a name is not valid")?;
        let value = HeaderValue::from_bytes(&value).map_err(|_| "a value is not valid")?;
        headers.append(name, value);
    }
    let method = pseudo.method.as_deref().ok_or(":method is missing")?;
    let method = Method::from_bytes(method).map_err(|_| ":method is not valid")?;
    let protocol = pseudo
        .protocol
        .map(|name| String::from_utf8(name).map_err(|_| ":protocol is not valid"));
    let protocol = protocol.transpose()?;
    if protocol.is_some() && method != Method::CONNECT {
        return Err(":protocol belongs to CONNECT");
    }
    // §4.3.1: a request without `:authority` names its host in a field.
    let host = || headers.get(HOST).map(|host| host.as_bytes().to_vec());
    let authority = pseudo
        .authority
        .or_else(host)
        .ok_or(":authority is missing")?;
    let mut uri = Uri::builder().authority(&*authority);
    // §4.4: a CONNECT without a protocol has neither scheme nor path.
    if method != Method::CONNECT || protocol.is_some() {
        let scheme = pseudo.scheme.as_deref().ok_or(":scheme is missing")?;
        let path = pseudo.path.as_deref().ok_or(":path is missing")?;
        uri = uri.scheme(scheme).path_and_query(path);
    }
    let uri = uri.build().map_err(|_| "the target is not valid")?;
    name_host(&uri, &mut headers)?;
    join_cookies(&mut headers);
    let length = headers.get(CONTENT_LENGTH).map(|length| {
        let length = length.to_str().ok().and_then(|length| length.parse().ok());
        length.ok_or("content-length is not a number")
    });
    let length = length.transpose()?;
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.headers) = (method, uri, headers);
    parts.version = Version::HTTP_3;
    Ok(Head {
        parts,
        protocol,
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<Head, &'static str> {
        let field = |(name, value): &(&str, &str)| Field {
            name: (*name).into(),
            value: (*value).into(),
        };
        head(fields.iter().map(field).collect())
    }

    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.example:8443"),
        (":path", "/sse?channel=a"),
    ];

    #[test]
    fn a_request_becomes_one_of_http_1_with_its_host_and_one_field_of_cookies() {
        let fields = [&GET[..], &[("cookie", "a=1"), ("cookie", "b=2")]].concat();
        let head = read(&fields).unwrap();
        assert_eq!(head.parts.uri, "https://a.example:8443/sse?channel=a");
        assert_eq!(head.parts.headers["host"], "a.example:8443");
        assert_eq!(head.parts.headers["cookie"], "a=1; b=2");
    }

    #[test]
    fn malformed_requests_are_refused() {
        let with = |extra: (&'static str, &'static str)| [&GET[..], &[extra]].concat();
        for (wrong, fields) in [
            ("connection", with(("connection", "close"))),
            ("te", with(("te", "gzip"))),
            ("upper case", with(("Accept", "*/*"))),
            ("value", with(("accept", "a\nb"))),
            ("unknown", with((":other", "1"))),
            ("twice", with((":path", "/"))),
            ("protocol", with((":protocol", "websocket"))),
            ("host", with(("host", "b.example"))),
            ("length", with(("content-length", "-1"))),
            ("after", [&[("accept", "*/*")][..], &GET[..]].concat()),
            ("no path", GET[..3].to_vec()),
            ("no scheme", [&GET[..1], &GET[2..]].concat()),
            ("no authority", [&GET[..2], &GET[3..]].concat()),
        ] {
            assert!(read(&fields).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_extended_connect_names_its_protocol() {
        let fields = [
            &[(":method", "CONNECT"), (":protocol", "webtransport")][..],
            &GET[1..],
        ]
        .concat();
        assert_eq!(
            read(&fields).unwrap().protocol.as_deref(),
            Some("webtransport")
        );
    }
}
