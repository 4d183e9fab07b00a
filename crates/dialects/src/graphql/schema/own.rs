//! The types of the channels.

use super::{EnumValue, Field, Input, Ref, Type, TypeKind, empty};

types! {
    QUERY = Object "Query", "What can be read once." {
        fields: fields! {
            history[
                channel: A_STRING, "The channel.";
                since: SINCE_, "Publications after this position. Without it, the newest are read.";
                before: SINCE_, "The newest publications before this position, instead of those after `since`.";
                limit: INT_ = "100", "How many publications at most.";
            ]: HISTORY_, "Retained publications of a channel, oldest first.";
            state[
                channel: A_STRING, "The channel.";
                since: SINCE_, "Values that were published after this position, to read on after a page.";
                limit: INT_ = "100", "How many values at most.";
            ]: STATE_, "The state of a channel: the newest publication of each value of the tag `key`.";
            presence[
                channel: A_STRING, "The channel.";
            ]: PRESENCE_, "The members of a channel.";
            channels[
                prefix: STRING_ = "\"\"", "Only channels whose names start with this.";
                after: STRING_, "Only channels whose names come after this one, to read on after a page.";
                limit: INT_ = "100", "How many channels are looked at, 1 to 1000.";
            ]: CHANNELS_, "The channels that have subscribers, and that the client may subscribe to.";
        }
    };
    MUTATION = Object "Mutation", "What changes something." {
        fields: fields! {
            publish[
                channel: A_STRING, "The channel.";
                data: A_JSON, "The data: any JSON but null.";
                key: STRING_, "With the same key, the same client publishes once, however often it repeats the request.";
                tags: JSON_, "An object of texts that is published with the data.";
            ]: PUBLISHED_, "Publishes to a channel.";
        }
    };
    SUBSCRIPTION = Object "Subscription", "What is received as it happens." {
        fields: fields! {
            channel[
                name: A_STRING, "The channel.";
                since: SINCE_, "Start after this position: publications since then come first.";
                last: INT_, "Start with the newest so many retained publications, instead of after a position.";
            ]: MESSAGE_, "The publications of a channel. If some are missing, it is null once, with an error whose code is `gap`.";
            filter[
                pattern: A_STRING, "A pattern of names, such as `a/+/b` and `a/#`.";
                since: SINCE_, "Start after this position, which is the `at` of a message of the same filter.";
            ]: MESSAGE_, "The publications of all channels that match a pattern.";
            presence[
                channel: A_STRING, "The channel.";
            ]: PRESENCE_CHANGE_, "The members of a channel, and then their joins and leaves. The client becomes a member itself.";
        }
    };
    MESSAGE = Object "Message", "A publication." {
        fields: fields! {
            id: AN_ID, "Unique among all messages.";
            channel: A_STRING, "The channel.";
            epoch: A_STRING, "The first half of its position in the channel; compare it for equality only.";
            offset: A_STRING, "The second half of its position: a number.";
            data: JSON_, "The data; a string if it is text, null if it is bytes.";
            base64: STRING_, "The data if it is bytes.";
            time: A_FLOAT, "When the server accepted it, in milliseconds since 1970.";
            key: STRING_, "The key with which it was published.";
            tags: JSON_, "An object of texts.";
            user: STRING_, "The user who published it.";
            session: ID_, "The session that published it; null if the server's side did.";
            at: A_PLACE, "The position with which a subscription continues after this message. Of a channel's message, it is the message's own.";
        }
    };
    PLACE = Object "Place", "A position, as it is given as `since`." {
        fields: fields! {
            epoch: A_STRING, "The epoch.";
            offset: A_STRING, "The offset.";
        }
    };
    HISTORY = Object "History", "Retained publications." {
        fields: fields! {
            epoch: A_STRING, "The epoch of the channel's newest position.";
            offset: A_STRING, "The offset of the channel's newest position.";
            messages: MESSAGES, "The publications, oldest first.";
            gap: STRING_, "Why publications are missing between the requested position and the first of these.";
            more: A_BOOLEAN, "Whether there may be more to read.";
        }
    };
    STATE = Object "State", "The state of a channel, or a page of it." {
        fields: fields! {
            epoch: A_STRING, "The epoch of the position up to which the state is.";
            offset: A_STRING, "The offset of the position up to which the state is.";
            messages: MESSAGES, "The newest publication of each value of the tag `key`.";
            more: A_BOOLEAN, "Whether there is more to read after the position of the last of these.";
        }
    };
    MEMBER = Object "Member", "A session that is present in a channel." {
        fields: fields! {
            session: AN_ID, "The session.";
            user: STRING_, "Its user; null if it is anonymous.";
            info: JSON_, "What it tells about itself.";
        }
    };
    PRESENCE = Object "Presence", "The members of a channel." {
        fields: fields! {
            members: SURE_MEMBERS, "The first members.";
            total: AN_INT, "How many there are.";
        }
    };
    PRESENCE_CHANGE = Object "PresenceChange", "A change of the members of a channel." {
        fields: fields! {
            channel: A_STRING, "The channel.";
            event: A_PRESENCE_EVENT, "What happened.";
            member: MEMBER_, "Who joined or left.";
            members: MEMBERS, "The first members, with `MEMBERS`.";
            total: INT_, "How many members there are, with `MEMBERS`.";
        }
    };
    PRESENCE_EVENT = Enum "PresenceEvent", "What happened in a channel." {
        values: values! {
            MEMBERS, "The list of members: at the start, and after changes that could not be delivered.";
            JOIN, "A member joined, or its info changed.";
            LEAVE, "A member left.";
        }
    };
    CHANNELS = Object "Channels", "Channels that have subscribers." {
        fields: fields! {
            channels: SURE_CHANNELS, "The channels, in the order of their names.";
            next: STRING_, "The name to read on after; null at the end.";
        }
    };
    CHANNEL = Object "Channel", "A channel that has subscribers." {
        fields: fields! {
            name: A_STRING, "Its name.";
            members: INT_, "How many members it has; null if the client may not ask for them.";
        }
    };
    PUBLISHED = Object "Published", "The position of a publication." {
        fields: fields! {
            epoch: A_STRING, "The epoch.";
            offset: A_STRING, "The offset.";
            duplicate: A_BOOLEAN, "Whether it was published earlier, with the same key.";
        }
    };
    SINCE = InputObject "Since", "A position that the server gave." {
        inputs: inputs! {
            epoch: A_STRING, "The epoch.";
            offset: A_STRING, "The offset.";
        }
    };
    JSON = Scalar "JSON", "Any JSON value." {};
    STRING = Scalar "String", "Text." {};
    BOOLEAN = Scalar "Boolean", "`true` or `false`." {};
    INT = Scalar "Int", "A whole number of 32 bits." {};
    FLOAT = Scalar "Float", "A number." {};
    ID = Scalar "ID", "A name that is unique, as text." {};
}

