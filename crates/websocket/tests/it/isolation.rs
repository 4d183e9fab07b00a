//! No user code runs under a lock of the library, and runtimes do not depend on each other.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use offhook::{CloseCode, Pair, Sender, WebSocket, pair};
use tokio::runtime::{Builder, Runtime};

/// Longer than any of this takes on any machine: a thread still running then is stuck.
const STUCK: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs this on its own thread, and fails if it gets stuck: a deadlock would never end.
fn without_deadlock<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::sync_channel(1);
    std::thread::spawn(move || done.send(run()));
    ended.recv_timeout(STUCK).expect("it is not stuck")
}

#[test]
fn handlers_that_send_to_each_others_connection_block_nobody() {
    /// Answers each message with one to the other's connection; both run at once on two threads.
    async fn relay(mut socket: WebSocket, other: Sender, met: Arc<std::sync::Barrier>) {
        let mut first = true;
        let ended = socket.each(|message, _| {
            if std::mem::take(&mut first) {
                met.wait();
            }
            other.put(message).map(drop)
        });
        ended.await.unwrap();
    }
    without_deadlock(|| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(3)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut one, serving_one) = pair();
            let (mut two, serving_two) = pair();
            let met = Arc::new(std::sync::Barrier::new(2));
            let senders = (serving_one.sender(), serving_two.sender());
            tokio::spawn(relay(serving_one, senders.1, Arc::clone(&met)));
            tokio::spawn(relay(serving_two, senders.0, met));
            for _ in 0..100 {
                one.send("a").await.unwrap();
                two.send("b").await.unwrap();
            }
            for _ in 0..100 {
                assert_eq!(one.recv().await.unwrap(), Some("b".into()));
                assert_eq!(two.recv().await.unwrap(), Some("a".into()));
            }
        });
    });
}

#[test]
fn a_handler_may_use_a_sender_of_its_own_connection() {
    without_deadlock(|| {
        runtime().block_on(async {
            let (mut client, mut server) = pair();
            let sender = server.sender();
            tokio::spawn(async move {
                server
                    .each(|message, _| {
                        assert_eq!(sender.buffered_amount(), 0);
                        sender.put(message).map(drop)
                    })
                    .await
            });
            client.send("hello").await.unwrap();
            assert_eq!(client.recv().await.unwrap(), Some("hello".into()));
        });
    });
}

/// A waker that queries the connection: under the library's lock it would deadlock.
struct Looking(Sender, AtomicUsize);

impl Wake for Looking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let _state = self.0.state();
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

fn looking(socket: &WebSocket) -> (Arc<Looking>, Waker) {
    let looking = Arc::new(Looking(socket.sender(), AtomicUsize::new(0)));
    (Arc::clone(&looking), Waker::from(looking))
}

#[test]
fn wakers_may_use_the_connection_that_wakes_them() {
    without_deadlock(|| {
        runtime().block_on(async {
            let (mut client, server, link) = Pair::new().capacity(1_000).open();
            let (woken, waker) = looking(&client);
            let mut cx = Context::from_waker(&waker);

            // Waits for room, for everything to be sent, for a pong and for the end.
            link.stall();
            while client.put(vec![1; 100_000]).unwrap() < 1_000_000 {}
            let sender = client.sender();
            let mut room = Box::pin(sender.room());
            let mut drained = Box::pin(sender.flush());
            let mut ping = Box::pin(sender.ping());
            let mut ended = Box::pin(sender.ended());
            assert!(room.as_mut().poll(&mut cx).is_pending());
            assert!(drained.as_mut().poll(&mut cx).is_pending());
            assert!(ping.as_mut().poll(&mut cx).is_pending());
            assert!(ended.as_mut().poll(&mut cx).is_pending());
            // Waits for a message.
            let mut receiving = Box::pin(client.recv());
            assert!(receiving.as_mut().poll(&mut cx).is_pending());

            drop(server);
            link.cut();
            // The failed write wakes the reader, room, and everything sent.
            while woken.1.load(Ordering::Relaxed) < 3 {
                tokio::task::yield_now().await;
            }
            assert!(receiving.as_mut().poll(&mut cx).is_ready());
            // The read wakes the pong and the end.
            assert!(woken.1.load(Ordering::Relaxed) >= 5);
            drop(receiving);
            assert!(room.as_mut().poll(&mut cx).is_ready());
            assert!(drained.as_mut().poll(&mut cx).is_ready());
            assert!(ping.as_mut().poll(&mut cx).is_ready());
            assert!(ended.as_mut().poll(&mut cx).is_ready());
        });
    });
}

