//! The browser's clock and timer, in the shape of tokio's.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use js_sys::{Function, Reflect, global};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};

/// A point of the browser's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        let performance = Reflect::get(&global(), &"performance".into());
        let now = performance
            .ok()
            .and_then(|performance| performance.dyn_into::<web_sys::Performance>().ok())
            .map_or_else(js_sys::Date::now, |performance| performance.now());
        Self(Duration::try_from_secs_f64(now / 1000.0).unwrap_or_default())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

/// A future that is ready after some time. Dropped, it stops the browser's timer.
#[derive(Debug)]
pub(crate) struct Sleep {
    shared: Arc<Mutex<Alarm>>,
    /// The value returned by `setTimeout`; a number in browsers.
    timer: Option<f64>,
}

#[derive(Debug, Default)]
struct Alarm {
    over: bool,
    waker: Option<Waker>,
}

/// The longest time that `setTimeout` supports: a longer one would elapse immediately.
const LONGEST: f64 = i32::MAX as f64;

/// Waits. Rounded up to whole milliseconds, as browsers count.
pub(crate) fn sleep(time: Duration) -> Sleep {
    let shared = Arc::new(Mutex::new(Alarm::default()));
    let alarm = Arc::clone(&shared);
    let fire = Closure::once_into_js(move || {
        let mut alarm = lock(&alarm);
        alarm.over = true;
        let waker = alarm.waker.take();
        drop(alarm);
        if let Some(waker) = waker {
            waker.wake();
        }
    });
    let millis = (time.as_secs_f64() * 1000.0).ceil().min(LONGEST);
    let timer = function("setTimeout")
        .and_then(|set| set.call2(&JsValue::UNDEFINED, &fire, &millis.into()).ok());
    Sleep {
        shared,
        timer: timer.and_then(|timer| timer.as_f64()),
    }
}

fn lock(alarm: &Mutex<Alarm>) -> MutexGuard<'_, Alarm> {
    alarm.lock().unwrap_or_else(PoisonError::into_inner)
}

fn function(name: &str) -> Option<Function> {
    Reflect::get(&global(), &name.into()).ok()?.dyn_into().ok()
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarm = lock(&self.shared);
        if alarm.over {
            return Poll::Ready(());
        }
        alarm.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if lock(&self.shared).over {
            return;
        }
        if let (Some(timer), Some(clear)) = (self.timer, function("clearTimeout")) {
            let _stopped = clear.call1(&JsValue::UNDEFINED, &timer.into());
        }
    }
}
