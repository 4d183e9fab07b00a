//! The classes of clients that the configuration defines.

use std::sync::Arc;

use offhook_engine::{Identity, Limits};

/// The names of all classes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes(Arc<[Arc<str>]>);

impl Classes {
    /// The classes that the configuration defines.
    pub(crate) fn of(limits: &Limits) -> Self {
        let names = limits.classes.iter().map(|class| Arc::clone(&class.name));
        Self(names.collect())
    }

    /// Checks that the class of an identity exists. Otherwise a client of an unknown class would
    /// silently get the limits of clients without a class.
    pub(crate) fn check(&self, identity: &mut Identity) -> Result<(), String> {
        let Some(name) = &identity.class else {
            return Ok(());
        };
        let Some(known) = self.0.iter().find(|class| *class == name) else {
            return Err(format!(
                "the class {name} is not defined on this server; define it in limits.classes"
            ));
        };
        // All clients of a class share one name.
        identity.class = Some(Arc::clone(known));
        Ok(())
    }
}
