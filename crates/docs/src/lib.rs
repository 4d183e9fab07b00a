//! The documentation as a site. Each Markdown file in `docs/` becomes a page with a navigation, in the
//! order of `docs/SUMMARY.md`, which is also what mdBook reads. The server serves the site at `/docs/`;
//! `cargo run -p offhook-docs -- FOLDER` writes it into a folder.
//!
//! The pages contain no script of their own and work without any; scripts add the search and the
//! explanation of frames.

mod book;
mod links;
mod render;
mod search;
mod source;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, OnceLock},
};

pub use book::{Book, Chapter};
pub use links::{Place, place};
pub use render::{Heading, headings, slug};
pub use source::{markdown, markdown_files};

/// The name of the search index.
const INDEX: &str = "search.json";

/// A file of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, such as `dialects/mqtt.html`.
    pub name: String,
    /// Its content.
    pub content: Arc<[u8]>,
}

/// The content of the pages, each rendered when it is first requested: a server need not spend a
/// moment of its start on them, nor render a page for each request.
static RENDERED: LazyLock<BTreeMap<String, OnceLock<Arc<[u8]>>>> = LazyLock::new(|| {
    let names = names().into_iter();
    names.map(|name| (name, OnceLock::new())).collect()
});

/// The names of all files of the site.
#[must_use]
pub fn names() -> Vec<String> {
    let book = Book::read();
    let pages = book.chapters.iter().map(|chapter| chapter.target.clone());
    let mut names: Vec<String> = pages.collect();
    names.extend(source::assets());
    names.push(INDEX.to_owned());
    names
}

/// The file at a path below the site's root, if there is one. A path that is empty or ends with `/` is
/// that of a folder's `index.html`.
#[must_use]
pub fn file(path: &str) -> Option<File> {
    let name = match path.is_empty() || path.ends_with('/') {
        true => format!("{path}index.html"),
        false => path.to_owned(),
    };
    // A debug build reads the files from the source tree, so that changes are visible without a build.
    let content = if cfg!(debug_assertions) {
        content(&name)?
    } else {
        let rendered = RENDERED.get(&name)?;
        match rendered.get() {
            Some(content) => Arc::clone(content),
            None => Arc::clone(rendered.get_or_init(|| content(&name).unwrap_or_default())),
        }
    };
    Some(File { name, content })
}

fn content(name: &str) -> Option<Arc<[u8]>> {
    if let Some(asset) = source::asset(name) {
        return Some(asset.into());
    }
    let book = Book::read();
    if name == INDEX {
        return Some(search::index(&book).into_bytes().into());
    }
    let position = book.position(name)?;
    let page = render::page(&book, position)?;
    Some(page.into_bytes().into())
}
