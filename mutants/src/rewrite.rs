//! Writes mutants into a source file, each behind a switch.
//!
//! An operator becomes a choice, `(if on(7) { a > b } else { a >= b })`; a function gets an early
//! return, `if on(8) { return None; }`; guards and deleted arms get similar switches. Text is only
//! inserted, so choices can be nested: a mutant's branch contains the original source, and the
//! other branch contains the switches inside it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::Result;
use crate::list::{Mutant, Place};

/// A file with switches.
pub struct Rewritten {
    pub text: String,
    /// The bytes of `text` that exist for a mutant.
    pub regions: Vec<(Range<usize>, usize)>,
    /// Mutants that cannot be a switch.
    pub left: BTreeSet<usize>,
}

/// Text inserted at a byte of the source.
struct Insertion {
    at: usize,
    /// The order of insertions at the same byte: closing ones first, the inner before the outer,
    /// followed by opening ones, the outer before the inner.
    order: (bool, isize),
    /// Pieces of text, each with the mutant that it belongs to.
    pieces: Vec<(String, Option<usize>)>,
}

/// Rewrites a file with the given mutants, by their numbers.
pub fn rewrite(source: &str, mutants: &BTreeMap<usize, &Mutant>) -> Result<Rewritten> {
    let file = syn::parse_file(source).map_err(|error| error.to_string())?;
    let mut finder = Finder {
        source,
        lines: line_starts(source),
        wanted: mutants,
        left: mutants.keys().copied().collect(),
        insertions: Vec::new(),
    };
    finder.visit_file(&file);
    let Finder {
        mut insertions,
        left,
        ..
    } = finder;
    insertions.sort_by_key(|insertion| (insertion.at, insertion.order));
    let mut text = String::with_capacity(source.len() * 2);
    let mut regions = Vec::new();
    let mut copied = 0;
    for insertion in insertions {
        text.push_str(&source[copied..insertion.at]);
        copied = insertion.at;
        for (piece, mutant) in insertion.pieces {
            let from = text.len();
            text.push_str(&piece);
            if let Some(id) = mutant {
                regions.push((from..text.len(), id));
            }
        }
    }
    text.push_str(&source[copied..]);
    Ok(Rewritten {
        text,
        regions,
        left,
    })
}

fn line_starts(source: &str) -> Vec<usize> {
    let ends = source
        .bytes()
        .enumerate()
        .filter(|(_, byte)| *byte == b'\n');
    std::iter::once(0)
        .chain(ends.map(|(at, _)| at + 1))
        .collect()
}

fn switch(id: usize) -> String {
    format!("crate::__mutants::on({id})")
}

struct Finder<'a> {
    source: &'a str,
    lines: Vec<usize>,
    wanted: &'a BTreeMap<usize, &'a Mutant>,
    /// Mutants whose location has not been found yet.
    left: BTreeSet<usize>,
    insertions: Vec<Insertion>,
}

impl Finder<'_> {
    fn byte(&self, place: proc_macro2::LineColumn) -> usize {
        let line = self.lines[place.line - 1];
        let columns = self.source[line..].char_indices().nth(place.column);
        columns.map_or(self.source.len(), |(at, _)| line + at)
    }

    fn range(&self, span: proc_macro2::Span) -> Range<usize> {
        self.byte(span.start())..self.byte(span.end())
    }

    /// The mutants of a genre that begin where a span begins.
    fn at(&self, genre: &str, span: proc_macro2::Span) -> Vec<(usize, String)> {
        let start = place(span.start());
        let found = self.left.iter().map(|id| (*id, self.wanted[id]));
        let found = found.filter(|(_, mutant)| mutant.genre == genre && mutant.span.start == start);
        found
            .map(|(id, mutant)| (id, mutant.replacement.clone()))
            .collect()
    }

    /// Replaces an expression by a choice between itself and other texts.
    fn choose(&mut self, node: Range<usize>, others: Vec<(usize, String)>) {
        let len = isize::try_from(node.len()).expect("sources are small");
        let mut pieces = vec![("(".to_owned(), None)];
        for (id, text) in others {
            self.left.remove(&id);
            pieces.push((format!("if {} {{ {text} }}", switch(id)), Some(id)));
            pieces.push((" else ".to_owned(), None));
        }
        pieces.push(("{ ".to_owned(), None));
        self.insertions.push(Insertion {
            at: node.start,
            order: (true, -len),
            pieces,
        });
        let pieces = vec![(" })".to_owned(), None)];
        self.insertions.push(Insertion {
            at: node.end,
            order: (false, len),
            pieces,
        });
    }

    fn function(&mut self, block: &syn::Block) {
        let body = place(block.span().start())..place(block.span().end());
        let inside =
            |mutant: &Mutant| mutant.genre == "FnValue" && body.contains(&mutant.span.start);
        // An inner function comes first, since its content is visited before this.
        let found: Vec<_> = self
            .left
            .iter()
            .copied()
            .filter(|id| inside(self.wanted[id]))
            .collect();
        let at = self.byte(block.brace_token.span.open().end());
        for id in found {
            self.left.remove(&id);
            let text = format!(
                " if {} {{ return {}; }} ",
                switch(id),
                self.wanted[&id].replacement
            );
            self.insertions.push(Insertion {
                at,
                order: (true, isize::MIN),
                pieces: vec![(text, Some(id))],
            });
        }
    }
}

fn place(place: proc_macro2::LineColumn) -> Place {
    Place {
        line: place.line,
        column: place.column + 1,
    }
}

/// Whether an expression is a `let`, or contains one joined with `&&`, so that it cannot be moved.
fn has_let(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        let joins_let = has_let(&node.left) || has_let(&node.right);
        let found = self.at("BinaryOperator", node.op.span());
        if !joins_let && !found.is_empty() {
            let (left, right) = (self.range(node.left.span()), self.range(node.right.span()));
            let (left, right) = (&self.source[left], &self.source[right]);
            let others = found
                .into_iter()
                .map(|(id, op)| (id, format!("{left} {op} {right}")))
                .collect();
            self.choose(self.range(node.span()), others);
        }
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        let found = self.at("UnaryOperator", node.op.span());
        if !found.is_empty() {
            let inner = self.source[self.range(node.expr.span())].to_owned();
            let others = found
                .into_iter()
                .map(|(id, op)| (id, format!("{op}{inner}")))
                .collect();
            self.choose(self.range(node.span()), others);
        }
        visit::visit_expr_unary(self, node);
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        if let Some((_, guard)) = &node.guard {
            let found = self.at("MatchArmGuard", guard.span());
            if !found.is_empty() && !has_let(guard) {
                self.choose(self.range(guard.span()), found);
            }
        }
        let deleted = self.at("MatchArm", node.span());
        for (id, _) in deleted {
            self.left.remove(&id);
            let (at, text) = match &node.guard {
                Some((_, guard)) => (
                    self.range(guard.span()).start,
                    format!("!{} && ", switch(id)),
                ),
                None => (
                    self.range(node.pat.span()).end,
                    format!(" if !{} ", switch(id)),
                ),
            };
            self.insertions.push(Insertion {
                at,
                order: (true, isize::MIN),
                pieces: vec![(text, Some(id))],
            });
        }
        visit::visit_arm(self, node);
    }

    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        visit::visit_item_fn(self, node);
        self.function(&node.block);
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        visit::visit_impl_item_fn(self, node);
        self.function(&node.block);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        visit::visit_trait_item_fn(self, node);
        if let Some(block) = &node.default {
            self.function(block);
        }
    }
}
