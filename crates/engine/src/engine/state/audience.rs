//! Subscriptions of a feed, grouped by what must be encoded for them.

use std::{mem, slice};

use crate::{
    delivery::ConnectionId,
    slab::{Slab, Slot},
    subscription::{Class, Recipients},
};

use super::{State, Subscription};

/// Subscriptions grouped by what must be encoded for them. Most channels have one audience of one
/// subscription, which needs no memory of its own.
#[derive(Debug, Default)]
pub(in crate::engine) enum Audiences {
    #[default]
    Nobody,
    One(Audience),
    Several(Vec<Audience>),
}

/// Subscriptions that share one encoding of a publication.
#[derive(Debug)]
pub(in crate::engine) struct Audience {
    pub(in crate::engine) kind: Kind,
    members: Members,
}

/// What distinguishes one audience from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Kind {
    pub(in crate::engine) class: Class,
    /// Whether each subscription has an id that its messages must carry.
    pub(in crate::engine) numbered: bool,
    /// Whether sessions receive their own publications.
    pub(in crate::engine) echo: bool,
}

#[derive(Debug, Default)]
enum Members {
    #[default]
    Nobody,
    One(Recipient),
    Several(Box<Lists>),
}

/// A subscription in an audience.
#[derive(Clone, Copy, Debug)]
struct Recipient {
    connection: ConnectionId,
    /// Its index in the table of all subscriptions.
    place: u32,
    /// Its id; only meaningful if the audience is numbered.
    id: u32,
}

#[derive(Debug, Default)]
struct Lists {
    connections: Vec<ConnectionId>,
    /// The subscriptions' indices in the table of all; as many as connections.
    places: Vec<u32>,
    /// The subscriptions' ids: as many as connections, or none.
    ids: Vec<u32>,
}

impl Lists {
    fn push(&mut self, new: Recipient, numbered: bool) {
        self.connections.push(new.connection);
        self.places.push(new.place);
        self.ids.extend(numbered.then_some(new.id));
    }
}

impl Audience {
    fn new(kind: Kind) -> Self {
        let members = Members::Nobody;
        Self { kind, members }
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.connections().len()
    }

    pub(in crate::engine) fn connections(&self) -> &[ConnectionId] {
        match &self.members {
            Members::Nobody => &[],
            Members::One(one) => slice::from_ref(&one.connection),
            Members::Several(several) => &several.connections,
        }
    }

    /// The subscriptions' indices in the table of all.
    pub(in crate::engine) fn places(&self) -> &[u32] {
        match &self.members {
            Members::Nobody => &[],
            Members::One(one) => slice::from_ref(&one.place),
            Members::Several(several) => &several.places,
        }
    }

    /// The subscriptions' ids: as many as connections, or none.
    fn ids(&self) -> &[u32] {
        match &self.members {
            Members::One(one) if self.kind.numbered => slice::from_ref(&one.id),
            Members::Nobody | Members::One(_) => &[],
            Members::Several(several) => &several.ids,
        }
    }

    pub(in crate::engine) fn recipients(&self, from: usize, until: usize) -> Recipients<'_> {
        Recipients {
            connections: self.connections().get(from..until).unwrap_or_default(),
            ids: self.ids().get(from..until).unwrap_or_default(),
        }
    }

    /// Adds a subscription at the end, and returns its place.
    fn push(&mut self, new: Recipient) -> u32 {
        let numbered = self.kind.numbered;
        match &mut self.members {
            Members::Nobody => self.members = Members::One(new),
            Members::One(one) => {
                let mut lists = Box::<Lists>::default();
                lists.push(*one, numbered);
                lists.push(new, numbered);
                self.members = Members::Several(lists);
            }
            Members::Several(several) => several.push(new, numbered),
        }
        u32::try_from(self.len() - 1).expect("there are fewer than 2^32 subscriptions")
    }

    fn swap(&mut self, a: usize, b: usize) {
        // A single member is always at place 0.
        let Members::Several(several) = &mut self.members else {
            return;
        };
        several.connections.swap(a, b);
        several.places.swap(a, b);
        if !several.ids.is_empty() {
            several.ids.swap(a, b);
        }
    }

    /// Removes the last one.
    fn pop(&mut self) {
        if let Members::Several(several) = &mut self.members {
            several.connections.pop();
            several.places.pop();
            several.ids.pop();
            if !several.connections.is_empty() {
                return;
            }
        }
        self.members = Members::Nobody;
    }
}

