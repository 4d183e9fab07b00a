//! Reading names and validity from an X.509 certificate. It makes no trust decisions; rustls does.

use std::net::IpAddr;

/// The fields of a certificate that are shown, or that say whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The subject's common name, or its organisation.
    pub subject: String,
    /// The issuer's common name, or its organisation.
    pub issuer: String,
    /// The common names of the subject, if they are valid text. Usually one.
    pub common_name: Vec<String>,
    /// The host names and addresses for which it is valid.
    pub names: Vec<String>,
    /// The host names among them.
    pub dns_names: Vec<String>,
    /// The addresses of electronic mail for which it is valid.
    pub emails: Vec<String>,
    /// The URIs for which it is valid.
    pub uris: Vec<String>,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// Whether subject and issuer are the same.
    pub is_self_signed: bool,
}

/// How many names of a certificate are kept. 100: some certificates list thousands.
const MOST_NAMES: usize = 100;

impl Certificate {
    /// Parses DER; `None` if it is not a certificate.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let (certificate, _) = Value::of(der, SEQUENCE)?;
        let (mut fields, _) = Value::of(certificate, SEQUENCE)?;
        if let Some((_, rest)) = Value::of(fields, VERSION) {
            fields = rest;
        }
        let (_, fields) = Value::of(fields, INTEGER)?;
        let (_, fields) = Value::of(fields, SEQUENCE)?;
        let (issuer, fields) = Value::of(fields, SEQUENCE)?;
        let (validity, fields) = Value::of(fields, SEQUENCE)?;
        let (subject, fields) = Value::of(fields, SEQUENCE)?;
        let (_, fields) = Value::of(fields, SEQUENCE)?;
        let (from, until) = Value::next(validity)?;
        let (until, _) = Value::next(until)?;
        let mut read = Self {
            subject: name(subject),
            issuer: name(issuer),
            common_name: common_names(subject),
            not_before: time(&from)?,
            not_after: time(&until)?,
            is_self_signed: subject == issuer,
            ..Self::default()
        };
        read.take_names(alternative_names(fields));
        Some(read)
    }

    /// Takes the names of a certificate, RFC 5280 §4.2.1.6.
    fn take_names(&mut self, mut values: &[u8]) {
        let text = |content| String::from_utf8_lossy(content).into_owned();
        let mut taken = 0;
        while let Some((value, rest)) = Value::next(values)
            && taken < MOST_NAMES
        {
            values = rest;
            taken += 1;
            // A name that is not text stands for nobody.
            let strict = std::str::from_utf8(value.content).ok().map(str::to_owned);
            match value.tag {
                DNS_NAME => {
                    self.names.push(text(value.content));
                    self.dns_names.extend(strict);
                }
                EMAIL => self.emails.extend(strict),
                URI => self.uris.extend(strict),
                IP_ADDRESS => {
                    let address = address(value.content);
                    let address = address.map(|address| address.to_string());
                    self.names.extend(address);
                }
                _ => {}
            }
        }
    }

    /// Whether it is valid at this time, in seconds since 1970.
    #[must_use]
    pub fn is_valid_at(&self, time: i64) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }
}

/// A value in DER: its tag and its content.
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const LONG_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const UTF8_TEXT: u8 = 0x0c;
const PRINTABLE_TEXT: u8 = 0x13;
const IA5_TEXT: u8 = 0x16;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const IP_ADDRESS: u8 = 0x87;

impl<'a> Value<'a> {
    /// The first value of these bytes, and the bytes after it.
    fn next(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (tag, rest) = bytes.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // A certificate never needs more than four bytes of length.
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = digits
                    .iter()
                    .fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let tag = *tag;
        Some((Self { tag, content }, rest))
    }

    /// The content of the first value, if it has this tag, and the bytes after it.
    fn of(bytes: &'a [u8], tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let (value, rest) = Self::next(bytes)?;
        (value.tag == tag).then_some((value.content, rest))
    }
}

/// The object identifier of a common name.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// The common names that are text in a superset of ASCII.
fn common_names(mut sets: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((mut set, rest)) = Value::of(sets, SET) {
        sets = rest;
        while let Some((pair, others)) = Value::of(set, SEQUENCE) {
            set = others;
            let Some((COMMON_NAME, value)) = Value::of(pair, OBJECT) else {
                continue;
            };
            let Some((value, _)) = Value::next(value) else {
                continue;
            };
            if names.len() < MOST_NAMES
                && matches!(value.tag, UTF8_TEXT | PRINTABLE_TEXT | IA5_TEXT)
                && let Ok(text) = std::str::from_utf8(value.content)
            {
                names.push(text.to_owned());
            }
        }
    }
    names
}

/// The common name, otherwise the organisation, otherwise an empty string.
fn name(mut sets: &[u8]) -> String {
    const ORGANISATION: &[u8] = &[0x55, 4, 10];
    let mut organisation = String::new();
    while let Some((set, rest)) = Value::of(sets, SET) {
        sets = rest;
        let text = Value::of(set, SEQUENCE).and_then(|(pair, _)| {
            let (object, value) = Value::of(pair, OBJECT)?;
            let (value, _) = Value::next(value)?;
            Some((object, String::from_utf8_lossy(value.content).into_owned()))
        });
        match text {
            Some((COMMON_NAME, text)) => return text,
            Some((ORGANISATION, text)) => organisation = text,
            _ => {}
        }
    }
    organisation
}

/// The content of the alternative names; empty if there are none.
fn alternative_names(mut fields: &[u8]) -> &[u8] {
    const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
    let extensions = loop {
        let Some((value, rest)) = Value::next(fields) else {
            return &[];
        };
        if value.tag == EXTENSIONS {
            break value.content;
        }
        fields = rest;
    };
    let Some((mut extensions, _)) = Value::of(extensions, SEQUENCE) else {
        return &[];
    };
    while let Some((extension, rest)) = Value::of(extensions, SEQUENCE) {
        extensions = rest;
        let Some((ALTERNATIVE_NAMES, mut values)) = Value::of(extension, OBJECT) else {
            continue;
        };
        // A field before the octets may say whether the extension is critical.
        while let Some((value, rest)) = Value::next(values) {
            if value.tag == OCTETS {
                return Value::of(value.content, SEQUENCE).map_or(&[], |(names, _)| names);
            }
            values = rest;
        }
    }
    &[]
}

fn address(content: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(content).map(IpAddr::from);
    let sixteen = || <[u8; 16]>::try_from(content).map(IpAddr::from);
    four.or_else(|_| sixteen()).ok()
}

/// RFC 5280 §4.1.2.5: years before 2050 have two digits.
fn time(value: &Value<'_>) -> Option<i64> {
    let text = std::str::from_utf8(value.content).ok()?;
    let digits = text.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, rest) = match value.tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        LONG_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| number(rest.get(at..at + 2)?);
    let days = days_since_1970(year, part(0)?, part(2)?)?;
    Some(days * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?)
}

/// In the Gregorian calendar, counting days from 1 March of the year 0.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Formats a time, in seconds since 1970, as a date.
#[must_use]
pub fn date(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests;
