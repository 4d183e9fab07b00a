//! The namespaces of a connection, and the subscriptions in each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use offhook_engine::{
    ChannelName, Position, Since, Subscribe, SubscriptionId, SubscriptionKey, SubscriptionName,
    Target,
};

use super::{packet::MAIN, recovery::Kept};

/// The maximum number of namespaces of one connection. 16: a page has a few.
pub(super) const MAX_SPACES: usize = 16;

/// The namespaces that the client is connected to, and its subscriptions.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    entered: BTreeSet<Arc<str>>,
    /// The subscriptions of each namespace with their numbers. A plain subscription, whose messages
    /// are the same for all recipients, has no number.
    by_target: HashMap<(Arc<str>, Target), Option<u32>>,
    /// The targets of plain subscriptions whose end the engine has not confirmed. Until then, another
    /// subscription to one of them has a number, by which the two are told apart.
    ending: HashSet<Target>,
    by_number: BTreeMap<u32, Subscription>,
    /// The number of the latest subscription.
    latest: u32,
}

/// A subscription with a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) namespace: Arc<str>,
    pub(super) target: Target,
    /// Where it began.
    pub(super) since: Since,
    /// The position of the last delivery, if there was one.
    pub(super) position: Option<Position>,
    pub(super) presence: bool,
    pub(super) echo: bool,
    /// The window of an acknowledged subscription.
    pub(super) window: Option<u16>,
}

impl Subscription {
    pub(super) fn new(namespace: &Arc<str>, wish: &Subscribe) -> Self {
        Self {
            namespace: Arc::clone(namespace),
            target: wish.target.clone(),
            since: wish.since,
            position: None,
            presence: wish.presence,
            echo: wish.echo,
            window: match wish.flow {
                offhook_engine::Flow::Pushed => None,
                offhook_engine::Flow::Acknowledged { window } => Some(window),
            },
        }
    }

    /// The request that restores this subscription, from the position that the client has reached.
    pub(super) fn again(&self, number: u32) -> Subscribe {
        let since = self.position.map_or(self.since, Since::Position);
        let wish = Subscribe::new(self.target.clone(), since).numbered(number);
        Subscribe {
            presence: self.presence,
            echo: self.echo,
            ..wish
        }
    }

    pub(super) fn kept(&self, number: u32) -> Kept {
        Kept {
            presence: self.presence,
            echo: self.echo,
            window: self.window,
            ..Kept::new(number, &self.target, self.since)
        }
    }

    /// Restores a subscription from a note.
    pub(super) fn from_kept(namespace: &Arc<str>, kept: &Kept) -> Option<Self> {
        Some(Self {
            namespace: Arc::clone(namespace),
            target: kept.target()?,
            since: kept.since()?,
            position: None,
            presence: kept.presence,
            echo: kept.echo,
            window: kept.window,
        })
    }
}

impl Spaces {
    /// The namespace, if the client is connected to it.
    pub(super) fn find(&self, namespace: &str) -> Option<Arc<str>> {
        self.entered.get(namespace).cloned()
    }