impl Audiences {
    fn as_slice(&self) -> &[Audience] {
        match self {
            Self::Nobody => &[],
            Self::One(one) => slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = &Audience> {
        self.as_slice().iter()
    }

    pub(in crate::engine) fn get(&self, audience: usize) -> Option<&Audience> {
        self.as_slice().get(audience)
    }

    fn get_mut(&mut self, audience: usize) -> Option<&mut Audience> {
        match self {
            Self::Nobody => None,
            Self::One(one) => (audience == 0).then_some(one),
            Self::Several(several) => several.get_mut(audience),
        }
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.iter().all(|audience| audience.len() == 0)
    }

    /// Whether all audiences after this one are empty.
    pub(in crate::engine) fn is_last(&self, audience: usize) -> bool {
        let mut behind = self.iter().skip(audience + 1);
        behind.all(|audience| audience.len() == 0)
    }

    pub(in crate::engine) fn find(&self, kind: Kind) -> Option<usize> {
        self.iter().position(|audience| audience.kind == kind)
    }

    /// Returns the audience of a kind, adding it if it does not exist.
    fn of(&mut self, kind: Kind) -> &mut Audience {
        let at = self.find(kind);
        *self = match (mem::take(self), at) {
            (unchanged, Some(_)) => unchanged,
            (Self::Nobody, None) => Self::One(Audience::new(kind)),
            (Self::One(first), None) => Self::Several(vec![first, Audience::new(kind)]),
            (Self::Several(mut several), None) => {
                several.push(Audience::new(kind));
                Self::Several(several)
            }
        };
        let at = at.unwrap_or(self.as_slice().len() - 1);
        self.get_mut(at).expect("it was found, or added at the end")
    }

    /// Adds a subscription at the end of its audience, and returns its place there.
    pub(in crate::engine) fn add(&mut self, kind: Kind, slot: Slot, s: &Subscription) -> u32 {
        self.of(kind).push(Recipient {
            connection: s.connection,
            place: slot.index,
            id: s.id().map_or(0, |id| id.0),
        })
    }

    /// Removes the subscription at a place. The last one of its audience moves to that place. The
    /// first `told` subscriptions of the audience have already received a message that the others
    /// have yet to receive; both parts stay separate. Reports the new places of subscriptions that
    /// moved.
    pub(in crate::engine) fn remove(
        &mut self,
        audience: usize,
        place: u32,
        told: Option<&mut usize>,
        mut moved: impl FnMut(u32, u32),
    ) {
        let audience = self.get_mut(audience);
        let found = audience.and_then(|audience| Some((audience.len().checked_sub(1)?, audience)));
        let Some((last, audience)) = found else {
            debug_assert!(
                false,
                "a subscription is in an audience that does not exist"
            );
            return;
        };
        let mut hole = place as usize;
        if let Some(told) = told
            && hole < *told
        {
            *told -= 1;
            audience.swap(hole, *told);
            moved(audience.places()[hole], place);
            hole = *told;
        }
        audience.swap(hole, last);
        audience.pop();
        if let Some(&there) = audience.places().get(hole) {
            moved(there, hole as u32);
        }
    }

    /// Removes all subscriptions.
    pub(in crate::engine) fn take(&mut self) -> Vec<Audience> {
        match mem::take(self) {
            Self::Nobody => Vec::new(),
            Self::One(one) => vec![one],
            Self::Several(several) => several,
        }
    }
}

/// Updates the place that a live subscription records when it is moved within its audience.
pub(in crate::engine) fn live_place(all: &mut Slab<Subscription>, index: u32, place: u32) {
    if let Some(s) = all.at_mut(index) {
        debug_assert!(
            matches!(s.state, State::Live { .. }),
            "only live ones are in audiences"
        );
        s.state = State::Live { place };
    }
}
