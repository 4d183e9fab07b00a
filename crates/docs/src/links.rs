//! Where a link in a Markdown file leads.

use crate::book::Book;

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A place on the same page.
    Here(String),
    /// Another site.
    Elsewhere,
    /// A page of the site, and a place on it.
    Page {
        /// The page's name in the site.
        target: String,
        /// The id of a heading; empty for the whole page.
        anchor: String,
    },
    /// A path of the server that serves the site, such as `/talk/`.
    Server,
    /// A file of the site that is not a page, by its name.
    Asset(String),
    /// A file or folder of the repository that is not part of the site, by its path.
    Repository(String),
}

/// Where a link in the file `source` of the repository leads.
#[must_use]
pub fn place(book: &Book, source: &str, link: &str) -> Place {
    if let Some(anchor) = link.strip_prefix('#') {
        return Place::Here(anchor.to_owned());
    }
    if link.starts_with('/') {
        return Place::Server;
    }
    if link.contains("://") || link.starts_with("mailto:") {
        return Place::Elsewhere;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = source.rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = joined(folder, path);
    if let Some(page) = book.of_source(&path) {
        return Place::Page {
            target: page.target.clone(),
            anchor: anchor.to_owned(),
        };
    }
    match path.strip_prefix("docs/images/") {
        Some(image) => Place::Asset(format!("images/{image}")),
        None => Place::Repository(path),
    }
}

/// A path relative to a folder, without `.` and `..`.
pub(crate) fn joined(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
