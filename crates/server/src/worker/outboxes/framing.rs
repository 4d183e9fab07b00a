//! Encodes and frames a publication once for all connections that receive the same bytes.

use std::sync::Arc;

use offhook::protocol::{
    Prepared,
    deflate::{DeflateConfig, DeflatePool},
};
use offhook_dialects::{Encoding, Payload, Shared};
use offhook_engine::{Class, PresenceChange, Publication};

use crate::config::Config;

/// Encodes and frames once for all connections of a class.
#[derive(Debug)]
pub(super) struct Framing {
    deflate: Option<(DeflateConfig, DeflatePool)>,
    classes: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    encoding: &'static dyn Encoding,
    /// The last publication, which connections that catch up together receive one after another.
    last: Option<(Arc<Publication>, Framed)>,
}

/// A publication, framed for the connections of a class.
#[derive(Clone, Debug)]
pub(super) struct Framed {
    /// The message, preceded by another one if the encoding requires it.
    pub(super) messages: Arc<[Prepared]>,
    /// The unframed message, for recipients with their own head.
    pub(super) shared: Arc<Shared>,
}

impl Framing {
    pub(super) fn new(config: &Config) -> Self {
        let deflate = config.messages.deflate;
        Self {
            deflate: deflate.then(|| (DeflateConfig::default(), DeflatePool::default())),
            classes: Vec::new(),
        }
    }

    /// The class of connections with this encoding.
    pub(super) fn class_of(&mut self, encoding: &'static dyn Encoding) -> Class {
        let name = encoding.name();
        let known = self.classes.iter().position(|c| c.encoding.name() == name);
        let index = known.unwrap_or_else(|| {
            self.classes.push(Entry {
                encoding,
                last: None,
            });
            self.classes.len() - 1
        });
        Class(u8::try_from(index).expect("the dialects have fewer than 256 encodings together"))
    }

    /// The name of the encoding of a class; empty if there is no such class.
    pub(super) fn name(&self, class: Class) -> &'static str {
        let entry = self.classes.get(usize::from(class.0));
        entry.map_or("", |entry| entry.encoding.name())
    }

    /// Whether connections of a class are told how many subscribers their channels have.
    pub(super) fn is_counted(&self, class: Class) -> bool {
        let entry = self.classes.get(usize::from(class.0));
        entry.is_some_and(|entry| entry.encoding.is_counted())
    }

    /// Whether each copy of a publication has its own head in this class.
    pub(super) fn has_heads(&self, class: Class) -> bool {
        let entry = self.classes.get(usize::from(class.0));
        entry.is_some_and(|entry| entry.encoding.has_heads())
    }

    /// Whether a publication's message depends on the time in this class.
    pub(super) fn is_timed(&self, class: Class, shared: &Shared) -> bool {
        let entry = self.classes.get(usize::from(class.0));
        let publication = shared.publication.as_ref();
        entry
            .zip(publication)
            .is_some_and(|(entry, publication)| entry.encoding.is_timed(publication))
    }

    pub(super) fn publication(&mut self, class: Class, publication: &Arc<Publication>) -> Framed {
        let entry = self.entry(class);
        if let Some((known, framed)) = &entry.last
            && Arc::ptr_eq(known, publication)
        {
            return framed.clone();
        }
        let mut shared = entry.encoding.publication(publication);
        shared.publication = Some(Arc::clone(publication));
        let framed = self.framed(shared);
        let known = (Arc::clone(publication), framed.clone());
        self.entry(class).last = Some(known);
        framed
    }

    /// The same for joins and leaves.
    pub(super) fn has_presence_heads(&self, class: Class) -> bool {
        let entry = self.classes.get(usize::from(class.0));
        entry.is_some_and(|entry| entry.encoding.has_presence_heads())
    }

    pub(super) fn presence(
        &mut self,
        class: Class,
        change: &Arc<PresenceChange>,
    ) -> Option<Framed> {
        let mut shared = self.entry(class).encoding.presence(change)?;
        shared.change = Some(Arc::clone(change));
        Some(self.framed(shared))
    }

    fn framed(&self, shared: Shared) -> Framed {
        let messages = shared.ahead.iter().chain([&shared.message]);
        let messages = messages.map(|message| self.frame(message)).collect();
        Framed {
            messages,
            shared: Arc::new(shared),
        }
    }

    fn entry(&mut self, class: Class) -> &mut Entry {
        let entry = self.classes.get_mut(usize::from(class.0));
        entry.expect("a class is made together with its entry, which stays")
    }

    fn frame(&self, message: &Payload) -> Prepared {
        match (message, &self.deflate) {
            (Payload::Text(text), None) => Prepared::new(&**text),
            (Payload::Binary(bytes), None) => Prepared::new(&**bytes),
            (Payload::Text(text), Some((config, pool))) => {
                Prepared::with_deflate(&**text, config, pool)
            }
            (Payload::Binary(bytes), Some((config, pool))) => {
                Prepared::with_deflate(&**bytes, config, pool)
            }
        }
    }
}