/// A pipe in memory wakes the reader at its other end from within a write, which is under the lock
/// of the connection that writes.
#[test]
fn wakers_may_use_the_connection_whose_write_wakes_them() {
    without_deadlock(|| {
        runtime().block_on(async {
            let (client, mut server) = pair();
            let (woken, waker) = looking(&client);
            let mut cx = Context::from_waker(&waker);
            assert!(server.poll_recv(&mut cx).is_pending());
            let mut receiving = Box::pin(server.recv());
            assert!(receiving.as_mut().poll(&mut cx).is_pending());
            client.send("hello").await.unwrap();
            client.flush().await.unwrap();
            assert_eq!(woken.1.load(Ordering::Relaxed), 1);
            let received = receiving.as_mut().poll(&mut cx);
            assert!(matches!(received, Poll::Ready(Ok(Some(_)))), "{received:?}");
        });
    });
}

/// A waker that uses the connection after its last other user is gone.
struct LookingAtItsEnd(Sender, Arc<AtomicUsize>);

impl Wake for LookingAtItsEnd {
    fn wake(self: Arc<Self>) {}
}

impl Drop for LookingAtItsEnd {
    fn drop(&mut self) {
        let _state = self.0.state();
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn wakers_that_are_replaced_may_use_the_connection() {
    without_deadlock(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&dropped);
        runtime().block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let agreed = offhook::protocol::handshake::Negotiated::default();
            let over_tcp = WebSocket::client(stream, agreed, &[], &offhook::Settings::default());
            let (in_memory, _server) = pair();
            for mut socket in [over_tcp, in_memory] {
                let looking = LookingAtItsEnd(socket.sender(), Arc::clone(&counted));
                let waker = Waker::from(Arc::new(looking));
                polled_with(socket.recv(), &waker);
                drop(waker);
                polled_with(socket.recv(), Waker::noop());
            }
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

/// Polls once, for the task of this waker, and gives up.
fn polled_with<F: Future>(future: F, waker: &Waker) {
    let polled = pin!(future).poll(&mut Context::from_waker(waker));
    assert!(polled.is_pending());
}

#[test]
fn each_of_two_runtimes_on_one_thread_flushes_its_own_connections() {
    without_deadlock(|| {
        let (first, second) = (runtime(), runtime());
        let (one, mut other_one) = first.block_on(async { pair() });
        let (two, mut other_two) = second.block_on(async { pair() });
        for _ in 0..3 {
            // Queued and not flushed: it is sent while the task waits for something else.
            second.block_on(async {
                two.send("second").await.unwrap();
                assert_eq!(other_two.recv().await.unwrap(), Some("second".into()));
            });
            first.block_on(async {
                one.send("first").await.unwrap();
                assert_eq!(other_one.recv().await.unwrap(), Some("first".into()));
            });
        }
    });
}

#[test]
fn connections_that_outlive_their_runtime_continue_in_another() {
    without_deadlock(|| {
        let first = runtime();
        let (client, mut server) = first.block_on(async {
            let (client, mut server) = pair();
            client.send("before").await.unwrap();
            assert_eq!(server.recv().await.unwrap(), Some("before".into()));
            (client, server)
        });
        drop(first);
        for _ in 0..2 {
            runtime().block_on(async {
                client.send("after").await.unwrap();
                assert_eq!(server.recv().await.unwrap(), Some("after".into()));
            });
        }
    });
}

#[test]
fn a_dropped_runtime_loses_nothing_queued_outside_of_it() {
    without_deadlock(|| {
        let first = runtime();
        let (client, mut server) = first.block_on(async { pair() });
        drop(first);
        // There is no runtime here to write it.
        client.put("waits").unwrap();
        runtime().block_on(async {
            client.put("goes").unwrap();
            assert_eq!(server.recv().await.unwrap(), Some("waits".into()));
            assert_eq!(server.recv().await.unwrap(), Some("goes".into()));
        });
    });
}

#[test]
fn ended_threads_leave_no_tasks_behind() {
    without_deadlock(|| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let before = runtime.metrics().num_alive_tasks();
        for _ in 0..50 {
            let handle = runtime.handle().clone();
            let thread = std::thread::spawn(move || {
                handle.block_on(async {
                    let (client, mut server) = pair();
                    client.send("hello").await.unwrap();
                    assert_eq!(server.recv().await.unwrap(), Some("hello".into()));
                });
            });
            thread.join().unwrap();
        }
        // The tasks were woken to end.
        while runtime.metrics().num_alive_tasks() > before {
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_task_that_only_sends_yields_to_others() {
    without_deadlock(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // A peer that accepts everything at once.
        std::thread::spawn(move || {
            use std::io::Read as _;
            let (mut stream, _) = listener.accept().unwrap();
            let mut sink = vec![0; 1 << 20];
            while stream.read(&mut sink).is_ok_and(|count| count > 0) {}
        });
        runtime().block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let agreed = offhook::protocol::handshake::Negotiated::default();
            let socket = WebSocket::client(stream, agreed, &[], &offhook::Settings::default());
            let ran = Arc::new(AtomicBool::new(false));
            let other = Arc::clone(&ran);
            tokio::spawn(async move { other.store(true, Ordering::Relaxed) });
            while !ran.load(Ordering::Relaxed) {
                socket.send(&[7; 20]).await.unwrap();
            }
        });
    });
}

#[tokio::test]
async fn a_task_that_waits_for_the_end_is_not_woken_by_messages() {
    let (mut client, mut server) = pair();
    let sender = client.sender();
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let waiting = tokio::spawn(async move {
        let mut ended = pin!(sender.ended());
        poll_fn(|cx| {
            counted.fetch_add(1, Ordering::Relaxed);
            ended.as_mut().poll(cx)
        })
        .await
    });
    tokio::task::yield_now().await;
    for _ in 0..100 {
        client.send("question").await.unwrap();
        let message = server.recv().await.unwrap().unwrap();
        server.send(message).await.unwrap();
        client.recv().await.unwrap();
    }
    assert_eq!(polls.load(Ordering::Relaxed), 1);
    tokio::spawn(async move { server.recv().await });
    client.close(CloseCode::NORMAL, "").await.unwrap();
    assert_eq!(waiting.await.unwrap().code, CloseCode::NORMAL);
}

/// Polls once, and drops the future.
async fn polled_once<F: Future>(future: F) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn pings_are_answered_after_a_cancelled_receive() {
    async fn once_more(mut socket: WebSocket, how: usize) -> WebSocket {
        match how {
            0 => polled_once(socket.recv()).await,
            1 => polled_once(socket.recv_stream()).await,
            2 => polled_once(socket.each(|_, _| Ok(()))).await,
            3 => polled_once(socket.ping()).await,
            // As a `Stream` does.
            _ => polled_once(poll_fn(|cx| socket.poll_recv(cx))).await,
        }
        socket
    }
    for how in 0..5 {
        let (mut client, server) = pair();
        let server = once_more(server, how).await;
        for _ in 0..3 {
            client.ping().await.unwrap();
        }
        drop(server);
    }
}
