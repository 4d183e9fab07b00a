//! The order and the titles of the pages, read from `docs/SUMMARY.md`: a list of links below headings,
//! as for mdBook.

use crate::{links::joined, source::markdown};

const SUMMARY: &str = "docs/SUMMARY.md";

/// The pages of the site in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book {
    /// The pages.
    pub chapters: Vec<Chapter>,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// The heading in the navigation above it, if there is one.
    pub part: String,
    /// Its title in the navigation.
    pub title: String,
    /// The path of its Markdown file in the repository.
    pub source: String,
    /// Its name in the site.
    pub target: String,
}

impl Book {
    /// Reads the summary.
    #[must_use]
    pub fn read() -> Self {
        Self::of(&markdown(SUMMARY).unwrap_or_default())
    }

    /// Reads the text of a summary.
    #[must_use]
    pub fn of(summary: &str) -> Self {
        let mut part = String::new();
        let mut chapters = Vec::new();
        for line in summary.lines() {
            let line = line.trim();
            if let Some(heading) = line.strip_prefix("## ") {
                heading.clone_into(&mut part);
            }
            let Some((title, path)) = link(line) else {
                continue;
            };
            let source = joined("docs", path);
            chapters.push(Chapter {
                part: part.clone(),
                title: title.to_owned(),
                target: target(&source),
                source,
            });
        }
        Self { chapters }
    }

    /// The position of the page with this name in the site.
    #[must_use]
    pub fn position(&self, target: &str) -> Option<usize> {
        let mut chapters = self.chapters.iter();
        chapters.position(|chapter| chapter.target == target)
    }

    /// The page that is made from this file of the repository.
    #[must_use]
    pub fn of_source(&self, source: &str) -> Option<&Chapter> {
        let mut chapters = self.chapters.iter();
        chapters.find(|chapter| chapter.source == source)
    }
}

/// The title and the path of an entry: `- [Title](path)`.
fn link(line: &str) -> Option<(&str, &str)> {
    let entry = line.strip_prefix("- [")?.strip_suffix(')')?;
    entry.split_once("](")
}

/// The name of a page in the site.
fn target(source: &str) -> String {
    let path = source.strip_prefix("docs/").unwrap_or(source);
    let path = path.strip_suffix(".md").unwrap_or(path);
    match path.strip_suffix("README") {
        Some(folder) => format!("{folder}index.html"),
        None => format!("{path}.html"),
    }
}
