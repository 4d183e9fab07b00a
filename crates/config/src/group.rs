//! The definition of settings: each is defined once, as a field of a group, for everything that
//! reads or shows it.
//!
//! From one definition, the macro [`group!`] makes the plain struct, its defaults, and its
//! [`Group::visit`], which passes every field to a [`Visitor`]. The file, the environment, the
//! flags, the printed configuration, the example and the reference are all handled by visitors.

use super::channels::ChannelRule;
use super::given::{Given, Misfit};
use super::kind::Kind;

/// Settings that belong together: a table in the file.
pub(crate) trait Group {
    /// A description of the group.
    fn about(&self) -> &'static str;

    /// Passes each setting to the visitor, in the order of definition.
    fn visit(&mut self, visitor: &mut dyn Visitor);
}

/// Reads, writes or lists settings.
pub(crate) trait Visitor {
    /// Visits a setting of the current group.
    fn setting(&mut self, name: &'static str, about: &'static str, field: &mut dyn Field);

    /// Visits a group within it.
    fn group(&mut self, name: &'static str, group: &mut dyn Group);

    /// Visits the rules of channels: a list of groups.
    fn rules(&mut self, name: &'static str, about: &'static str, rules: &mut Vec<ChannelRule>);
}

/// A field of the configuration, together with its [`Kind`].
pub(crate) trait Field {
    /// The accepted values, in words.
    fn expected(&self) -> String;

    /// The accepted values, in one word.
    fn placeholder(&self) -> String;

    /// Sets the value.
    fn set(&mut self, given: &Given) -> Result<(), Vec<Misfit>>;

    /// The value in TOML; none if it must not be shown.
    fn shown(&self) -> Option<String>;

    /// The value in TOML as a default, the same on any machine.
    fn shown_as_default(&self) -> Option<String>;

    /// Whether a flag without a value enables it.
    fn is_switch(&self) -> bool;

    /// Whether the flag may be given several times.
    fn is_list(&self) -> bool;
}

/// A value with its kind.
pub(crate) struct Typed<'a, K: Kind>(pub(crate) K, pub(crate) &'a mut K::Value);

impl<K: Kind> Field for Typed<'_, K> {
    fn expected(&self) -> String {
        self.0.expected()
    }

    fn placeholder(&self) -> String {
        self.0.placeholder()
    }

    fn set(&mut self, given: &Given) -> Result<(), Vec<Misfit>> {
        *self.1 = self.0.read(given)?;
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        self.0.write(self.1)
    }

    fn shown_as_default(&self) -> Option<String> {
        self.0.write_default(self.1)
    }

    fn is_switch(&self) -> bool {
        self.0.is_switch()
    }

    fn is_list(&self) -> bool {
        self.0.is_list()
    }
}

/// Defines a group. With `pub struct` it also makes the struct and its defaults; with `for` it
/// describes a struct of another crate. The first paragraph of a setting's documentation describes
/// it, the second gives the reason for its default.
macro_rules! group {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr => $kind:expr;)*
        }
        $(groups { $($(#[doc = $inner_doc:literal])+ $inner:ident: $inner_type:ty;)* })?
        $(rules { $(#[doc = $rules_doc:literal])+ $rules:ident; })?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
            $($($(#[doc = $inner_doc])+ pub $inner: $inner_type,)*)?
            $($(#[doc = $rules_doc])+ pub $rules: Vec<$crate::ChannelRule>,)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    $($($inner: <$inner_type>::default(),)*)?
                    $($rules: vec![$crate::ChannelRule::default()],)?
                }
            }
        }

        $crate::group::group! {
            $(#[doc = $about])+
            for $name {
                $($(#[doc = $doc])+ $field => $kind;)*
            }
            $(groups { $($inner;)* })?
            $(rules { $(#[doc = $rules_doc])+ $rules; })?
        }
    };
    (
        $(#[doc = $about:literal])+
        for $name:ident {
            $($(#[doc = $doc:literal])+ $field:ident => $kind:expr;)*
        }
        $(groups { $($inner:ident;)* })?
        $(rules { $(#[doc = $rules_doc:literal])+ $rules:ident; })?
    ) => {
        impl $crate::group::Group for $name {
            fn about(&self) -> &'static str {
                concat!($($about, "\n"),+)
            }

            fn visit(&mut self, visitor: &mut dyn $crate::group::Visitor) {
                $(visitor.setting(
                    stringify!($field),
                    concat!($($doc, "\n"),+),
                    &mut $crate::group::Typed($kind, &mut self.$field),
                );)*
                $($(visitor.group(stringify!($inner), &mut self.$inner);)*)?
                $(visitor.rules(
                    stringify!($rules),
                    concat!($($rules_doc, "\n"),+),
                    &mut self.$rules,
                );)?
            }
        }
    };
}

pub(crate) use group;
