//! The browser's sockets of this thread, with the listeners on them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{CloseEvent, Event, MessageEvent};

use super::Shared;
use super::state::{PASSED, PASSED_REASON};
use crate::message::Message;

/// A socket's key; never used twice, so that a thread without the socket finds nothing.
pub(crate) type Key = usize;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static LIVE: RefCell<BTreeMap<Key, Live>> = const { RefCell::new(BTreeMap::new()) };
}

/// A socket and its event listeners, kept while a handle to it exists.
struct Live {
    socket: web_sys::WebSocket,
    _opened: Closure<dyn FnMut(Event)>,
    _received: Closure<dyn FnMut(MessageEvent)>,
    _closed: Closure<dyn FnMut(CloseEvent)>,
}

/// Listens to a socket, and keeps it.
pub(super) fn keep(socket: web_sys::WebSocket, shared: &Arc<Shared>) -> Key {
    socket.set_binary_type(web_sys::BinaryType::Arraybuffer);
    let to = Arc::clone(shared);
    let opened = Closure::<dyn FnMut(Event)>::new(move |_| to.opened());
    let to = Arc::clone(shared);
    let received = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        if let Some(message) = message(&event)
            && !to.received(message)
            && let Some(socket) = event.current_target()
            && let Ok(socket) = socket.dyn_into::<web_sys::WebSocket>()
        {
            // Code and reason are in order.
            let _closing = socket.close_with_code_and_reason(PASSED.get(), PASSED_REASON);
        }
    });
    let to = Arc::clone(shared);
    let closed = Closure::<dyn FnMut(CloseEvent)>::new(move |event: CloseEvent| {
        to.closed(event.code(), &event.reason(), event.was_clean());
    });
    socket.set_onopen(Some(opened.as_ref().unchecked_ref()));
    socket.set_onmessage(Some(received.as_ref().unchecked_ref()));
    // `error` carries no information that `close` does not carry too.
    socket.set_onclose(Some(closed.as_ref().unchecked_ref()));
    let key = NEXT.fetch_add(1, Ordering::Relaxed);
    let live = Live {
        socket,
        _opened: opened,
        _received: received,
        _closed: closed,
    };
    LIVE.with_borrow_mut(|all| all.insert(key, live));
    key
}

/// Uses a socket. `None` if it is gone, or another thread's.
pub(crate) fn with<T>(key: Key, use_it: impl FnOnce(&web_sys::WebSocket) -> T) -> Option<T> {
    // Not called under the borrow: the browser may call a listener meanwhile.
    let socket = LIVE.with_borrow(|all| all.get(&key).map(|live| live.socket.clone()))?;
    Some(use_it(&socket))
}

/// Stops listening to a socket, and forgets it. Once nothing is left of it here, the browser may
/// still have something to send.
pub(crate) fn forget(key: Key) {
    let Some(live) = LIVE.with_borrow_mut(|all| all.remove(&key)) else {
        return;
    };
    live.socket.set_onopen(None);
    live.socket.set_onmessage(None);
    live.socket.set_onclose(None);
}

fn message(event: &MessageEvent) -> Option<Message> {
    let data = event.data();
    if let Some(text) = data.as_string() {
        return Some(text.into());
    }
    let bytes = data.dyn_into::<ArrayBuffer>().ok()?;
    Some(Uint8Array::new(&bytes).to_vec().into())
}
