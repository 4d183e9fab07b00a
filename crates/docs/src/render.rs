//! Renders a Markdown file as a page.

use std::fmt::Write;

use pulldown_cmark::{
    CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html,
};

use crate::{
    book::{Book, Chapter},
    links::{Place, place},
    source::markdown,
};

/// A heading of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// 1 for the title of a page.
    pub level: u8,
    /// Its text.
    pub text: String,
    /// Its id, as links name it.
    pub id: String,
}

/// The events of a file, with the headings' ids set. What is HTML in it becomes text: the files are not
/// expected to contain any, and a page with a strict policy could not use it.
pub(crate) fn events(text: &str) -> Vec<Event<'_>> {
    let parser = Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH);
    let plain = parser.map(|event| {
        if let Event::Html(text) | Event::InlineHtml(text) = event {
            Event::Text(text)
        } else {
            event
        }
    });
    let mut events: Vec<Event<'_>> = plain.collect();
    let mut used = Vec::new();
    for start in 0..events.len() {
        if !matches!(events.get(start), Some(Event::Start(Tag::Heading { .. }))) {
            continue;
        }
        let id = unique(
            slug(&words(events.get(start + 1..).unwrap_or_default())),
            &mut used,
        );
        if let Some(Event::Start(Tag::Heading { id: own, .. })) = events.get_mut(start) {
            *own = Some(id.into());
        }
    }
    events
}

/// The text of a heading that begins before these events.
fn words(events: &[Event<'_>]) -> String {
    let until_its_end = events
        .iter()
        .take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let texts = until_its_end.filter_map(|event| {
        if let Event::Text(text) | Event::Code(text) = event {
            return Some(&**text);
        }
        matches!(event, Event::SoftBreak | Event::HardBreak).then_some(" ")
    });
    texts.collect()
}

/// The id of a heading, as GitHub makes it, so that links work in both places.
#[must_use]
pub fn slug(heading: &str) -> String {
    let characters = heading.trim().chars().flat_map(char::to_lowercase);
    let kept = characters.filter_map(|character| match character {
        ' ' => Some('-'),
        '-' | '_' => Some(character),
        character => character.is_alphanumeric().then_some(character),
    });
    kept.collect()
}

/// The id, or with a number if it is used already.
fn unique(id: String, used: &mut Vec<String>) -> String {
    let earlier = used.iter().filter(|one| **one == id).count();
    used.push(id.clone());
    match earlier {
        0 => id,
        number => format!("{id}-{number}"),
    }
}

/// The headings of a file.
#[must_use]
pub fn headings(text: &str) -> Vec<Heading> {
    let events = events(text);
    let found = events.iter().enumerate().filter_map(|(at, event)| {
        let Event::Start(Tag::Heading { level, id, .. }) = event else {
            return None;
        };
        Some(Heading {
            level: *level as u8,
            text: words(events.get(at + 1..).unwrap_or_default()),
            id: id.as_deref().unwrap_or_default().to_owned(),
        })
    });
    found.collect()
}

/// The page at a position of the book.
pub(crate) fn page(book: &Book, position: usize) -> Option<String> {
    let chapter = book.chapters.get(position)?;
    let text = markdown(&chapter.source)?;
    let root = "../".repeat(chapter.target.matches('/').count());
    let near = |position: Option<usize>| position.and_then(|position| book.chapters.get(position));
    let before = near(position.checked_sub(1));
    let content = content(book, chapter, &text, &root);
    let navigation = navigation(book, chapter, &headings(&text), &root);
    let turn = turn(before, near(Some(position + 1)), &root);
    let title = escaped(&chapter.title);
    Some(format!(
        "<!doctype html>\n<html lang=\"en\" data-root=\"{root}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · Offhook</title>\n\
         <link rel=\"icon\" href=\"{root}icon.svg\" type=\"image/svg+xml\">\n\
         <link rel=\"stylesheet\" href=\"{root}style.css\">\n\
         <script type=\"module\" src=\"{root}search.js\"></script>\n\
         <script type=\"module\" src=\"{root}explainer.js\"></script>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#content\">Skip to the content</a>\n\
         <header><a class=\"brand\" href=\"{root}index.html\">Offhook</a>\n\
         <a class=\"to-pages\" href=\"#pages\">Pages</a>\n\
         <form id=\"search\" role=\"search\" hidden><label class=\"unseen\" for=\"query\">Search</label>\
         <input id=\"query\" type=\"search\" placeholder=\"Search\" autocomplete=\"off\" spellcheck=\"false\"></form>\n\
         </header>\n<div class=\"page\">\n\
         <main id=\"content\" tabindex=\"-1\">\n<div id=\"results\" hidden></div>\n\
         <article>\n{content}</article>\n{turn}</main>\n{navigation}\n</div>\n</body>\n</html>\n"
    ))
}

/// The text of a page as HTML.
fn content(book: &Book, chapter: &Chapter, text: &str, root: &str) -> String {
    let mut in_file = false;
    let shown = events(text).into_iter().flat_map(|event| {
        if let Event::Start(Tag::Link { dest_url, .. }) = &event
            && let Place::Repository(path) = place(book, &chapter.source, dest_url)
        {
            in_file = true;
            return vec![in_repository(&path)];
        }
        if event == Event::End(TagEnd::Link) && std::mem::take(&mut in_file) {
            return vec![Event::Html("</span>".into())];
        }
        let event = linked(event, |link| {
            address(place(book, &chapter.source, link), root)
        });
        framed(event)
    });
    let mut page = String::new();
    html::push_html(&mut page, shown);
    // A column without a name has no header cell that could be read out.
    page.replace("<th></th>", "<td></td>")
}

/// A link or an image with the address that it has in the site. Other events are returned as they are.
fn linked<'a>(mut event: Event<'a>, address: impl Fn(&str) -> Option<String>) -> Event<'a> {
    if let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = &mut event
        && let Some(address) = address(dest_url)
    {
        *dest_url = CowStr::from(address);
    }
    event
}

