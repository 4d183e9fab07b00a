//! Holds the documentation to what a site needs: every page is in the summary, and every link leads
//! somewhere.

use std::{collections::BTreeSet, path::Path};

use offhook_docs::{Book, Place, file, headings, markdown, markdown_files, names, place, slug};

/// The links of a Markdown file, outside of code.
fn links(text: &str) -> Vec<String> {
    use pulldown_cmark::{Event, Options, Parser, Tag};
    let events = Parser::new_ext(text, Options::ENABLE_TABLES);
    let links = events.filter_map(|event| {
        let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event else {
            return None;
        };
        Some(dest_url.to_string())
    });
    links.collect()
}

/// What is wrong with a link in a file.
fn complaint(book: &Book, source: &str, link: &str) -> Option<String> {
    let has = |path: &str, anchor: &str| {
        let text = markdown(path).unwrap_or_default();
        anchor.is_empty() || headings(&text).iter().any(|heading| heading.id == anchor)
    };
    let wrong = match place(book, source, link) {
        Place::Elsewhere | Place::Server => return None,
        Place::Here(anchor) => (!has(source, &anchor)).then_some("there is no such heading"),
        Place::Page { target, anchor } => {
            let page = book.position(&target).and_then(|at| book.chapters.get(at));
            let has = page.is_some_and(|page| has(&page.source, &anchor));
            (!has).then_some("the page has no such heading")
        }
        Place::Asset(name) => file(&name).is_none().then_some("there is no such file"),
        Place::Repository(path) => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            (!root.join(path).exists()).then_some("there is no such file in the repository")
        }
    };
    wrong.map(|wrong| format!("{source}: {link}: {wrong}"))
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let book = Book::read();
    let mut complaints = Vec::new();
    let mut checked = 0;
    for source in markdown_files() {
        for link in links(&markdown(&source).unwrap()) {
            checked += 1;
            complaints.extend(complaint(&book, &source, &link));
        }
    }
    assert!(checked > 200, "{checked} links");
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn links_to_nowhere_are_reported() {
    let book = Book::read();
    for link in [
        "#no-such-heading",
        "server.md#no-such-heading",
        "nothing.md",
        "images/nothing.png",
        "../nothing/README.md",
    ] {
        assert!(
            complaint(&book, "docs/metrics.md", link).is_some(),
            "{link}"
        );
    }
    for link in [
        "server.md",
        "server.md#memory",
        "../README.md",
        "https://example.com/x",
    ] {
        assert_eq!(complaint(&book, "docs/metrics.md", link), None);
    }
}

#[test]
fn every_page_is_in_the_summary_once_and_has_one_title() {
    let book = Book::read();
    let sources: Vec<String> = book
        .chapters
        .iter()
        .map(|page| page.source.clone())
        .collect();
    let unique: BTreeSet<&String> = sources.iter().collect();
    assert_eq!(unique.len(), sources.len(), "{sources:?}");
    let files: BTreeSet<String> = markdown_files().into_iter().collect();
    let listed: BTreeSet<String> = sources.into_iter().collect();
    let expected: BTreeSet<String> = files
        .into_iter()
        .filter(|name| name != "docs/SUMMARY.md")
        .collect();
    assert_eq!(listed, expected);
    for page in &book.chapters {
        let text = markdown(&page.source).unwrap();
        let titles = headings(&text)
            .into_iter()
            .filter(|heading| heading.level == 1);
        assert_eq!(titles.count(), 1, "{}", page.source);
    }
}

#[test]
fn every_file_of_the_site_can_be_read_and_a_page_has_what_a_reader_needs() {
    for name in names() {
        let file = file(&name).unwrap_or_else(|| panic!("{name}"));
        assert!(!file.content.is_empty(), "{name}");
    }
    let page = file("dialects/mqtt.html").unwrap();
    let page = String::from_utf8(page.content.to_vec()).unwrap();
    for part in [
        "<title>MQTT · Offhook</title>",
        "href=\"../style.css\"",
        "<a href=\"../server.html\">",
        "aria-current=\"page\"",
        "rel=\"next\"",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    // Scripts are files of the site: the policy of the page allows no others.
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script type=\"module\" src=\"../").count()
    );
    assert_eq!(file("").unwrap().name, "index.html");
    assert_eq!(file("dialects/").unwrap().name, "dialects/index.html");
}

#[test]
fn what_is_not_part_of_the_site_is_not_served() {
    for name in [
        "SUMMARY.md",
        "server.md",
        "../Cargo.toml",
        "nothing.html",
        "/etc/passwd",
    ] {
        assert_eq!(file(name), None, "{name}");
    }
}

#[test]
fn ids_of_headings_are_those_that_links_expect() {
    for (heading, id) in [
        ("What is wrong?", "what-is-wrong"),
        ("`GET /rpc`, by hand", "get-rpc-by-hand"),
        ("SSE & polling", "sse--polling"),
        ("snake_case", "snake_case"),
    ] {
        assert_eq!(slug(&heading.replace('`', "")), id);
    }
    let twice = headings("# A\n\n## Same\n\n## Same\n");
    let ids: Vec<&str> = twice.iter().map(|heading| heading.id.as_str()).collect();
    assert_eq!(ids, ["a", "same", "same-1"]);
}

#[test]
fn the_search_finds_sections_by_their_text() {
    let index = file("search.json").unwrap();
    let sections: Vec<[String; 4]> = serde_json::from_slice(&index.content).unwrap();
    let found = sections
        .iter()
        .find(|[.., address, _]| address == "server.html#memory");
    let [title, heading, _, text] = found.unwrap();
    assert_eq!((title.as_str(), heading.as_str()), ("The server", "Memory"));
    assert!(text.contains("memory.bytes"), "{text}");
}
