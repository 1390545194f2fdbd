//! Watching configuration: each request on a stream adds a subscription, and what they see comes back on that stream
//! alone. The stream ends when its client ends it, or with the first subscription that fails, by name.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use outrigger_blocks::{
    Blocks, Caller, ConfigurationChange, ConfigurationItem, ConfigurationWatch, Deadline, Error, ErrorKind,
    Revision, Selector, Update,
};
use outrigger_proto::layotto as proto;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Request, Status, Streaming};

use super::{encode, error};
use crate::grpc::layotto::RuntimeService;

/// Answers that wait for a client that is slow; after that the stores wait.
const AHEAD: usize = 16;
/// The most subscriptions of one stream.
const SUBSCRIPTIONS: usize = 256;
/// How long the answer waits for the first request, so that whoever has the answer knows that it is being watched.
/// Clients that want an answer before they ask get it then.
const FIRST: Duration = Duration::from_secs(1);
/// Item metadata of a request: where to go on after; and of an answer: after what.
const REVISION: &str = "revision";
/// Item metadata of an answer: changes were missed, and this is what there is now.
const RESYNC: &str = "resync";

type Answer = Result<proto::SubscribeConfigurationResponse, Status>;

/// What the client receives. Dropping it ends its subscriptions, and no others.
pub(crate) struct Subscriptions {
    answers: mpsc::Receiver<Answer>,
    driver: JoinHandle<()>,
}

impl Stream for Subscriptions {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Answer>> {
        self.answers.poll_recv(context)
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl RuntimeService {
    pub(in crate::grpc::layotto) async fn configuration_subscribe(
        &self,
        request: Request<Streaming<proto::SubscribeConfigurationRequest>>,
    ) -> Result<Subscriptions, Status> {
        let caller = self.caller(request.metadata())?;
        let mut requests = request.into_inner();
        let (sender, answers) = mpsc::channel(AHEAD);
        let mut driver =
            Driver { blocks: Arc::clone(&self.blocks), answers: sender, watches: JoinSet::new(), asked: 0 };
        match tokio::time::timeout(FIRST, requests.message()).await {
            Ok(Ok(Some(first))) => driver.subscribe(&caller, first).await?,
            Ok(Ok(None)) => {}
            Ok(Err(status)) => return Err(status),
            Err(_) => {}
        }
        Ok(Subscriptions { answers, driver: tokio::spawn(driver.run(requests)) })
    }
}

/// Serves one stream.
struct Driver {
    blocks: Arc<Blocks>,
    answers: mpsc::Sender<Answer>,
    watches: JoinSet<Result<(), Status>>,
    asked: usize,
}

impl Driver {
    async fn run(mut self, mut requests: Streaming<proto::SubscribeConfigurationRequest>) {
        let blocks = Arc::clone(&self.blocks);
        let caller = Caller { deadline: Deadline::NEVER, ..Caller::new(blocks.app_id()) };
        // A stream without subscriptions would not notice.
        let stopping = blocks.configuration.stopping();
        tokio::pin!(stopping);
        loop {
            let failed = tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.subscribe(&caller, request).await,
                    // The client has ended its side, or is gone.
                    Ok(None) | Err(_) => return,
                },
                Some(ended) = self.watches.join_next() => {
                    ended.unwrap_or_else(|_| Err(Status::internal("a subscription ended in a panic")))
                }
                why = &mut stopping => Err(error(why)),
            };
            if let Err(status) = failed {
                // Nobody may be there any more to be told.
                drop(self.answers.send(Err(status)).await);
                return;
            }
        }
    }

    /// Opens a watch; from when this returns, it misses nothing.
    async fn subscribe(
        &mut self,
        caller: &Caller<'_>,
        request: proto::SubscribeConfigurationRequest,
    ) -> Result<(), Status> {
        let at = self.asked;
        self.asked += 1;
        let proto::SubscribeConfigurationRequest { store_name: store, app_id, group, label, keys, metadata } =
            request;
        let named = {
            let store = store.clone();
            move |failure: Error| {
                error(failure.with("subscription", format_args!("{at}")).with("store", &store))
            }
        };
        if self.watches.len() >= SUBSCRIPTIONS {
            let message = format!("a stream has at most {SUBSCRIPTIONS} subscriptions");
            return Err(named(Error::new(ErrorKind::RateLimited, message)));
        }
        let from = metadata.get(REVISION).filter(|from| !from.is_empty()).cloned().map(Revision);
        let selector = Selector { app_id, group, label, keys, metadata };
        let watch = self.blocks.configuration.watch(caller, &store, selector, from).await.map_err(&named)?;
        let answers = self.answers.clone();
        self.watches.spawn(async move { forward(watch, store, answers).await.map_err(named) });
        Ok(())
    }
}

/// Sends what a watch sees until the client is gone or the watch fails.
async fn forward(
    mut watch: ConfigurationWatch,
    store: String,
    answers: mpsc::Sender<Answer>,
) -> Result<(), Error> {
    loop {
        let items = items(watch.next().await?);
        let app_id = watch.selector().app_id.clone();
        let answer = proto::SubscribeConfigurationResponse { store_name: store.clone(), app_id, items };
        if answers.send(Ok(answer)).await.is_err() {
            return Ok(());
        }
    }
}

/// A deletion is an item without content.
fn items(update: Update) -> Vec<proto::ConfigurationItem> {
    match update {
        Update::Changed { changes, revision } => {
            let revision = revision.map(|Revision(revision)| (REVISION.to_owned(), revision));
            let change = |change| {
                let (ConfigurationChange::Set(mut item) | ConfigurationChange::Deleted(mut item)) = change;
                item.metadata.extend(revision.clone());
                encode(item)
            };
            changes.into_iter().map(change).collect()
        }
        Update::Resync { items, gone } => {
            let gone = gone.into_iter().map(|key| ConfigurationItem { key, ..ConfigurationItem::default() });
            let resynced = |mut item: ConfigurationItem| {
                item.metadata.insert(RESYNC.to_owned(), true.to_string());
                encode(item)
            };
            items.into_iter().chain(gone).map(resynced).collect()
        }
    }
}
