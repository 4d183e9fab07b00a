//! The Markdown files, and the style and scripts of the site, embedded in the program.

use std::borrow::Cow;

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../docs"]
struct Docs;

/// Style and scripts.
#[derive(RustEmbed)]
#[folder = "../../web/docs"]
struct Assets;

/// Pages that are not in `docs/`.
const OTHERS: &[(&str, &str)] = &[
    ("CHANGELOG.md", include_str!("../../../CHANGELOG.md")),
    (
        "clients/js/README.md",
        include_str!("../../../clients/js/README.md"),
    ),
    (
        "clients/python/README.md",
        include_str!("../../../clients/python/README.md"),
    ),
];

/// The folder of most pages, as a prefix of paths in the repository.
const FOLDER: &str = "docs/";

/// A Markdown file by its path in the repository.
#[must_use]
pub fn markdown(path: &str) -> Option<Cow<'static, str>> {
    if let Some((_, text)) = OTHERS.iter().find(|(name, _)| *name == path) {
        return Some(Cow::Borrowed(text));
    }
    let file = Docs::get(path.strip_prefix(FOLDER)?)?;
    match file.data {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// The paths of all Markdown files, in the repository.
#[must_use]
pub fn markdown_files() -> Vec<String> {
    let files = Docs::iter().filter(|name| name.ends_with(".md"));
    let files = files.map(|name| format!("{FOLDER}{name}"));
    let others = OTHERS.iter().map(|(name, _)| (*name).to_owned());
    files.chain(others).collect()
}

/// The names of the files that are not pages: style, scripts and images.
pub(crate) fn assets() -> Vec<String> {
    let images = Docs::iter().filter(|name| !name.ends_with(".md"));
    images.chain(Assets::iter()).map(Cow::into_owned).collect()
}

pub(crate) fn asset(name: &str) -> Option<Vec<u8>> {
    if name.ends_with(".md") {
        return None;
    }
    let file = Assets::get(name).or_else(|| Docs::get(name))?;
    Some(file.data.into_owned())
}
