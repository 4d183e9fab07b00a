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
            sections.push(json!([chapter.title, section.heading, address, words.join(" ")]));
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
        match event {
            Event::Start(Tag::Heading { id, .. }) => {
                in_heading = true;
                let id = id.as_deref().unwrap_or_default().to_owned();
                sections.push(Section {
                    id,
                    ..Section::default()
                });
            }
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::Text(text) | Event::Code(text) if in_heading => section.heading.push_str(&text),
            Event::Text(text) | Event::Code(text) => section.text.push_str(&text),
            Event::SoftBreak | Event::HardBreak => section.text.push(' '),
            // Between paragraphs, list items and cells.
            Event::End(end) if is_block(end) => section.text.push(' '),
            _ => {}
        }
    }
    sections.retain(|section| !section.heading.is_empty() || !section.text.trim().is_empty());
    sections
}

const fn is_block(end: TagEnd) -> bool {
    matches!(
        end,
        TagEnd::Paragraph | TagEnd::Item | TagEnd::TableCell | TagEnd::CodeBlock
    )
}