/// Wide tables and code scroll, which the keyboard has to reach.
fn framed(event: Event<'_>) -> Vec<Event<'_>> {
    const START: &str = "<div class=\"scroll\" role=\"group\" aria-label=\"Table\" tabindex=\"0\">";
    if let Event::Start(Tag::CodeBlock(kind)) = &event {
        return vec![Event::Html(code(kind).into())];
    }
    if event == Event::End(TagEnd::CodeBlock) {
        return vec![Event::Html("</code></pre>\n".into())];
    }
    if matches!(event, Event::Start(Tag::Table(_))) {
        return vec![Event::Html(START.into()), event];
    }
    if event == Event::End(TagEnd::Table) {
        return vec![event, Event::Html("</div>".into())];
    }
    vec![event]
}

fn in_repository(path: &str) -> Event<'static> {
    let path = escaped(path);
    let span = format!("<span class=\"file\" title=\"in the repository: {path}\">");
    Event::Html(span.into())
}

/// The start of a block of code with the first word of its language.
fn code(kind: &CodeBlockKind<'_>) -> String {
    let language = match kind {
        CodeBlockKind::Fenced(language) => language.split([',', ' ']).next().unwrap_or_default(),
        CodeBlockKind::Indented => "",
    };
    format!(
        "<pre tabindex=\"0\"><code class=\"language-{}\">",
        escaped(language)
    )
}

/// The address of a place, relative to a page; none if the link is right as it is.
fn address(place: Place, root: &str) -> Option<String> {
    match place {
        Place::Page { target, anchor } if anchor.is_empty() => Some(format!("{root}{target}")),
        Place::Page { target, anchor } => Some(format!("{root}{target}#{anchor}")),
        Place::Asset(name) => Some(format!("{root}{name}")),
        Place::Here(_) | Place::Elsewhere | Place::Server | Place::Repository(_) => None,
    }
}

/// All pages, and the sections of this one.
fn navigation(book: &Book, here: &Chapter, headings: &[Heading], root: &str) -> String {
    let mut shown = String::from("<nav id=\"pages\" aria-label=\"Documentation\">\n");
    let mut part = "";
    let mut is_open = false;
    for chapter in &book.chapters {
        if chapter.part != part || !is_open {
            part = &chapter.part;
            let end = if is_open { "</ul>\n" } else { "" };
            shown.push_str(end);
            if !part.is_empty() {
                add(&mut shown, format_args!("<h2>{}</h2>\n", escaped(part)));
            }
            shown.push_str("<ul>\n");
            is_open = true;
        }
        let (target, title) = (&chapter.target, escaped(&chapter.title));
        if chapter.target != here.target {
            add(
                &mut shown,
                format_args!("<li><a href=\"{root}{target}\">{title}</a></li>\n"),
            );
            continue;
        }
        add(
            &mut shown,
            format_args!("<li><a href=\"{root}{target}\" aria-current=\"page\">{title}</a>"),
        );
        shown.push_str(&sections(headings));
        shown.push_str("</li>\n");
    }
    if is_open {
        shown.push_str("</ul>\n");
    }
    shown.push_str("</nav>");
    shown
}

fn sections(headings: &[Heading]) -> String {
    let second = headings
        .iter()
        .filter(|heading| heading.level == HeadingLevel::H2 as u8);
    let links: Vec<String> = second
        .map(|heading| {
            format!(
                "<li><a href=\"#{}\">{}</a></li>",
                heading.id,
                escaped(&heading.text)
            )
        })
        .collect();
    match links.is_empty() {
        true => String::new(),
        false => format!("<ul>{}</ul>", links.concat()),
    }
}

/// The links to the pages before and after this one.
fn turn(before: Option<&Chapter>, after: Option<&Chapter>, root: &str) -> String {
    let link = |chapter: &Chapter, rel: &str| {
        let (target, title) = (&chapter.target, escaped(&chapter.title));
        format!("<a rel=\"{rel}\" href=\"{root}{target}\">{title}</a>\n")
    };
    let before = before
        .map(|chapter| link(chapter, "prev"))
        .unwrap_or_default();
    let after = after
        .map(|chapter| link(chapter, "next"))
        .unwrap_or_default();
    format!("<footer class=\"turn\">\n{before}{after}</footer>\n")
}

fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a String never fails.
    let _ = text.write_fmt(more);
}

/// A text as part of HTML, also within an attribute.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            character => shown.push(character),
        }
    }
    shown
}