// A name that ends in an underscore may be null.
uses! {
    STRING_ = Named STRING;
    A_STRING = NonNull STRING_;
    BOOLEAN_ = Named BOOLEAN;
    A_BOOLEAN = NonNull BOOLEAN_;
    INT_ = Named INT;
    AN_INT = NonNull INT_;
    FLOAT_ = Named FLOAT;
    A_FLOAT = NonNull FLOAT_;
    ID_ = Named ID;
    AN_ID = NonNull ID_;
    JSON_ = Named JSON;
    A_JSON = NonNull JSON_;
    SINCE_ = Named SINCE;
    HISTORY_ = Named HISTORY;
    STATE_ = Named STATE;
    PRESENCE_ = Named PRESENCE;
    CHANNELS_ = Named CHANNELS;
    CHANNEL_ = Named CHANNEL;
    A_CHANNEL = NonNull CHANNEL_;
    CHANNEL_LIST = List A_CHANNEL;
    SURE_CHANNELS = NonNull CHANNEL_LIST;
    PUBLISHED_ = Named PUBLISHED;
    MESSAGE_ = Named MESSAGE;
    A_MESSAGE = NonNull MESSAGE_;
    MESSAGE_LIST = List A_MESSAGE;
    MESSAGES = NonNull MESSAGE_LIST;
    PLACE_ = Named PLACE;
    A_PLACE = NonNull PLACE_;
    MEMBER_ = Named MEMBER;
    A_MEMBER = NonNull MEMBER_;
    MEMBERS = List A_MEMBER;
    SURE_MEMBERS = NonNull MEMBERS;
    PRESENCE_CHANGE_ = Named PRESENCE_CHANGE;
    PRESENCE_EVENT_ = Named PRESENCE_EVENT;
    A_PRESENCE_EVENT = NonNull PRESENCE_EVENT_;
}