    /// Every namespace that the client is connected to.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entered.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entered.is_empty()
    }

    /// Whether no more namespaces may be entered than those that are being entered already.
    pub(super) fn are_full(&self, entering: usize) -> bool {
        self.entered.len().saturating_add(entering) >= MAX_SPACES
    }

    /// The namespace for events that concern no subscription: the main one, if the client is
    /// connected to it.
    pub(super) fn any(&self) -> Option<Arc<str>> {
        self.find(MAIN).or_else(|| self.entered.first().cloned())
    }

    pub(super) fn enter(&mut self, namespace: Arc<str>) {
        self.entered.insert(namespace);
    }

    /// Removes a namespace, and returns its subscriptions.
    pub(super) fn leave(&mut self, namespace: &str) -> Vec<SubscriptionKey> {
        self.entered.remove(namespace);
        let theirs = self.by_target.iter();
        let theirs = theirs.filter(|((of, _), _)| **of == *namespace);
        let keys: Vec<_> = theirs
            .map(|((_, target), number)| key(target, *number))
            .collect();
        self.by_target.retain(|(of, _), _| **of != *namespace);
        self.by_number.retain(|_, s| *s.namespace != *namespace);
        keys
    }

    /// Whether the namespace has a subscription to `target`.
    pub(super) fn has(&self, namespace: &Arc<str>, target: &Target) -> bool {
        let key = (Arc::clone(namespace), target.clone());
        self.by_target.contains_key(&key)
    }

    /// The channels to which the namespace is subscribed.
    pub(super) fn channels(&self, namespace: &str) -> impl Iterator<Item = &ChannelName> {
        let theirs = self.by_target.keys();
        let theirs = theirs.filter(move |(of, _)| **of == *namespace);
        theirs.filter_map(|(_, target)| target.channel())
    }

    /// Begins to end the namespace's subscription to `target`. From now on, the namespace has none, so that
    /// the client can subscribe again before the engine has confirmed the end.
    pub(super) fn end(&mut self, namespace: &Arc<str>, target: &Target) -> Option<SubscriptionKey> {
        let of = (Arc::clone(namespace), target.clone());
        let number = self.by_target.remove(&of)?;
        if number.is_none() {
            self.ending.insert(target.clone());
        }
        Some(key(target, number))
    }

    /// The engine did not end a subscription.
    pub(super) fn not_ended(&mut self, namespace: &Arc<str>, subscription: &SubscriptionKey) {
        let (target, number) = match subscription {
            SubscriptionKey::Id(SubscriptionId(number)) => match self.by_number.get(number) {
                Some(subscription) => (subscription.target.clone(), Some(*number)),
                None => return,
            },
            SubscriptionKey::Target(target) => {
                self.ending.remove(target);
                (target.clone(), None)
            }
        };
        if self.entered.contains(namespace) {
            let of = (Arc::clone(namespace), target);
            self.by_target.entry(of).or_insert(number);
        }
    }

    /// Whether a plain subscription to `target` is ending.
    pub(super) fn is_ending(&self, target: &Target) -> bool {
        self.ending.contains(target)
    }

    /// Adds a plain subscription, whose messages are the same for all recipients.
    pub(super) fn add_plain(&mut self, namespace: &Arc<str>, target: &Target) {
        let key = (Arc::clone(namespace), target.clone());
        self.by_target.entry(key).or_default();
    }

    /// Adds a subscription, and returns its number.
    pub(super) fn add(&mut self, subscription: Subscription) -> u32 {
        // The engine reserves the last number.
        let number = self
            .latest
            .saturating_add(1)
            .min(u32::MAX.saturating_sub(1));
        self.insert(number, subscription);
        number
    }

    /// Adds a subscription of an earlier connection.
    pub(super) fn insert(&mut self, number: u32, subscription: Subscription) {
        self.skip(number);
        let key = (
            Arc::clone(&subscription.namespace),
            subscription.target.clone(),
        );
        self.by_target.insert(key, Some(number));
        self.by_number.insert(number, subscription);
    }

    /// Excludes this number and lower ones from new subscriptions, because the client may send a
    /// position for them.
    pub(super) fn skip(&mut self, number: u32) {
        self.latest = self.latest.max(number);
    }

    pub(super) const fn latest(&self) -> u32 {
        self.latest
    }

    /// Removes a subscription.
    pub(super) fn remove(&mut self, subscription: &SubscriptionKey) {
        match subscription {
            SubscriptionKey::Id(SubscriptionId(number)) => {
                if let Some(removed) = self.by_number.remove(number) {
                    let key = (removed.namespace, removed.target);
                    if self.by_target.get(&key) == Some(&Some(*number)) {
                        self.by_target.remove(&key);
                    }
                }
            }
            SubscriptionKey::Target(target) => {
                if self.ending.remove(target) {
                    return;
                }
                let key = (Arc::from(MAIN), target.clone());
                if self.by_target.get(&key) == Some(&None) {
                    self.by_target.remove(&key);
                }
            }
        }
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Subscription> {
        self.by_number.get_mut(&number)
    }

    /// The subscriptions of a namespace that have numbers.
    pub(super) fn numbered(&self, namespace: &str) -> impl Iterator<Item = (u32, &Subscription)> {
        let all = self.by_number.iter();
        all.filter(move |(_, s)| *s.namespace == *namespace)
            .map(|(number, s)| (*number, s))
    }

    /// Records a subscription's position, and returns its namespace.
    pub(super) fn advance(
        &mut self,
        subscription: &SubscriptionName,
        position: Option<Position>,
    ) -> Option<Arc<str>> {
        let Some(SubscriptionId(number)) = subscription.id else {
            return self.any();
        };
        let subscription = self.by_number.get_mut(&number)?;
        subscription.position = position.or(subscription.position);
        Some(Arc::clone(&subscription.namespace))
    }
}

fn key(target: &Target, number: Option<u32>) -> SubscriptionKey {
    match number {
        Some(number) => SubscriptionKey::Id(SubscriptionId(number)),
        None => SubscriptionKey::Target(target.clone()),
    }
}
