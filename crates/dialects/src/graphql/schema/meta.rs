//! What introspection tells: the types of the schema itself, its directives, and the fields of every object.

use super::{Directive, EnumValue, Field, Input, Ref, Type, TypeKind, empty, own::*};

// GraphQL §4.2.
types! {
    SCHEMA = Object "__Schema", "The schema of the server." {
        fields: fields! {
            description: STRING_, "What it is for.";
            types: SURE_TYPES, "All its types.";
            queryType: A_TYPE, "The type of queries.";
            mutationType: TYPE_, "The type of mutations.";
            subscriptionType: TYPE_, "The type of subscriptions.";
            directives: SURE_DIRECTIVES, "All its directives.";
        }
    };
    TYPE = Object "__Type", "A type, or a list or non-null use of one." {
        fields: fields! {
            kind: A_TYPE_KIND, "Which kind of type.";
            name: STRING_, "Its name.";
            description: STRING_, "What it is.";
            specifiedByURL: STRING_, "Of a scalar: its specification.";
            fields[includeDeprecated: BOOLEAN_ = "false", "Whether deprecated fields are included.";]: FIELDS, "The fields of an object.";
            interfaces: TYPES_, "The interfaces of an object.";
            possibleTypes: TYPES_, "The types of an interface or a union.";
            enumValues[includeDeprecated: BOOLEAN_ = "false", "Whether deprecated values are included.";]: ENUM_VALUES, "The values of an enum.";
            inputFields[includeDeprecated: BOOLEAN_ = "false", "Whether deprecated fields are included.";]: INPUT_VALUES, "The fields of an input object.";
            ofType: TYPE_, "The type within a list or a non-null use.";
            isOneOf: BOOLEAN_, "Of an input object: whether exactly one of its fields is given.";
        }
    };
    FIELD = Object "__Field", "A field of an object." {
        fields: fields! {
            name: A_STRING, "Its name.";
            description: STRING_, "What it is.";
            args[includeDeprecated: BOOLEAN_ = "false", "Whether deprecated arguments are included.";]: SURE_INPUT_VALUES, "Its arguments.";
            type: A_TYPE, "Its type.";
            isDeprecated: A_BOOLEAN, "Whether it is deprecated.";
            deprecationReason: STRING_, "Why it is deprecated.";
        }
    };
    INPUT_VALUE = Object "__InputValue", "An argument, or a field of an input object." {
        fields: fields! {
            name: A_STRING, "Its name.";
            description: STRING_, "What it is.";
            type: A_TYPE, "Its type.";
            defaultValue: STRING_, "Its default, as it would be written in a document.";
            isDeprecated: A_BOOLEAN, "Whether it is deprecated.";
            deprecationReason: STRING_, "Why it is deprecated.";
        }
    };
    ENUM_VALUE = Object "__EnumValue", "A value of an enum." {
        fields: fields! {
            name: A_STRING, "Its name.";
            description: STRING_, "What it is.";
            isDeprecated: A_BOOLEAN, "Whether it is deprecated.";
            deprecationReason: STRING_, "Why it is deprecated.";
        }
    };
    DIRECTIVE = Object "__Directive", "A directive." {
        fields: fields! {
            name: A_STRING, "Its name.";
            description: STRING_, "What it does.";
            isRepeatable: A_BOOLEAN, "Whether it may be given several times at one place.";
            locations: SURE_LOCATIONS, "Where it may be given.";
            args[includeDeprecated: BOOLEAN_ = "false", "Whether deprecated arguments are included.";]: SURE_INPUT_VALUES, "Its arguments.";
        }
    };
    TYPE_KIND = Enum "__TypeKind", "The kinds of types." {
        values: values! {
            SCALAR, "A scalar.";
            OBJECT, "An object.";
            INTERFACE, "An interface.";
            UNION, "A union.";
            ENUM, "An enum.";
            INPUT_OBJECT, "An input object.";
            LIST, "A list.";
            NON_NULL, "A value that is never null.";
        }
    };
    DIRECTIVE_LOCATION = Enum "__DirectiveLocation", "Where a directive may be given." {
        values: values! {
            QUERY, "A query.";
            MUTATION, "A mutation.";
            SUBSCRIPTION, "A subscription.";
            FIELD, "A field of a selection.";
            FRAGMENT_DEFINITION, "The definition of a fragment.";
            FRAGMENT_SPREAD, "The use of a fragment.";
            INLINE_FRAGMENT, "An inline fragment.";
            VARIABLE_DEFINITION, "The definition of a variable.";
            SCHEMA, "A schema.";
            SCALAR, "A scalar.";
            OBJECT, "An object.";
            FIELD_DEFINITION, "The definition of a field.";
            ARGUMENT_DEFINITION, "The definition of an argument.";
            INTERFACE, "An interface.";
            UNION, "A union.";
            ENUM, "An enum.";
            ENUM_VALUE, "A value of an enum.";
            INPUT_OBJECT, "An input object.";
            INPUT_FIELD_DEFINITION, "The definition of a field of an input object.";
        }
    };
}

