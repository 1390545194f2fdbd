//! A plugin at run time: one instance for each worker, perhaps shared with others, and what becomes of it when it fails.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Instant;

use http::StatusCode;
use outrigger_http::chain::{Module, Tap, Visit};
use outrigger_http::{Request, Response, reply};
use outrigger_net::ConnInfo;
use outrigger_telemetry::shard;
use outrigger_telemetry::trace::TraceContext;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::config::{Failure, PluginConfig};
use crate::crew::{Crew, Parts};
use crate::filter::abi::Side;
use crate::filter::connection::Line;
use crate::filter::measures::{Hold, Measures};
use crate::filter::passing::{Passing, Released};
use crate::filter::state::{Home, Services};
use crate::filter::stream::{Head, Stream};
use crate::instance::{Blueprint, Crash, Unstarted, Vm};
use crate::patience::Patience;

pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    pub(crate) config: PluginConfig,
    pub(crate) sha256: Arc<str>,
    pub(crate) measures: Arc<Measures>,
    pub(crate) crew: Arc<Crew>,
    /// Which of the crew.
    pub(crate) seat: usize,
}

/// The place of one instance: that of one worker.
pub(crate) struct Cell {
    blueprint: Arc<Blueprint>,
    failure: Failure,
    services: Services,
    measures: Box<[Arc<Measures>]>,
    home: Home,
    slot: Mutex<Slot>,
}

struct Slot {
    vm: Option<Vm>,
    /// The next context. Numbers go on from instance to instance, so that none means two streams.
    next: u32,
    patience: Patience,
    /// Whether there has been one. The first is made when it is needed; it was tried out just now.
    begun: bool,
    /// One is being made elsewhere, or will be when its time has come.
    coming: bool,
}

