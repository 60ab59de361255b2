//! An S3 server in this process, with checked signatures, that fails on demand.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};

use super::dir::Dir;
use super::runtime;

/// Whose signatures are taken.
pub const KEY: &str = "AKIDOFTHETESTS";
/// Its secret: nothing else looks like it, so a log that holds it leaks.
pub const SECRET: &str = "s3cr3t/Of+The9Tests";
/// What temporary credentials carry beside them, in buckets that ask for it.
pub const TOKEN: &str = "t0ken/Of+The9Tests==";

/// What is to go wrong with a bucket's requests of one method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Answered with this status and S3's code for it.
    Answer(u16, &'static str),
    /// Answered when the fault is gone.
    Stall,
    /// Answered after a while, each time until it is gone.
    Slow(Duration),
    /// The connection is cut when the first bytes of the body have come.
    Cut,
}

#[derive(Default)]
struct State {
    /// By bucket: the method, and how often.
    faults: HashMap<String, (&'static str, Fault, u32)>,
    /// Buckets that only temporary credentials open.
    temporary: Vec<String>,
    /// By bucket: slow requests that wait, and the most that ever waited at once.
    slow: HashMap<String, (usize, usize)>,
}

/// A server; each test has a bucket of its own.
pub struct S3 {
    address: SocketAddr,
    dir: Dir,
    state: Arc<Mutex<State>>,
}

impl S3 {
    /// The one that all tests of this binary share.
    pub fn shared() -> &'static S3 {
        static SERVER: OnceLock<S3> = OnceLock::new();
        SERVER.get_or_init(S3::start)
    }

    fn start() -> S3 {
        let dir = Dir::new();
        let files = s3s_fs::FileSystem::new(dir.path()).expect("the directory is ours");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let (service, state) = (builder.build(), Arc::new(Mutex::new(State::default())));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let served = Arc::clone(&state);
        runtime::spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((socket, _)) = listener.accept().await {
                // Small answers would wait for an acknowledgement.
                socket.set_nodelay(true).expect("a socket");
                let (service, state) = (service.clone(), Arc::clone(&served));
                tokio::spawn(async move {
                    let answer = service_fn(move |request| answer(request, service.clone(), Arc::clone(&state)));
                    // A connection that is cut ends in an error here.
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
                });
            }
        });
        S3 { address, dir, state }
    }

    /// A new bucket whose name begins so.
    pub fn bucket(&'static self, name: &str) -> Bucket {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let name = format!("{name}-{}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
        std::fs::create_dir(self.dir.join(&name)).expect("a new directory");
        Bucket { server: self, name }
    }
}

/// One bucket.
pub struct Bucket {
    server: &'static S3,
    name: String,
}

impl Bucket {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the server is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Where objects go: `s3://bucket/stage`.
    pub fn stage(&self) -> String {
        format!("s3://{}/stage", self.name)
    }

    /// Goes wrong with each request of the method, `times` times.
    pub fn fail(&self, method: &'static str, fault: Fault, times: u32) {
        self.server.state.lock().unwrap().faults.insert(self.name.clone(), (method, fault, times));
    }

    /// Goes on as if nothing had been.
    pub fn heal(&self) {
        self.server.state.lock().unwrap().faults.remove(&self.name);
    }

    /// Whether something still goes wrong.
    pub fn fails(&self) -> bool {
        self.server.state.lock().unwrap().faults.contains_key(&self.name)
    }

    /// How many slow requests there were at once at most.
    pub fn most_at_once(&self) -> usize {
        self.server.state.lock().unwrap().slow.get(&self.name).map_or(0, |(_, most)| *most)
    }

    /// Opens to temporary credentials only.
    pub fn ask_for_token(&self) {
        self.server.state.lock().unwrap().temporary.push(self.name.clone());
    }

    /// The objects in it, sorted.
    pub fn objects(&self) -> Vec<String> {
        let root = self.server.dir.join(&self.name);
        let (mut found, mut waiting) = (Vec::new(), vec![root.clone()]);
        while let Some(dir) = waiting.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => waiting.push(path),
                    path => found.extend(path.strip_prefix(&root).map(|path| path.to_string_lossy().into_owned())),
                }
            }
        }
        found.retain(|name| !name.rsplit('/').next().unwrap_or_default().starts_with('.'));
        found.sort();
        found
    }

    /// Takes an object away, or changes it.
    pub fn tamper(&self, object: &str, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let path = self.server.dir.join(&self.name).join(object);
        match change(std::fs::read(&path).expect("the object is there")) {
            Some(bytes) => std::fs::write(path, bytes).expect("the file is ours"),
            None => std::fs::remove_file(path).expect("the file is ours"),
        }
    }
}

async fn answer(
    mut request: Request<Incoming>,
    service: S3Service,
    state: Arc<Mutex<State>>,
) -> Result<Response<Body>, std::io::Error> {
    let bucket = request.uri().path().split('/').nth(1).unwrap_or_default().to_owned();
    let token = request.headers().get("x-amz-security-token").and_then(|token| token.to_str().ok());
    let closed = state.lock().unwrap().temporary.contains(&bucket) && token != Some(TOKEN);
    if closed {
        return Ok(refused(403, "InvalidToken"));
    }
    match fault(&state, &bucket, request.method().as_str()) {
        None => {}
        Some(Fault::Answer(status, code)) => {
            // Read to its end, or the writer would see a broken connection.
            let _ = request.body_mut().collect().await;
            return Ok(refused(status, code));
        }
        Some(Fault::Stall) => {
            while state.lock().unwrap().faults.contains_key(&bucket) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Some(Fault::Slow(time)) => {
            let count = |state: &mut State, add: usize, less: usize| {
                let (now, most) = state.slow.entry(bucket.clone()).or_default();
                *now = *now + add - less;
                *most = (*most).max(*now);
            };
            count(&mut state.lock().unwrap(), 1, 0);
            tokio::time::sleep(time).await;
            count(&mut state.lock().unwrap(), 0, 1);
        }
        Some(Fault::Cut) => {
            let _ = request.body_mut().frame().await;
            return Err(std::io::Error::other("cut"));
        }
    }
    service.call(request.map(Body::from)).await.map_err(|error| std::io::Error::other(format!("{error:?}")))
}

fn fault(state: &Mutex<State>, bucket: &str, method: &str) -> Option<Fault> {
    let mut state = state.lock().unwrap();
    let (of, fault, times) = state.faults.get_mut(bucket)?;
    if *of != method {
        return None;
    }
    let fault = *fault;
    // These last until they are healed.
    if !matches!(fault, Fault::Stall | Fault::Slow(_)) {
        *times -= 1;
        if *times == 0 {
            state.faults.remove(bucket);
        }
    }
    Some(fault)
}

fn refused(status: u16, code: &str) -> Response<Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    );
    let response = Response::builder().status(status).header("content-type", "application/xml");
    response.body(Body::from(text)).expect("a response")
}