// As in `own`.
uses! {
    SCHEMA_ = Named SCHEMA;
    A_SCHEMA = NonNull SCHEMA_;
    TYPE_ = Named TYPE;
    A_TYPE = NonNull TYPE_;
    TYPES_ = List A_TYPE;
    SURE_TYPES = NonNull TYPES_;
    FIELD_ = Named FIELD;
    A_FIELD = NonNull FIELD_;
    FIELDS = List A_FIELD;
    INPUT_VALUE_ = Named INPUT_VALUE;
    AN_INPUT_VALUE = NonNull INPUT_VALUE_;
    INPUT_VALUES = List AN_INPUT_VALUE;
    SURE_INPUT_VALUES = NonNull INPUT_VALUES;
    ENUM_VALUE_ = Named ENUM_VALUE;
    AN_ENUM_VALUE = NonNull ENUM_VALUE_;
    ENUM_VALUES = List AN_ENUM_VALUE;
    DIRECTIVE_ = Named DIRECTIVE;
    A_DIRECTIVE = NonNull DIRECTIVE_;
    DIRECTIVE_LIST = List A_DIRECTIVE;
    SURE_DIRECTIVES = NonNull DIRECTIVE_LIST;
    TYPE_KIND_ = Named TYPE_KIND;
    A_TYPE_KIND = NonNull TYPE_KIND_;
    LOCATION_ = Named DIRECTIVE_LOCATION;
    A_LOCATION = NonNull LOCATION_;
    LOCATION_LIST = List A_LOCATION;
    SURE_LOCATIONS = NonNull LOCATION_LIST;
}

/// A field that every object has (GraphQL §4.1).
pub(in crate::graphql) static TYPE_NAME: Field = Field {
    name: "__typename",
    about: "The name of the object's type.",
    inputs: &[],
    kind: &A_STRING,
};

/// The fields of introspection, which only the type of queries has.
pub(in crate::graphql) static META: &[Field] = fields! {
    __schema: A_SCHEMA, "The schema.";
    __type[name: A_STRING, "The name of the type.";]: TYPE_, "A type by its name.";
};

/// The directives of a document.
pub(in crate::graphql) static DIRECTIVES: &[Directive] = &[
    Directive {
        name: "include",
        about: "Includes a field or fragment only if the argument is true.",
        locations: &["FIELD", "FRAGMENT_SPREAD", "INLINE_FRAGMENT"],
        inputs: inputs! { if: A_BOOLEAN, "Whether it is included."; },
    },
    Directive {
        name: "skip",
        about: "Leaves out a field or fragment if the argument is true.",
        locations: &["FIELD", "FRAGMENT_SPREAD", "INLINE_FRAGMENT"],
        inputs: inputs! { if: A_BOOLEAN, "Whether it is left out."; },
    },
    Directive {
        name: "deprecated",
        about: "Marks what should no longer be used.",
        locations: &[
            "FIELD_DEFINITION",
            "ARGUMENT_DEFINITION",
            "INPUT_FIELD_DEFINITION",
            "ENUM_VALUE",
        ],
        inputs: inputs! { reason: STRING_ = "\"No longer supported\"", "Why, and what to use instead."; },
    },
    Directive {
        name: "specifiedBy",
        about: "Names the specification of a scalar.",
        locations: &["SCALAR"],
        inputs: inputs! { url: A_STRING, "The address of the specification."; },
    },
];