/// There is no instance, or not the one the question was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Plugin {
    /// Whether the same settings and the same file would make the same plugin.
    pub(crate) fn is(&self, config: &PluginConfig, sha256: &str) -> bool {
        self.config == *config && *self.sha256 == *sha256
    }

    /// Makes the instances, each on its worker: some have to do before their first request. A new configuration is also
    /// a new chance for those that are out.
    pub(crate) fn activate(&self) {
        // One of a crew does so for all.
        let cells = if self.seat == 0 { &*self.crew.cells } else { &[] };
        for cell in cells {
            let ours = Arc::clone(cell);
            cell.home.worker.spawn(async move {
                ours.begin_again();
            });
        }
    }

    /// That of the worker we are on.
    pub(crate) fn cell(&self) -> Option<&Arc<Cell>> {
        let cells = &self.crew.cells;
        cells.get(shard::index() % cells.len().max(1))
    }

    /// What a client is told when the filter could not do its work. `None`: the message passes.
    pub(crate) fn refusal(&self, is_grpc: bool) -> Option<Response> {
        let refused = || {
            let text = format!("the filter {} failed", self.name);
            reply::local_for(is_grpc, StatusCode::SERVICE_UNAVAILABLE, "filter_failed", &text)
        };
        (self.config.failure != Failure::Open).then(refused)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.config.failure == Failure::Open
    }

    /// The filter has the head until it lets the message go. Only where the message passes should the filter fail, it
    /// stays here as well.
    pub(crate) fn lend<H: Head>(&self, head: &mut H) -> H {
        if self.is_open() { head.clone() } else { head.leave() }
    }

    pub(crate) fn body_before_head(&self) -> bool {
        self.config.body_before_head
    }

    pub(crate) fn max_buffer(&self) -> usize {
        self.config.max_buffer
    }

    /// It holds a message back for as long as this is kept.
    pub(crate) fn hold(&self) -> Hold {
        self.measures.hold()
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A plugin as the filter chain knows it.
#[derive(Debug)]
pub(crate) struct Filter(pub(crate) Arc<Plugin>);

impl Module for Filter {
    fn visit(&self, route: &Arc<str>) -> Box<dyn Visit> {
        Box::new(Passing::new(Arc::clone(&self.0), Arc::clone(route)))
    }

    fn tap(&self, conn: &Arc<ConnInfo>) -> Option<Box<dyn Tap>> {
        Line::open(&self.0, conn).map(|line| Box::new(line) as _)
    }
}

impl Cell {
    pub(crate) fn new(parts: &Parts, worker: &Handle) -> Arc<Self> {
        let slot = Slot::new();
        Arc::new_cyclic(|cell: &Weak<Self>| Self {
            blueprint: Arc::clone(&parts.blueprint),
            failure: parts.failure,
            services: parts.services.clone(),
            measures: parts.measures.clone(),
            home: Home { cell: cell.clone(), worker: worker.clone() },
            slot: Mutex::new(slot),
        })
    }

    /// Calls the instance, after making one if there is none and may be one.
    pub(crate) fn with<R>(&self, run: impl FnOnce(&mut Vm) -> Result<R, Crash>) -> Result<R, Gone> {
        let mut slot = self.slot.lock();
        self.revive(&mut slot);
        self.run(&mut slot, run)
    }

    /// A new connection.
    pub(crate) fn connect(&self, plugin: &Plugin, conn: &Arc<ConnInfo>) -> Result<u32, Gone> {
        let mut slot = self.slot.lock();
        self.revive(&mut slot);
        slot.serves(plugin, None)?;
        let context = slot.number();
        let observed = plugin.measures.begin(context, None);
        self.run(&mut slot, |vm| {
            let mut stream = Stream::new(Arc::clone(conn), None, observed);
            stream.seat = plugin.seat;
            vm.open(context, stream)?;
            vm.connected(context)
        })?;
        Ok(context)
    }

    /// A new stream, and its request's head; says what the filter makes of that, unless it has still to say so.
    pub(crate) fn begin(
        &self,
        plugin: &Plugin,
        request: &mut Request,
        route: &Arc<str>,
        end: bool,
    ) -> Result<(u32, Option<Released>), Gone> {
        let mut slot = self.slot.lock();
        self.revive(&mut slot);
        slot.serves(plugin, request.ext.trace.as_deref())?;
        let context = slot.number();
        let observed = plugin.measures.begin(context, request.ext.trace.as_deref());
        let released = self.run(&mut slot, |vm| {
            let (conn, route) = (Arc::clone(&request.conn), Arc::clone(route));
            let mut stream = Stream::new(conn, Some(route), observed);
            (stream.seat, stream.state) = (plugin.seat, request.ext.state.clone());
            vm.open(context, stream)?;
            vm.request_headers(context, plugin.lend(&mut request.head), end)?;
            Ok(vm.released(context, Side::Request))
        })?;
        Ok((context, released))
    }

    /// Whether its plugins may set or read what filters set on a request.
    pub(crate) fn has_properties(&self) -> bool {
        self.blueprint.has_properties
    }

    /// Whether anybody looks at bodies or trailers of this side.
    pub(crate) fn reads(&self, side: Side) -> bool {
        self.blueprint.reads(side)
    }

    /// Calls the instance about a stream it knows.
    pub(crate) fn about<R>(
        &self,
        context: u32,
        run: impl FnOnce(&mut Vm) -> Result<R, Crash>,
    ) -> Result<R, Gone> {
        let mut slot = self.slot.lock();
        let known = slot.vm.as_ref().is_some_and(|vm| vm.state().streams.contains_key(&context));
        if known { self.run(&mut slot, run) } else { Err(Gone) }
    }

    /// Looks at a stream without calling anybody.
    pub(crate) fn look<R>(&self, context: u32, look: impl FnOnce(&mut Stream) -> R) -> Result<R, Gone> {
        let mut slot = self.slot.lock();
        let stream = slot.vm.as_mut().and_then(|vm| vm.state_mut().streams.get_mut(&context));
        stream.map(|stream| look(stream)).ok_or(Gone)
    }

    fn run<R>(&self, slot: &mut Slot, run: impl FnOnce(&mut Vm) -> Result<R, Crash>) -> Result<R, Gone> {
        run(slot.vm.as_mut().ok_or(Gone)?).map_err(|crash| {
            self.crashed(slot, &crash);
            Gone
        })
    }

    /// A new configuration: the first instance is made, and one that is out may try again.
    fn begin_again(&self) {
        let mut slot = self.slot.lock();
        slot.forgive(Instant::now());
        self.revive(&mut slot);
        if slot.vm.is_none() {
            self.replace(&mut slot);
        }
    }

    /// Makes the first instance.
    fn revive(&self, slot: &mut Slot) {
        if std::mem::replace(&mut slot.begun, true) {
            return;
        }
        let roots = self.roots(slot);
        match self.start(&roots) {
            Ok(vm) => self.place(slot, vm),
            Err(unstarted) => self.unstarted(slot, &unstarted),
        }
    }

    /// Contexts for the plugins of an instance.
    fn roots(&self, slot: &mut Slot) -> Vec<u32> {
        self.measures.iter().map(|_| slot.number()).collect()
    }

    fn start(&self, roots: &[u32]) -> Result<Vm, Unstarted> {
        Vm::start(&self.blueprint, self.services.clone(), Some(self.home.clone()), roots)
    }

    fn place(&self, slot: &mut Slot, mut vm: Vm) {
        vm.placed();
        slot.vm = Some(vm);
        self.measures.iter().for_each(|measures| measures.instances.inc());
    }

    fn unstarted(&self, slot: &mut Slot, Unstarted { seat, crash }: &Unstarted) {
        let name = self.blueprint.crew.get(*seat).map(|plan| &*plan.name);
        self.failed(slot, name.unwrap_or_default(), crash);
    }

    /// The instance is no more, for all of its plugins.
    fn crashed(&self, slot: &mut Slot, crash: &Crash) {
        let Some(mut vm) = slot.vm.take() else { return };
        self.measures.iter().for_each(|measures| measures.instances.dec());
        vm.forsake(crash);
        let plan = Arc::clone(&vm.state().plan);
        // What it had begun to say may explain it.
        drop(vm);
        self.failed(slot, &plan.name, crash);
    }

    /// `plugin` is the one that was at work.
    fn failed(&self, slot: &mut Slot, plugin: &str, crash: &Crash) {
        self.measures.iter().for_each(|measures| measures.crashes.count(crash));
        slot.patience.failed(self.failure, Instant::now());
        match slot.patience.again() {
            None => {
                tracing::error!(plugin, %crash, "filter failed too often; it is out until the configuration changes")
            }
            Some(_) => tracing::warn!(plugin, %crash, "filter failed; a fresh instance takes over"),
        }
        self.replace(slot);
    }

    /// Has a fresh instance made when there may be one, and not here, where requests are served: a start may compute
    /// for a second. Those that come meanwhile find none.
    fn replace(&self, slot: &mut Slot) {
        let Some(again) = slot.patience.again() else { return };
        if std::mem::replace(&mut slot.coming, true) {
            return;
        }
        let cell = self.home.cell.clone();
        self.home.worker.spawn(async move {
            tokio::time::sleep_until(again.into()).await;
            if let Some(cell) = cell.upgrade() {
                // Its own failures it tells itself.
                let _ = tokio::task::spawn_blocking(move || cell.take_over()).await;
            }
        });
    }

    fn take_over(&self) {
        let roots = self.roots(&mut self.slot.lock());
        let started = self.start(&roots);
        let mut slot = self.slot.lock();
        slot.coming = false;
        match started {
            Ok(vm) => {
                self.place(&mut slot, vm);
                self.measures.iter().for_each(|measures| measures.replaced.inc());
            }
            Err(unstarted) => self.unstarted(&mut slot, &unstarted),
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let Some(vm) = &mut self.slot.get_mut().vm {
            self.measures.iter().for_each(|measures| measures.instances.dec());
            // It has been replaced, so whatever it does wrong now is of no consequence.
            let _ = vm.end();
        }
    }
}

impl Slot {
    fn new() -> Self {
        let patience = Patience::new(Instant::now());
        Self { vm: None, next: 1, patience, begun: false, coming: false }
    }

    fn number(&mut self) -> u32 {
        let number = self.next;
        // Zero is nobody's; after four thousand million streams the oldest are gone.
        self.next = self.next.checked_add(1).unwrap_or(1);
        number
    }

    /// Whether there is an instance for a stream that has come; where there is none its trace says so.
    fn serves(&self, plugin: &Plugin, trace: Option<&TraceContext>) -> Result<(), Gone> {
        if self.vm.is_none() {
            plugin.measures.miss(trace);
            return Err(Gone);
        }
        Ok(())
    }

    /// One that is out may try again.
    fn forgive(&mut self, now: Instant) {
        if self.vm.is_none() {
            self.patience.forgive(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_never_zero() {
        let mut slot = Slot { vm: None, next: u32::MAX, ..Slot::new() };
        assert_eq!((slot.number(), slot.number()), (u32::MAX, 1));
    }
}
