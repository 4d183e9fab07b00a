//! Suggestions for misspelled names.

/// The name in `known` that is most similar to `name`; none if no name is close.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = plain(name);
    let distance = |known: &&str| strsim::damerau_levenshtein(&wanted, &plain(known));
    let nearest = known.into_iter().min_by_key(distance)?;
    // Up to a third of wrong letters is a typing error; more is another word.
    let tolerated = wanted.chars().count().max(3) / 3;
    (distance(&nearest) <= tolerated).then_some(nearest)
}

/// Ignores dashes, case and separators.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric() || *c == '.');
    letters.flat_map(char::to_lowercase).collect()
}
