//! Dropping long chains without recursion.

use std::cell::RefCell;
use std::sync::Arc;

use super::node::Edge;
use crate::tensor::ViewOf;

/// Something whose drop may drop more of its kind.
pub(crate) enum Chained {
    Edge(Edge),
    View(Arc<ViewOf>),
}

impl Chained {
    fn shared(&self) -> bool {
        match self {
            Chained::Edge(Edge::Node(node, _)) => Arc::strong_count(node) > 1,
            Chained::Edge(Edge::Leaf(cell)) => Arc::strong_count(cell) > 1,
            Chained::View(view) => Arc::strong_count(view) > 1,
        }
    }
}

thread_local! {
    static PENDING: RefCell<Option<Vec<Chained>>> = const { RefCell::new(None) };
}

/// Drops a link: links that die meanwhile queue up.
pub(crate) fn release(link: Chained) {
    if link.shared() {
        return;
    }
    let mut link = Some(link);
    let nested = PENDING.try_with(|pending| {
        let mut pending = pending.borrow_mut();
        match pending.as_mut() {
            Some(list) => {
                list.extend(link.take());
                true
            }
            None => {
                *pending = Some(Vec::new());
                false
            }
        }
    });
    if nested != Ok(false) {
        return;
    }
    while let Some(next) = link {
        drop(next);
        link = PENDING.with(|p| p.borrow_mut().as_mut().and_then(Vec::pop));
    }
    PENDING.with(|p| *p.borrow_mut() = None);
}
