//! Which user the certificate of a client stands for. The certificate has been verified already.

use std::{fmt, str::FromStr};

use offhook_engine::Identity;

use crate::{UserGrant, certificate::Certificate, claims::MAX_USER};

/// A rule: a field of a certificate, a pattern for its value, and the user's name.
///
/// ```
/// use offhook_auth::CertificateRule;
///
/// let rule: CertificateRule = "uri spiffe://example.com/device/* device-*".parse()?;
/// assert_eq!(rule.to_string(), "uri spiffe://example.com/device/* device-*");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRule {
    field: Field,
    pattern: String,
    /// None: what the pattern's `*` matched, or the whole value if there is no `*`.
    user: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    CommonName,
    Dns,
    Email,
    Uri,
}

const FIELDS: [(&str, Field); 4] = [
    ("cn", Field::CommonName),
    ("dns", Field::Dns),
    ("email", Field::Email),
    ("uri", Field::Uri),
];

impl CertificateRule {
    /// The user that a certificate stands for by the first of these rules that matches.
    #[must_use]
    pub fn user(rules: &[Self], certificate: &Certificate) -> Option<String> {
        rules.iter().find_map(|rule| rule.matches(certificate))
    }

    /// The identity of a client with this certificate: the grants of every user, until the
    /// certificate expires.
    #[must_use]
    pub fn identity(
        rules: &[Self],
        certificate: &Certificate,
        of_users: &[UserGrant],
    ) -> Option<Identity> {
        let user = Self::user(rules, certificate)?;
        let grants = of_users.iter().map(|grant| grant.of(&user));
        let ends_s = u64::try_from(certificate.not_after).ok()?;
        Some(Identity {
            by_certificate: true,
            grants: grants.collect(),
            ends_ms: Some(ends_s.saturating_mul(1000)),
            ..Identity::user(&user)
        })
    }

    fn matches(&self, certificate: &Certificate) -> Option<String> {
        let values = match self.field {
            Field::CommonName => certificate.common_name.as_slice(),
            Field::Dns => &certificate.dns_names,
            Field::Email => &certificate.emails,
            Field::Uri => &certificate.uris,
        };
        values.iter().find_map(|value| self.named(value))
    }

    /// The user's name, if this value matches.
    fn named(&self, value: &str) -> Option<String> {
        let matched = match self.pattern.split_once('*') {
            None => (value == self.pattern).then_some(value),
            Some((start, end)) => value.strip_prefix(start)?.strip_suffix(end),
        }?;
        let user = match &self.user {
            None => matched.to_owned(),
            Some(user) => user.replace('*', matched),
        };
        // As in tokens: a name that cannot be shown or stored stands for nobody.
        let is_good = !matched.is_empty() && user.len() <= MAX_USER;
        (is_good && !user.chars().any(char::is_control)).then_some(user)
    }
}

impl FromStr for CertificateRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} is not a rule for certificates: {what}");
        let mut words = text.split_whitespace();
        let (Some(field), Some(pattern)) = (words.next(), words.next()) else {
            return Err(wrong(
                "expected a field and a pattern, like \"cn device-*\"",
            ));
        };
        let user = words.next();
        if words.next().is_some() {
            return Err(wrong(
                "expected a field, a pattern and at most a user's name",
            ));
        }
        let mut fields = FIELDS.iter();
        let Some((_, field)) = fields.find(|(name, _)| *name == field) else {
            return Err(wrong("the fields are cn, dns, email and uri"));
        };
        let stars = |text: &str| text.matches('*').count();
        if stars(pattern) > 1 || user.is_some_and(|user| stars(user) > 1) {
            return Err(wrong(
                "* may stand once in the pattern and once in the user's name",
            ));
        }
        if stars(pattern) == 0 && user.is_some_and(|user| stars(user) > 0) {
            return Err(wrong("* in the user's name needs a * in the pattern"));
        }
        Ok(Self {
            field: *field,
            pattern: pattern.to_owned(),
            user: user.map(str::to_owned),
        })
    }
}

impl fmt::Display for CertificateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = FIELDS.iter();
        let field = fields.find(|(_, field)| *field == self.field);
        let field = field.map_or("cn", |(name, _)| *name);
        write!(f, "{field} {}", self.pattern)?;
        match &self.user {
            Some(user) => write!(f, " {user}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Certificate {
        Certificate {
            common_name: vec!["device-7".to_owned()],
            dns_names: vec!["a.example".to_owned(), "b.example".to_owned()],
            emails: vec!["ann@example.com".to_owned()],
            uris: vec!["spiffe://example.com/ns/ann".to_owned()],
            ..Certificate::default()
        }
    }

    fn user(rules: &[&str]) -> Option<String> {
        let rules: Vec<CertificateRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        CertificateRule::user(&rules, &certificate())
    }

    #[test]
    fn the_first_rule_that_matches_names_the_user() {
        for (rules, expected) in [
            (&["cn *"][..], Some("device-7")),
            (&["cn device-*"], Some("7")),
            (&["cn device-* d*"], Some("d7")),
            (&["cn device-7 seven"], Some("seven")),
            (&["email *@example.com"], Some("ann")),
            (&["email *@example.com *@home"], Some("ann@home")),
            (&["dns b.*"], Some("example")),
            (&["uri spiffe://example.com/ns/*"], Some("ann")),
            (&["cn user-*", "email *"], Some("ann@example.com")),
            (&["cn user-*"], None),
            (&["email *@example.org"], None),
            // The star has to match something.
            (&["cn device-7*"], None),
            // The two halves of a pattern do not overlap.
            (&["cn device-7*-7"], None),
            (&[], None),
        ] {
            assert_eq!(user(rules).as_deref(), expected, "{rules:?}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_or_has_control_characters_stands_for_nobody() {
        let rule: CertificateRule = "cn *".parse().unwrap();
        assert_eq!(
            rule.named(&"x".repeat(MAX_USER)).map(|user| user.len()),
            Some(MAX_USER)
        );
        assert_eq!(rule.named(&"x".repeat(MAX_USER + 1)), None);
        assert_eq!(rule.named("ann\nroot"), None);
    }

    #[test]
    fn the_error_for_an_invalid_rule_says_what_is_expected() {
        for (text, expected) in [
            ("", "expected a field and a pattern"),
            ("cn", "expected a field and a pattern"),
            ("name *", "the fields are cn, dns, email and uri"),
            ("cn a*b*", "may stand once"),
            ("cn a *", "needs a * in the pattern"),
            ("cn a b c", "at most a user's name"),
        ] {
            let error = text.parse::<CertificateRule>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
