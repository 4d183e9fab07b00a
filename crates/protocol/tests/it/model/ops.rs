//! The operations of both ends, and the properties of the link between them.

use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Send(Side, usize),
    Urgent(Side, usize),
    Prepared(Side, usize),
    Piece(Side, usize, bool),
    Ping(Side),
    PingWith(Side),
    Pong(Side),
    Close(Side, u16),
    Chunks(Side, bool),
    Pass(u64),
    Lose,
}

/// The properties of the link and the ends.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) links: [LinkSetup; 2],
    pub(super) fragment_size: usize,
    pub(super) deflate: Option<Deflating>,
}

/// One direction.
#[derive(Clone, Debug)]
pub(super) struct LinkSetup {
    pub(super) delay_ms: u64,
    pub(super) segments: Vec<usize>,
    pub(super) capacity: usize,
}

/// What both ends offer for permessage-deflate.
#[derive(Clone, Debug)]
pub(super) struct Deflating {
    /// 0 is shared, 9 to 12 pooled, higher values dedicated.
    pub(super) memory: [u8; 2],
    pub(super) server_no_context: bool,
    pub(super) client_no_context: bool,
    pub(super) threshold: usize,
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let deflate = (
        any::<[bool; 2]>(),
        prop::array::uniform2(0..16_u8),
        0..200_usize,
    )
        .prop_map(
            |([server_no_context, client_no_context], memory, threshold)| Deflating {
                memory,
                server_no_context,
                client_no_context,
                threshold,
            },
        );
    let fragment_size = prop_oneof![Just(1000), Just(64 * 1024), 50..5000_usize];
    (
        prop::array::uniform2(link()),
        fragment_size,
        prop::option::of(deflate),
    )
        .prop_map(|(links, fragment_size, deflate)| Setup {
            links,
            fragment_size,
            deflate,
        })
}

fn link() -> impl Strategy<Value = LinkSetup> {
    let segments = prop_oneof![
        2 => Just(Vec::new()),
        3 => prop::collection::vec(1..2000_usize, 1..5),
        1 => prop::collection::vec(1..20_usize, 1..5),
    ];
    let capacity = prop_oneof![Just(usize::MAX), 2000..100_000_usize];
    (0..100_u64, segments, capacity).prop_map(|(delay_ms, segments, capacity)| LinkSetup {
        delay_ms,
        segments,
        capacity,
    })
}

pub(super) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let bulk = (side(), 300_000..500_000_usize).prop_map(|(side, size)| Op::Send(side, size));
    let ops = prop::collection::vec(op(), 1..40);
    // In one of ten cases, the link is congested from the start.
    (prop::option::weighted(0.1, bulk), ops)
        .prop_map(|(bulk, ops)| bulk.into_iter().chain(ops).collect())
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

fn op() -> impl Strategy<Value = Op> {
    let size = || {
        prop_oneof![
            8 => 0..200_usize,
            4 => 200..10_000_usize,
            1 => 10_000..100_000_usize,
            1 => 100_000..300_000_usize,
        ]
    };
    let code = prop_oneof![Just(1000_u16), Just(1001), 3000..5000_u16];
    prop_oneof![
        60 => (side(), size()).prop_map(|(side, size)| Op::Send(side, size)),
        15 => (side(), size()).prop_map(|(side, size)| Op::Urgent(side, size)),
        15 => (side(), size()).prop_map(|(side, size)| Op::Prepared(side, size)),
        30 => (side(), size(), prop::bool::weighted(0.4))
            .prop_map(|(side, size, last)| Op::Piece(side, size, last)),
        5 => side().prop_map(Op::Ping),
        15 => side().prop_map(Op::PingWith),
        5 => side().prop_map(Op::Pong),
        4 => (side(), code).prop_map(|(side, code)| Op::Close(side, code)),
        15 => (side(), any::<bool>()).prop_map(|(side, chunks)| Op::Chunks(side, chunks)),
        30 => (0..300_u64).prop_map(Op::Pass),
        3 => (0..100_000_u64).prop_map(Op::Pass),
        1 => Just(Op::Lose),
    ]
}
