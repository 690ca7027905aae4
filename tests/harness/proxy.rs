//! A connection to Postgres that breaks where a test wants it to: between the fleet and its database.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// What becomes of the bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Weather {
    Fair,
    /// Each chunk, either way, comes so much later.
    Slow(Duration),
    /// Connections stay open and nothing ever goes through them any more, not even when the weather changes.
    BlackHole,
    /// So does the connection by which a statement comes that has not come before.
    HoleOfEachStatement,
    /// Connections are cut, and new ones too.
    Down,
    /// The first request with these bytes in it is cut off before the database sees it.
    CutBefore(&'static [u8]),
    /// The first request with these bytes in it is carried out, and cut off before its answer.
    CutAnswer(&'static [u8]),
}

pub struct Proxy {
    /// The database's URL, through the proxy.
    pub url: String,
    address: watch::Sender<String>,
    weather: watch::Sender<Weather>,
    cuts: Arc<AtomicUsize>,
    swallowed: Arc<Notify>,
    statements: Statements,
    waiting: Waiting,
    stop: CancellationToken,
}

/// What has come since a [`Weather::HoleOfEachStatement`] began, and how often it was prepared.
type Statements = Arc<Mutex<BTreeMap<String, usize>>>;

/// The statements that a [`Weather::HoleOfEachStatement`] has swallowed and whose connection the client has not given up.
type Waiting = Arc<Mutex<Vec<String>>>;

impl Proxy {
    pub async fn before(url: &str) -> Self {
        let (address, _) = watch::channel(address_of(url));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url.replace(&*address.borrow(), &listener.local_addr().unwrap().to_string());
        let (weather, _) = watch::channel(Weather::Fair);
        let proxy = Self {
            url,
            address,
            weather,
            cuts: Arc::default(),
            swallowed: Arc::default(),
            statements: Arc::default(),
            waiting: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (weather, cuts, swallowed) = (proxy.weather.clone(), proxy.cuts.clone(), proxy.swallowed.clone());
        let (stop, address, statements) = (proxy.stop.clone(), proxy.address.clone(), proxy.statements.clone());
        let waiting = proxy.waiting.clone();
        tokio::spawn(proxy.stop.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let swallowed = Hole { open: AtomicBool::new(false), first: swallowed.clone() };
                let carrying = carry(
                    client,
                    address.borrow().clone(),
                    weather.clone(),
                    cuts.clone(),
                    swallowed,
                    (statements.clone(), waiting.clone()),
                );
                tokio::spawn(stop.clone().run_until_cancelled_owned(carrying));
            }
        }));
        proxy
    }

    /// Has new connections lead to another server; those that are open stay where they are, as behind HAProxy.
    pub fn lead_to(&self, url: &str) {
        self.address.send_replace(address_of(url));
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Waits until a black hole has swallowed something.
    pub async fn swallowed(&self) {
        self.swallowed.notified().await;
    }

    /// The statements that have come since a [`Weather::HoleOfEachStatement`] began, and how often.
    pub fn statements(&self) -> BTreeMap<String, usize> {
        self.statements.lock().unwrap().clone()
    }

    /// The statements that were swallowed and that somebody still waits for.
    pub fn waited_for(&self) -> Vec<String> {
        self.waiting.lock().unwrap().clone()
    }

    /// How many connections were cut: a test that saw none has tested nothing.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

fn address_of(url: &str) -> String {
    url.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One connection, from its beginning to its end.
async fn carry(
    client: TcpStream,
    address: String,
    weather: watch::Sender<Weather>,
    cuts: Arc<AtomicUsize>,
    swallowed: Hole,
    statements: (Statements, Waiting),
) {
    if *weather.borrow() == Weather::Down {
        cuts.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let Ok(server) = TcpStream::connect(address).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (answer, last) = watch::channel(false);
    let mut seasons = weather.subscribe();
    let down = async {
        let _ = seasons.wait_for(|weather| *weather == Weather::Down).await;
        true
    };
    let carrying = async {
        let cut = tokio::select! {
            cut = requests(from_client, to_server, &weather, &swallowed, &answer, &statements) => cut,
            cut = answers(from_server, to_client, &weather, &swallowed, last) => cut,
        };
        swallowed.spare().await;
        cut
    };
    let cut = tokio::select! {
        cut = carrying => cut,
        cut = down => cut,
    };
    cuts.fetch_add(cut.into(), Ordering::Relaxed);
}

/// Whether it ended by being cut.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    weather: &watch::Sender<Weather>,
    swallowed: &Hole,
    answer: &watch::Sender<bool>,
    (statements, waiting): &(Statements, Waiting),
) -> bool {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let holes = *weather.borrow() == Weather::HoleOfEachStatement;
        let counted = holes || !statements.lock().unwrap().is_empty();
        let new = if counted { count_statements(&chunk[..count], statements) } else { None };
        if let Some(statement) = new.filter(|_| holes) {
            swallowed.opens();
            waiting.lock().unwrap().push(statement.clone());
            while let Ok(1..) = from.read(&mut chunk).await {}
            waiting.lock().unwrap().retain(|other| *other != statement);
        }
        endure(weather, swallowed).await;
        let hit = |bytes: &&[u8]| chunk[..count].windows(bytes.len()).any(|window| window == *bytes);
        let now = weather.borrow().clone();
        match now {
            Weather::CutBefore(bytes) if hit(&bytes) => {
                weather.send_replace(Weather::Fair);
                return true;
            }
            Weather::CutAnswer(bytes) if hit(&bytes) => {
                weather.send_replace(Weather::Fair);
                answer.send_replace(true);
            }
            _ => {}
        }
        if to.write_all(&chunk[..count]).await.is_err() {
            return false;
        }
    }
    endure(weather, swallowed).await;
    false
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    weather: &watch::Sender<Weather>,
    swallowed: &Hole,
    last: watch::Receiver<bool>,
) -> bool {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        // The database has done what it was asked to do: it answers. The answer is not passed on.
        if *last.borrow() {
            return true;
        }
        endure(weather, swallowed).await;
        if to.write_all(&chunk[..count]).await.is_err() {
            return false;
        }
    }
    endure(weather, swallowed).await;
    false
}

