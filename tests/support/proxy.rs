//! A connection in the middle that fails on demand.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rand::Rng;

use super::port;

/// After how long a lost packet is sent again at first, and the longest that doubles to.
const AGAIN: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_millis(1600);

/// What the proxy does with what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Passes everything on.
    Forward,
    /// Passes everything on, at least this much later.
    Delay(Duration),
    /// Accepts, reads nothing and says nothing, on connections that exist too.
    Blackhole,
    /// Loses this many of a hundred pieces, which come when they were sent again often enough; all behind them waits.
    Lossy(u32),
    /// Passes on what clients say, and nothing of what they are answered.
    Mute,
    /// Listens no more: connections are refused, those that exist are cut.
    Refuse,
}

struct State {
    mode: Mode,
    target: Option<SocketAddr>,
    connections: Vec<TcpStream>,
    /// How often those that existed were left to themselves.
    strandings: u64,
    ended: bool,
}

/// Listens on a port of its own and connects on to a target.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Listens; connections wait for a target.
    pub fn new() -> Proxy {
        let port = port::free();
        let state = State { mode: Mode::Forward, target: None, connections: Vec::new(), strandings: 0, ended: false };
        let state = Arc::new(Mutex::new(state));
        let listener = listen(port);
        let accepting = Arc::clone(&state);
        thread::spawn(move || accept(listener, port, &accepting));
        Proxy { port, state }
    }

    /// Listens for a target.
    pub fn to(target: &str) -> Proxy {
        let proxy = Proxy::new();
        proxy.target(target);
        proxy
    }

    /// Sets where connections go.
    pub fn target(&self, target: &str) {
        self.state.lock().unwrap().target = Some(target.parse().expect("address:port"));
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Changes what happens from now on; refusing takes effect within 20 ms.
    pub fn set(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
        if mode == Mode::Refuse {
            self.cut();
            thread::sleep(Duration::from_millis(20));
            self.cut();
        }
    }

    /// Nothing passes any more on the connections that exist, and neither side is told; new ones are served.
    pub fn strand(&self) {
        self.state.lock().unwrap().strandings += 1;
    }

    /// Closes every connection that exists.
    pub fn cut(&self) {
        for connection in self.state.lock().unwrap().connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.lock().unwrap().ended = true;
        self.cut();
    }
}

fn listen(port: u16) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    listener.set_nonblocking(true).expect("a socket");
    listener
}

fn accept(listener: TcpListener, port: u16, state: &Arc<Mutex<State>>) {
    let mut listener = Some(listener);
    loop {
        let (mode, ended) = {
            let state = state.lock().unwrap();
            (state.mode, state.ended)
        };
        if ended {
            return;
        }
        match mode {
            Mode::Refuse => listener = None,
            _ => {
                let accepted = listener.get_or_insert_with(|| listen(port)).accept();
                if let Ok((client, _)) = accepted {
                    let state = Arc::clone(state);
                    thread::spawn(move || serve(client, &state));
                    continue;
                }
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Joins a client with the target: one thread for each direction.
fn serve(client: TcpStream, state: &Arc<Mutex<State>>) {
    let target = loop {
        let state = state.lock().unwrap();
        match (state.target, state.mode, state.ended) {
            (_, _, true) | (_, Mode::Refuse, _) => return,
            (Some(target), mode, _) if mode != Mode::Blackhole => break target,
            _ => drop(state),
        }
        thread::sleep(Duration::from_millis(5));
    };
    let Ok(server) = TcpStream::connect(target) else { return };
    let pairs = [(client.try_clone(), server.try_clone(), false), (server.try_clone(), client.try_clone(), true)];
    let of = {
        let mut state = state.lock().unwrap();
        if state.mode == Mode::Refuse {
            // It was accepted before, and would be cut by nobody.
            return;
        }
        state.connections.extend([client, server]);
        state.strandings
    };
    for (from, to, answers) in pairs {
        let (Ok(from), Ok(to)) = (from, to) else { return };
        let lane = Lane { state: Arc::clone(state), of, answers };
        thread::spawn(move || pass(from, to, &lane));
    }
}

/// One direction of a connection.
struct Lane {
    state: Arc<Mutex<State>>,
    /// How often others had been left to themselves when it began.
    of: u64,
    /// Whether it carries what the target says.
    answers: bool,
}

fn pass(mut from: TcpStream, mut to: TcpStream, lane: &Lane) {
    let _ = from.set_nonblocking(false);
    let _ = from.set_read_timeout(Some(Duration::from_millis(20)));
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; 64 * 1024];
    while lane.hold() {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if lane.come_through() && lane.hold() && to.write_all(&buffer[..count]).is_ok() => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits as long as the mode wants; false when the proxy is gone.
    fn hold(&self) -> bool {
        loop {
            let (mode, ended, stranded) = {
                let state = self.state();
                (state.mode, state.ended, state.strandings > self.of)
            };
            match mode {
                _ if ended => return false,
                _ if stranded => thread::sleep(Duration::from_millis(100)),
                Mode::Blackhole => thread::sleep(Duration::from_millis(5)),
                Mode::Mute if self.answers => thread::sleep(Duration::from_millis(5)),
                Mode::Delay(delay) => {
                    thread::sleep(delay);
                    return true;
                }
                Mode::Forward | Mode::Lossy(_) | Mode::Mute | Mode::Refuse => return true,
            }
        }
    }

    /// Waits until a piece has come through a connection that loses some; always true in the end.
    fn come_through(&self) -> bool {
        let mut again = AGAIN;
        loop {
            let Mode::Lossy(share) = self.state().mode else { return true };
            if rand::rng().random_range(0..100) >= share {
                return true;
            }
            thread::sleep(again);
            again = (again * 2).min(LONGEST);
        }
    }
}
