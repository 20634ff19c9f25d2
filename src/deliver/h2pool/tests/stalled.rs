//! A process that stood still with requests in flight.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use super::*;

const REQUESTS: usize = 5;
const CLAIM: Duration = Duration::from_secs(30);

/// Counts the bytes that come out of a socket, below TLS.
struct Counting {
    socket: TcpStream,
    came: Arc<AtomicUsize>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buf));
        self.came.fetch_add(buf.filled().len() - before, Ordering::SeqCst);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A provider that takes no body until it is told to.
#[derive(Default)]
struct Slow {
    came: Arc<AtomicUsize>,
    /// It has every request's beginning, and everything that was written before.
    at_rest: Notify,
    take: Notify,
}

impl Slow {
    async fn listen(self: &Arc<Self>) -> (Endpoint, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let slow = Arc::clone(self);
        let served = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.expect("a client");
            let socket = Counting { socket, came: Arc::clone(&slow.came) };
            let acceptor = TlsAcceptor::from(Arc::clone(&identity().server));
            slow.serve(acceptor.accept(socket).await.expect("TLS")).await;
        });
        (Endpoint::parse(&format!("https://localhost:{port}")).expect("an endpoint"), served)
    }

    async fn serve(&self, socket: TlsStream<Counting>) {
        let builder = h2::server::Builder::new().initial_window_size(0).handshake::<_, Bytes>(socket);
        let mut connection = builder.await.expect("HTTP/2");
        let mut ping = connection.ping_pong().expect("the first to ask");
        for _ in 0..REQUESTS {
            let (request, mut respond) = connection.accept().await.expect("a request").expect("whole");
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(Ok(piece)) = body.data().await {
                    drop(body.flow_control().release_capacity(piece.len()));
                }
                drop(respond.send_response(Response::new(()), true));
            });
        }
        tokio::select! {
            answer = ping.ping(h2::Ping::opaque()) => drop(answer.expect("a pong")),
            other = connection.accept() => panic!("{other:?}"),
        }
        self.at_rest.notify_one();
        tokio::select! {
            () = self.take.notified() => {}
            // It has closed before it was told to go on.
            _ = connection.accept() => return,
        }
        connection.set_initial_window_size(65_535).expect("the settings are acknowledged");
        while let Some(Ok(_)) = connection.accept().await {}
    }
}

/// Stands still for `away` while the bodies wait inside `h2`; answers with what came of the requests, and how many bytes
/// left after that.
async fn bodies_wait(away: Duration) -> (Vec<Result<u16, NoReply>>, usize) {
    let (slow, clock) = (Arc::new(Slow::default()), Clock::manual(jiff::Timestamp::UNIX_EPOCH, 1));
    let (endpoint, served) = slow.listen().await;
    let tls = Arc::clone(&identity().client);
    let pool = Pool::new(endpoint, tls, Streams::AtOnce, Transport::default(), clock.clone());
    let until = clock.monotonic() + CLAIM;
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS {
        let mut lease = pool.lease(until).await.expect("a stream");
        let asked = lease.ask(request(), Bytes::from_static(b"{}"), until).expect("it is queued");
        answers.spawn(async move { lease.answer(asked).await.map(|reply| reply.status.as_u16()) });
    }
    slow.at_rest.notified().await;
    let before = slow.came.load(Ordering::SeqCst);
    clock.advance(away);
    slow.take.notify_one();
    let answers = answers.join_all().await;
    pool.retire_all();
    drop(pool);
    served.await.expect("the connection ended");
    (answers, slow.came.load(Ordering::SeqCst) - before)
}

#[tokio::test]
async fn i5_what_waits_inside_h2_does_not_leave_after_the_process_was_away_past_a_deadline() {
    let (answers, late) = tokio::time::timeout(SOON, bodies_wait(CLAIM * 2)).await.expect("in time");
    assert_eq!(late, 0, "not one byte");
    let lost = NoReply::Unknown("connection_lost".into_reason());
    assert_eq!(answers, vec![Err(lost); REQUESTS], "their beginnings were written");
}

#[tokio::test]
async fn a_pause_before_the_deadlines_costs_nothing() {
    for away in [Duration::ZERO, CLAIM / 2] {
        let (answers, late) = tokio::time::timeout(SOON, bodies_wait(away)).await.expect("in time");
        assert_eq!(answers, vec![Ok(200); REQUESTS]);
        assert!(late > 0, "the bodies were waiting");
    }
}
