//! Short ways to say what the cases say most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use outrigger_component_api::{
    Delivery, Error, ErrorKind, Message, PubSub, Result, Start, SubscribeOptions, Subscription,
};
use tokio::time::timeout;

use crate::patience;

/// The broker as the cases take it.
pub(super) type Broker = Arc<dyn PubSub>;
/// One member of a group.
pub(super) type Member = Box<dyn Subscription>;

/// The shortest processing timeout the cases use. What is to be settled in time must be so on a busy machine too.
pub(super) const BRIEF: Duration = Duration::from_secs(3);
/// One that is over within the cases' patience, and not before they have settled everything.
pub(super) const LEISURE: Duration = Duration::from_secs(15);
/// Long enough for an idle broker to deliver something it should not.
pub(super) const QUIET: Duration = Duration::from_millis(300);

/// A topic nobody has used before, in this run or another.
pub fn unique_topic(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("suite-{name}-{}-{now}-{count}", std::process::id())
}

/// Nothing comes back by timeout while a case lasts.
pub(super) fn patient(group: &str) -> SubscribeOptions {
    SubscribeOptions::new(group)
}

/// What is not settled soon comes back.
pub(super) fn brief(group: &str) -> SubscribeOptions {
    lasting(BRIEF, group)
}

/// What is not settled comes back after `processing_timeout`.
pub(super) fn lasting(processing_timeout: Duration, group: &str) -> SubscribeOptions {
    SubscribeOptions { processing_timeout, ..SubscribeOptions::new(group) }
}

pub(super) fn with_credit(credit: usize, options: SubscribeOptions) -> SubscribeOptions {
    SubscribeOptions { credit, ..options }
}

pub(super) fn latest(group: &str) -> SubscribeOptions {
    SubscribeOptions { start: Start::Latest, ..SubscribeOptions::new(group) }
}

pub(super) async fn join(broker: &Broker, topic: &str, options: SubscribeOptions) -> Member {
    broker.subscribe(topic, options).await.expect("subscribed")
}

pub(super) async fn publish(broker: &Broker, topic: &str, text: impl ToString) {
    broker.publish(topic, message(text)).await.expect("published");
}

pub(super) async fn publish_all(broker: &Broker, topic: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        publish(broker, topic, number).await;
    }
}

pub(super) fn message(text: impl ToString) -> Message {
    Message::new(text.to_string().into_bytes())
}

pub(super) fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message.data).into_owned()
}

/// The next delivery, which must come. Passing failures are waited out, as a caller would.
#[track_caller]
pub(super) fn next(member: &mut Member) -> impl Future<Output = Delivery> {
    let place = std::panic::Location::caller();
    async move { timeout(patience(), usable(member)).await.unwrap_or_else(|_| panic!("{place}: nothing came")) }
}

/// The next delivery to one of two, which must come.
#[track_caller]
pub(super) fn either(one: &mut Member, two: &mut Member) -> impl Future<Output = Delivery> {
    let place = std::panic::Location::caller();
    async move {
        let next = futures_util::future::select(Box::pin(usable(one)), Box::pin(usable(two)));
        let next = timeout(patience(), next).await.unwrap_or_else(|_| panic!("{place}: nothing came"));
        next.factor_first().0
    }
}

async fn usable(member: &mut Member) -> Delivery {
    loop {
        match member.next().await {
            Ok(delivery) => return delivery,
            Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("the subscription ended: {error}"),
        }
    }
}

/// Takes and acknowledges one, and returns its text.
#[track_caller]
pub(super) fn take(member: &mut Member) -> impl Future<Output = String> {
    let delivery = next(member);
    async move {
        let delivery = delivery.await;
        let text = text(&delivery);
        ack(delivery).await;
        text
    }
}

pub(super) async fn take_all(member: &mut Member, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(take(member).await);
    }
    texts
}

/// Which delivery of which message it is, as far as the broker counts.
#[track_caller]
pub(super) fn assert_delivery(broker: &Broker, delivery: &Delivery, expected: &str, attempt: u32) {
    let attempt = if broker.capabilities().attempts { attempt } else { 1 };
    assert_eq!((text(delivery).as_str(), delivery.attempt), (expected, attempt));
}

pub(super) async fn ack(delivery: Delivery) {
    delivery.ack().await.expect("acknowledged");
}

/// Nothing may come for `how_long`.
#[track_caller]
pub(super) fn silent(member: &mut Member, how_long: Duration) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        if let Ok(delivery) = timeout(how_long, usable(member)).await {
            panic!("{place}: {:?} was delivered (attempt {})", text(&delivery), delivery.attempt);
        }
    }
}

pub(super) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[track_caller]
pub(super) fn refused<T>(result: Result<T>, kind: ErrorKind) -> Error {
    let Err(error) = result else { panic!("must be refused with {kind}") };
    assert_eq!(error.kind(), kind, "{error}");
    error
}