/// Counts the statements in what a client sends, which it does in whole messages. The first that had not come before.
fn count_statements(mut sent: &[u8], statements: &Statements) -> Option<String> {
    let mut first = None;
    while let [kind, a, b, c, d, rest @ ..] = sent {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        // What begins a connection has no kind, and is no statement.
        let Some((body, next)) = length.checked_sub(4).and_then(|length| rest.split_at_checked(length)) else { break };
        let mut texts = body.split(|byte| *byte == 0);
        let text = match kind {
            b'P' => texts.nth(1),
            b'Q' => texts.next(),
            _ => None,
        };
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            let text = String::from_utf8_lossy(text).into_owned();
            let times = *statements.lock().unwrap().entry(text.clone()).and_modify(|times| *times += 1).or_insert(1);
            if times == 1 {
                first.get_or_insert(text);
            }
        }
        sent = next;
    }
    first
}

async fn endure(weather: &watch::Sender<Weather>, swallowed: &Hole) {
    let now = weather.borrow().clone();
    if now == Weather::BlackHole {
        swallowed.opens();
    }
    swallowed.spare().await;
    if let Weather::Slow(delay) = now {
        tokio::time::sleep(delay).await;
    }
}

/// Where one connection's bytes may go. Once it is open, neither end hears of the other again, not even of its end.
struct Hole {
    open: AtomicBool,
    first: Arc<Notify>,
}

impl Hole {
    fn opens(&self) {
        self.open.store(true, Ordering::Relaxed);
        self.first.notify_one();
    }

    /// Returns at once, or never.
    async fn spare(&self) {
        if self.open.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}
