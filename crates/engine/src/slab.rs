//! A vector with holes that are used again; a generation tells the old tenant from the new.

/// Where something is, and which tenant of that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    tenant: Option<T>,
}

#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, tenant: T) -> Slot {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.tenant = Some(tenant);
            return Slot {
                index,
                generation: place.generation,
            };
        }
        let index = u32::try_from(self.places.len()).expect("memory ends before 2^32 places");
        self.places.push(Place {
            generation: 0,
            tenant: Some(tenant),
        });
        Slot {
            index,
            generation: 0,
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        let place = self.places.get(slot.index as usize)?;
        place
            .tenant
            .as_ref()
            .filter(|_| place.generation == slot.generation)
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let place = self.places.get_mut(slot.index as usize)?;
        place
            .tenant
            .as_mut()
            .filter(|_| place.generation == slot.generation)
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        self.get(slot)?;
        let place = &mut self.places[slot.index as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot.index);
        place.tenant.take()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0..).zip(&self.places).filter_map(|(index, place)| {
            let slot = Slot {
                index,
                generation: place.generation,
            };
            place.tenant.as_ref().map(|tenant| (slot, tenant))
        })
    }
}
