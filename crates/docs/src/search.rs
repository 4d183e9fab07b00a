//! The index of the search: the text of each section of each page.

use pulldown_cmark::{Event, Tag, TagEnd};
use serde_json::{Value, json};

use crate::{book::Book, render::events, source::markdown};

/// The index, as JSON: for each section the page's title, the heading, the address and the text.
pub(crate) fn index(book: &Book) -> String {
    let mut sections: Vec<Value> = Vec::new();
    for chapter in &book.chapters {
        let text = markdown(&chapter.source).unwrap_or_default();
        for section in of_page(&text) {
            let address = match section.id.is_empty() {
                true => chapter.target.clone(),
                false => format!("{}#{}", chapter.target, section.id),
            };
            let words: Vec<&str> = section.text.split_whitespace().collect();
            sections.push(json!([
                chapter.title,
                section.heading,
                address,
                words.join(" ")
            ]));
        }
    }
    Value::from(sections).to_string()
}

#[derive(Default)]
struct Section {
    heading: String,
    id: String,
    text: String,
}

fn of_page(text: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut in_heading = false;
    for event in events(text) {
        let Some(section) = sections.last_mut() else {
            continue;
        };
        if let Event::Start(Tag::Heading { id, .. }) = &event {
            in_heading = true;
            let id = id.as_deref().unwrap_or_default().to_owned();
            sections.push(Section {
                id,
                ..Section::default()
            });
        } else if let Event::Text(text) | Event::Code(text) = &event {
            match in_heading {
                true => section.heading.push_str(text),
                false => section.text.push_str(text),
            }
        } else if matches!(event, Event::End(TagEnd::Heading(_))) {
            in_heading = false;
        } else if is_space(&event) {
            section.text.push(' ');
        }
    }
    sections.retain(|section| !section.heading.is_empty() || !section.text.trim().is_empty());
    sections
}

/// Whether words before and after this are apart: lines, paragraphs, list items and cells.
const fn is_space(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::SoftBreak
            | Event::HardBreak
            | Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::TableCell | TagEnd::CodeBlock)
    )
}
