//! A table whose places are reused; a generation distinguishes the old entry from the new.
//!
//! It grows and shrinks by pages, so that it never copies its entries, has little spare capacity,
//! and frees memory after a peak.

/// The index of an entry, and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    tenant: Option<T>,
}

/// Entries per page. 256: a page of connections is about 40 KB.
const PAGE: usize = 256;

#[derive(Debug)]
struct Page<T> {
    places: Vec<Place<T>>,
    /// Free indices in the page.
    free: Vec<u8>,
    tenants: u16,
}

impl<T> Page<T> {
    fn has_room(&self) -> bool {
        usize::from(self.tenants) < PAGE
    }
}

#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// None where a page became empty and was freed.
    pages: Vec<Option<Page<T>>>,
    /// Pages that may have room.
    roomy: Vec<u32>,
    len: usize,
    /// The generation of the next entry, whatever place it gets: a page that was freed and
    /// allocated again never repeats one.
    generation: u32,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            pages: Vec::new(),
            roomy: Vec::new(),
            len: 0,
            generation: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, tenant: T) -> Slot {
        let at = self.roomy_page();
        let generation = self.generation;
        self.generation = generation.wrapping_add(1);
        self.len += 1;
        let page = self.pages[at].get_or_insert_with(|| Page {
            places: Vec::new(),
            free: Vec::new(),
            tenants: 0,
        });
        page.tenants += 1;
        let new = Place {
            generation,
            tenant: Some(tenant),
        };
        let within = match page.free.pop() {
            Some(free) => {
                page.places[usize::from(free)] = new;
                usize::from(free)
            }
            None => {
                page.places.push(new);
                page.places.len() - 1
            }
        };
        if page.has_room() {
            let at = u32::try_from(at).expect("memory ends before 2^32 pages");
            self.roomy.push(at);
        }
        let index = u32::try_from(at * PAGE + within).expect("memory ends before 2^32 places");
        Slot { index, generation }
    }

    /// Takes a page with room from `roomy`, or a new one.
    fn roomy_page(&mut self) -> usize {
        while let Some(at) = self.roomy.pop() {
            let at = at as usize;
            // A page that was freed can be allocated again.
            if self.pages[at].as_ref().is_none_or(Page::has_room) {
                return at;
            }
        }
        self.pages.push(None);
        self.pages.len() - 1
    }

    /// The generation of the next entry.
    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    /// Beyond all indices in use.
    pub(crate) fn end(&self) -> u32 {
        u32::try_from(self.pages.len() * PAGE).unwrap_or(u32::MAX)
    }

    fn place(&self, index: u32) -> Option<&Place<T>> {
        let page = self.pages.get(index as usize / PAGE)?.as_ref()?;
        page.places.get(index as usize % PAGE)
    }

    fn place_mut(&mut self, index: u32) -> Option<&mut Place<T>> {
        let page = self.pages.get_mut(index as usize / PAGE)?.as_mut()?;
        page.places.get_mut(index as usize % PAGE)
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        let place = self.place(slot.index)?;
        let ours = place.generation == slot.generation;
        place.tenant.as_ref().filter(|_| ours)
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let place = self.place_mut(slot.index)?;
        let ours = place.generation == slot.generation;
        place.tenant.as_mut().filter(|_| ours)
    }

    /// The entry of a slot that must exist, such as a subscription's feed. A slot without an entry
    /// is a defect of the engine: debug builds panic, others continue without the entry.
    pub(crate) fn known(&self, slot: Slot) -> Option<&T> {
        let entry = self.get(slot);
        debug_assert!(entry.is_some(), "{slot:?} has no entry");
        entry
    }

    /// As [`known`](Self::known).
    pub(crate) fn known_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let entry = self.get_mut(slot);
        debug_assert!(entry.is_some(), "{slot:?} has no entry");
        entry
    }

    /// The entry at an index, for a caller who knows that it is the right one.
    pub(crate) fn at(&self, index: u32) -> Option<(Slot, &T)> {
        let place = self.place(index)?;
        let generation = place.generation;
        let slot = Slot { index, generation };
        place.tenant.as_ref().map(|tenant| (slot, tenant))
    }

    /// As [`at`](Self::at).
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.place_mut(index)?.tenant.as_mut()
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        self.get(slot)?;
        let at = slot.index as usize / PAGE;
        let page = self.pages[at].as_mut()?;
        let within = slot.index as usize % PAGE;
        let tenant = page.places[within].tenant.take();
        let was_full = !page.has_room();
        page.tenants -= 1;
        self.len -= 1;
        if page.tenants == 0 {
            self.pages[at] = None;
        } else {
            let within = u8::try_from(within).expect("a page has 256 places");
            page.free.push(within);
        }
        // A page is in `roomy` at most once: it is added when it gets room, and removed when it is
        // examined.
        if was_full {
            self.roomy.push(slot.index / PAGE as u32);
        }
        if self.len == 0 {
            (self.pages, self.roomy) = (Vec::new(), Vec::new());
        }
        Some(tenant).flatten()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        let pages = (0..).zip(&self.pages);
        pages.flat_map(|(at, page)| {
            let places = page.iter().flat_map(|page| &page.places);
            let first: u32 = at * PAGE as u32;
            (first..).zip(places).filter_map(|(index, place)| {
                let generation = place.generation;
                let slot = Slot { index, generation };
                place.tenant.as_ref().map(|tenant| (slot, tenant))
            })
        })
    }
}

#[cfg(test)]
mod tests;
