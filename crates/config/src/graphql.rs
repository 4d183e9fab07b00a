//! Settings of GraphQL.

use super::group::group;
use super::kind::{Switch, UrlPath, some};

group! {
    /// GraphQL, over WebSocket (`graphql-transport-ws`) and HTTP requests.
    pub struct GraphQl {
        /// Serve GraphQL.
        ///
        /// It is one more path with the same rules of channels.
        enabled: bool = true => Switch;

        /// The path of GraphQL.
        ///
        /// The path that clients of other servers expect.
        path: String = "/graphql".to_owned() => UrlPath;

        /// Whether clients can ask for the schema, as tools and code generators do.
        ///
        /// The schema is the same for every server, so that it tells nothing about yours.
        introspection: bool = true => Switch;

        /// How deeply the fields of a document may nest, at most 64.
        ///
        /// The introspection of stock tools nests 15 deep.
        depth: usize = 20 => some();

        /// How many fields a document may ask for, counting those of a fragment wherever it is used.
        ///
        /// Twice what the introspection of stock tools asks for.
        fields: usize = 500 => some();

        /// How many fields of a document may have an alias.
        ///
        /// More than a screen needs: with an alias, the same field can be asked for again and again.
        aliases: usize = 32 => some();

        /// How many operations one request may have in an array.
        ///
        /// What a client collects while a page renders; their results share the limit of one answer.
        batch: usize = 16 => some();
    }
}
