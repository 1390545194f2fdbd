//! Events: each caller publishes one, waits until it has been delivered, and publishes the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use outrigger_sdk::{App, Client, Options, Outcome, PubSub, Subscription};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::load::{at_once, microseconds};

const BROKER: &str = "events";
const TOPIC: &str = "orders";
/// Bytes of an event's data.
const SIZE: usize = 128;
/// The longest an event may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Plan {
    /// The server they are published through.
    #[arg(long)]
    publish: String,
    /// The server they are delivered by, over a stream.
    #[arg(long, required_unless_present = "app")]
    stream: Option<String>,
    /// The port on which we are an application they are delivered to.
    #[arg(long)]
    app: Option<u16>,
    #[arg(long)]
    in_flight: usize,
    #[arg(long)]
    seconds: f64,
}

/// Nanoseconds from the start of the publishing.
struct Times {
    published: u64,
    delivered: u64,
}

pub(crate) async fn run(plan: &Plan) -> Result<()> {
    let arrivals = Arrivals::new(plan.in_flight);
    let receiver = Receiver::open(plan).await?;
    let receiving = tokio::spawn(receiver.run(arrivals.clone()));
    let publisher = connect(&plan.publish).await?;
    let measured = async {
        round(plan, &publisher, &arrivals, Duration::from_secs_f64(plan.seconds.min(1.0))).await?;
        println!("{{\"phase\":\"start\"}}");
        let start = Instant::now();
        let times = round(plan, &publisher, &arrivals, Duration::from_secs_f64(plan.seconds)).await?;
        print(&times, start.elapsed());
        anyhow::Ok(())
    };
    tokio::select! {
        measured = measured => measured,
        ended = receiving => bail!("nobody receives any more: {ended:?}"),
    }
}

async fn round(
    plan: &Plan,
    publisher: &PubSub,
    arrivals: &Arrivals,
    duration: Duration,
) -> Result<Vec<Times>> {
    let end = Instant::now() + duration;
    at_once(plan.in_flight, |caller| one_caller(publisher.clone(), arrivals.clone(), caller, end)).await
}

async fn one_caller(
    publisher: PubSub,
    arrivals: Arrivals,
    caller: usize,
    end: Instant,
) -> Result<Vec<Times>> {
    let data = format!("{caller:<SIZE$}");
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok(times);
        }
        publisher.publish(TOPIC, data.clone(), "text/plain").await?;
        let published = start.elapsed();
        timeout(PATIENCE, arrivals.wait(caller)).await.context("an event was not delivered in time")?;
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos());
        let delivered = nanoseconds(start.elapsed())?;
        times.push(Times { published: nanoseconds(published)?, delivered });
    }
}

/// Where events arrive.
enum Receiver {
    Stream(Box<Subscription>),
    App(TcpListener),
}

impl Receiver {
    async fn open(plan: &Plan) -> Result<Self> {
        match (&plan.stream, plan.app) {
            (Some(endpoint), _) => {
                Ok(Self::Stream(Box::new(connect(endpoint).await?.subscribe(TOPIC).await?)))
            }
            (None, Some(port)) => Ok(Self::App(TcpListener::bind(("127.0.0.1", port)).await?)),
            (None, None) => bail!("neither a stream nor an application"),
        }
    }

    async fn run(self, arrivals: Arrivals) -> Result<()> {
        let mut subscription = match self {
            Self::Stream(subscription) => subscription,
            Self::App(listener) => {
                let app = App::new().topic(BROKER, TOPIC, move |event| {
                    arrivals.note(&event.data);
                    std::future::ready(Outcome::Done)
                });
                return Ok(app.serve_on(listener).await?);
            }
        };
        while let Some(event) = subscription.next().await? {
            arrivals.note(&event.data);
            subscription.settle(&event, Outcome::Done).await?;
        }
        Ok(())
    }
}

async fn connect(endpoint: &str) -> Result<PubSub> {
    let options = Options { endpoint: endpoint.to_owned(), ..Options::default() };
    Ok(Client::connect_with(options).await?.pubsub(BROKER))
}

fn print(times: &[Times], elapsed: Duration) {
    let sorted = |time: fn(&Times) -> u64| {
        let mut all: Vec<u64> = times.iter().map(time).collect();
        all.sort_unstable();
        all
    };
    let (published, delivered) = (sorted(|times| times.published), sorted(|times| times.delivered));
    println!(
        "{}",
        serde_json::json!({
            "phase": "end",
            "operations": delivered.len(),
            "seconds": elapsed.as_secs_f64(),
            "p50_us": microseconds(&delivered, 0.5),
            "p99_us": microseconds(&delivered, 0.99),
            "published_us": microseconds(&published, 0.5),
        })
    );
}

/// Tells each caller of its event, whose data begins with the caller's number.
#[derive(Clone)]
struct Arrivals(Arc<[Notify]>);

impl Arrivals {
    fn new(callers: usize) -> Self {
        Self((0..callers).map(|_| Notify::new()).collect())
    }

    fn note(&self, data: &[u8]) {
        let number = std::str::from_utf8(data).ok().and_then(|text| text.trim().parse::<usize>().ok());
        if let Some(caller) = number.and_then(|number| self.0.get(number)) {
            caller.notify_one();
        }
    }

    async fn wait(&self, caller: usize) {
        if let Some(arrival) = self.0.get(caller) {
            arrival.notified().await;
        }
    }
}
