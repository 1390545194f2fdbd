//! One running module: how it starts, and how it is called.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use outrigger_http::{RequestHead, ResponseHead};
use outrigger_net::ConnInfo;
use wasmtime::{InstancePre, Module, Store, TypedFunc, UpdateDeadline, WasmParams, WasmResults};

use crate::engine::Engine;
use crate::filter::abi::{Action, Map, Side, Version};
use crate::filter::calls::{Arrived, Part};
use crate::filter::exports::{Exports, Find, Headers};
use crate::filter::headers::count;
use crate::filter::link::linker;
use crate::filter::memory::{ALLOCATE, length};
use crate::filter::state::{Clock, Home, Plan, Services, State, processor_time};
use crate::filter::stream::{At, Life, Message, Parts, Stream};
use crate::filter::wasi::Exit;
use crate::limits;
use crate::ticker::TICK;

/// A module ready to run.
pub(crate) struct Blueprint {
    engine: Arc<Engine>,
    pre: InstancePre<State>,
    version: Version,
    pub(crate) plan: Arc<Plan>,
}

/// Why an instance is no more, or never was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Crash {
    #[error("it computed for longer than its deadline of {0:?}")]
    Late(Duration),
    #[error("it trapped: {0}")]
    Trapped(String),
    #[error("the host panicked in a call of it")]
    Panicked,
    #[error("`{0}` refused its configuration")]
    Refused(&'static str),
    #[error("it cannot be started: {0}")]
    Unstartable(String),
}

type Called<T = ()> = Result<T, Crash>;

/// The guest went on although its time was over.
#[derive(Debug, thiserror::Error)]
#[error("out of time")]
struct Overrun;

impl Blueprint {
    /// # Errors
    /// A module that is no filter, or asks for what there is not; the message says what.
    pub(crate) fn new(engine: Arc<Engine>, module: &Module, plan: Plan) -> Result<Self, String> {
        let version = Version::of(module).ok_or(
            "it is no proxy-wasm filter: it has no export `proxy_abi_version_0_2_1`, `_0_2_0` or `_0_1_0`",
        )?;
        let text = |error: wasmtime::Error| format!("{error:#}");
        let linker = linker(engine.wasmtime(), module).map_err(text)?;
        let pre = linker.instantiate_pre(module).map_err(text)?;
        Ok(Self { engine, pre, version, plan: Arc::new(plan) })
    }
}

/// An instance. Everything that calls the guest takes `&mut self`, so the guest never runs twice at once.
pub(crate) struct Vm {
    engine: Arc<Engine>,
    store: Store<State>,
    exports: Exports,
    deadline: Duration,
    /// Contexts are being ended.
    settling: bool,
}

impl Vm {
    /// Instantiates, starts and configures. Contexts are numbered from `root` on.
    pub(crate) fn start(
        blueprint: &Blueprint,
        services: Services,
        home: Option<Home>,
        root: u32,
    ) -> Called<Self> {
        let plan = Arc::clone(&blueprint.plan);
        let deadline = plan.deadline;
        let mut state = State::new(plan, services, home, blueprint.version);
        (state.root, state.current) = (root, root);
        let mut store = Store::new(blueprint.engine.wasmtime(), state);
        store.limiter(|state| &mut state.limits);
        store.epoch_deadline_callback(|mut store| match store.data_mut().clock.goes_on() {
            true => Ok(UpdateDeadline::Continue(1)),
            false => Err(Overrun.into()),
        });
        let engine = &blueprint.engine;
        let mut budget = Budget(limits::START);
        let instance = budget.spend(|deadline| {
            guarded(engine, &mut store, deadline, |store| blueprint.pre.instantiate(store))
        })?;
        let unstartable = |error: wasmtime::Error| Crash::Unstartable(format!("{error:#}"));
        let exports = Exports::of(&instance, &mut store).map_err(unstartable)?;
        let memory = instance.get_memory(&mut store, "memory");
        let mut find = Find { instance: &instance, store: &mut store };
        let mut allocate = None;
        for name in ALLOCATE {
            allocate = allocate.or(find.function(name).map_err(unstartable)?);
        }
        let started = Started::find(&mut find).map_err(unstartable)?;
        let state = store.data_mut();
        (state.memory, state.allocate) = (memory.or(state.memory), allocate.or(state.allocate.take()));
        let mut vm = Self { engine: Arc::clone(engine), store, exports, deadline, settling: false };
        vm.run_start(&started, &mut budget)?;
        vm.configure(root, &mut budget)?;
        Ok(vm)
    }

    fn run_start(&mut self, started: &Started, budget: &mut Budget) -> Called {
        for function in &started.plain {
            let run = budget.spend(|deadline| {
                guarded(&self.engine, &mut self.store, deadline, |store| function.call(store, ()))
            });
            match run {
                Ok(()) => {}
                Err(Crash::Trapped(_)) if self.exited_well() => {}
                Err(crash) => return Err(crash),
            }
        }
        if let Some(main) = &started.main {
            budget.spend(|deadline| {
                guarded(&self.engine, &mut self.store, deadline, |store| main.call(store, (0, 0)))
            })?;
        }
        Ok(())
    }

    fn exited_well(&self) -> bool {
        self.store.data().exited == Some(0)
    }

    fn configure(&mut self, root: u32, budget: &mut Budget) -> Called {
        let (vm_config, config) = {
            let plan = &self.state().plan;
            (length(plan.vm_config.len()), length(plan.config.len()))
        };
        if let Some(create) = self.exports.context_create.clone() {
            budget.spend(|deadline| self.call_for(deadline, root, &create, (root, 0)))?;
        }
        if let Some(vm_start) = self.exports.vm_start.clone()
            && budget.spend(|deadline| self.call_for(deadline, root, &vm_start, (root, vm_config)))? == 0
        {
            return Err(Crash::Refused("proxy_on_vm_start"));
        }
        if let Some(configure) = self.exports.configure.clone()
            && budget.spend(|deadline| self.call_for(deadline, root, &configure, (root, config)))? == 0
        {
            return Err(Crash::Refused("proxy_on_configure"));
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> &State {
        self.store.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.store.data_mut()
    }

    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        context: u32,
        what: &TypedFunc<P, R>,
        with: P,
    ) -> Called<R> {
        self.call_for(self.deadline, context, what, with)
    }

    /// Calls the guest about a context, then sees to the contexts that are through.
    fn call_for<P: WasmParams, R: WasmResults>(
        &mut self,
        deadline: Duration,
        context: u32,
        what: &TypedFunc<P, R>,
        with: P,
    ) -> Called<R> {
        self.store.data_mut().current = context;
        let result = guarded(&self.engine, &mut self.store, deadline, |store| what.call(store, with))?;
        self.settle()?;
        Ok(result)
    }

    /// Ends the contexts that are through, one after the other: what a guest does while one ends may put others in the
    /// line, but not itself on top of itself.
    fn settle(&mut self) -> Called {
        if std::mem::replace(&mut self.settling, true) {
            return Ok(());
        }
        while let Some(finished) = self.store.data_mut().finished.pop() {
            self.bury(finished)?;
        }
        self.settling = false;
        Ok(())
    }
}

/// What is left of the time a start may take in all. It is the processor's: on a machine with more to do than it can,
/// waiting is not the guest's doing.
struct Budget(Duration);

impl Budget {
    fn spend<R>(&mut self, run: impl FnOnce(Duration) -> Called<R>) -> Called<R> {
        if self.0.is_zero() {
            return Err(Crash::Late(limits::START));
        }
        let since = processor_time();
        let result = run(self.0);
        self.0 = self.0.saturating_sub(processor_time().saturating_sub(since));
        match result {
            Err(Crash::Late(_)) => Err(Crash::Late(limits::START)),
            result => result,
        }
    }
}

/// What is called once, before everything else.
struct Started {
    plain: Vec<TypedFunc<(), ()>>,
    main: Option<TypedFunc<(u32, u32), u32>>,
}

impl Started {
    /// Libraries have `_initialize`, and perhaps a `main` besides; programs have `_start`.
    fn find<S: wasmtime::AsContextMut>(find: &mut Find<'_, S>) -> wasmtime::Result<Self> {
        let Some(initialize) = find.function("_initialize")? else {
            return Ok(Self { plain: find.function("_start")?.into_iter().collect(), main: None });
        };
        Ok(Self { plain: vec![initialize], main: find.function("main").unwrap_or_default() })
    }
}

/// Runs the guest under a deadline. What goes wrong in it, or in us on its behalf, is the guest's end and nobody
/// else's.
fn guarded<R>(
    engine: &Engine,
    store: &mut Store<State>,
    deadline: Duration,
    run: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
) -> Called<R> {
    let ticks = deadline.as_nanos().div_ceil(TICK.as_nanos()) + 1;
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX));
    store.data_mut().clock = Clock::start(deadline);
    let ticking = engine.begin();
    let result = catch_unwind(AssertUnwindSafe(|| run(store)));
    drop(ticking);
    match result {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) if error.is::<Overrun>() => Err(Crash::Late(deadline)),
        Ok(Err(error)) => {
            store.data_mut().exited = error.downcast_ref::<Exit>().map(|exit| exit.0);
            Err(Crash::Trapped(reason(&error)))
        }
        Err(_) => Err(Crash::Panicked),
    }
}

/// The cause, without the addresses of the guest's stack before it.
fn reason(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}

/// Callbacks about streams.
impl Vm {
    /// A request has come, or a connection, which has no route.
    pub(crate) fn open(&mut self, context: u32, conn: Arc<ConnInfo>, route: Option<Arc<str>>) -> Called {
        let root = self.state().root;
        self.state_mut().streams.insert(context, Stream::new(conn, route));
        match self.exports.context_create.clone() {
            Some(create) => self.call(context, &create, (context, root)),
            None => Ok(()),
        }
    }

    pub(crate) fn request_headers(&mut self, context: u32, head: RequestHead, end: bool) -> Called {
        self.with_request(context, |message| {
            message.head = Some(head);
            message.show(At::Head);
        });
        let action = self.headers(context, self.exports.request_headers.clone(), Map::RequestHeaders, end)?;
        self.with_request(context, |message| message.decide(action));
        Ok(())
    }

    pub(crate) fn response_headers(&mut self, context: u32, head: ResponseHead, end: bool) -> Called {
        self.with_response(context, |message| {
            message.head = Some(head);
            message.show(At::Head);
        });
        let action =
            self.headers(context, self.exports.response_headers.clone(), Map::ResponseHeaders, end)?;
        self.with_response(context, |message| message.decide(action));
        Ok(())
    }

    fn headers(&mut self, context: u32, what: Option<Headers>, map: Map, end: bool) -> Called<Action> {
        let Some(what) = what else { return Ok(Action::Continue) };
        self.store.data_mut().current = context;
        let fields = count(self.state(), map);
        Ok(Action::of(match &what {
            Headers::Plain(plain) => self.call(context, plain, (context, fields))?,
            Headers::WithEnd(with_end) => self.call(context, with_end, (context, fields, end.into()))?,
        }))
    }

    /// More of a body has come; the filter is shown it together with what it holds back.
    pub(crate) fn body(&mut self, context: u32, side: Side, data: Bytes, end: bool) -> Called {
        let mut size = 0;
        self.with_message(context, side, |message| {
            message.size(data.len());
            message.body().extend(data);
            message.show(At::Body);
            size = length(message.body().len());
        });
        let what = match (side, self.is_connection(context)) {
            (Side::Request, false) => self.exports.request_body.clone(),
            (Side::Response, false) => self.exports.response_body.clone(),
            (Side::Request, true) => self.exports.downstream_data.clone(),
            (Side::Response, true) => self.exports.upstream_data.clone(),
        };
        let action = match what {
            Some(what) => Action::of(self.call(context, &what, (context, size, end.into()))?),
            None => Action::Continue,
        };
        self.with_message(context, side, |message| message.decide(action));
        Ok(())
    }

    fn is_connection(&self, context: u32) -> bool {
        self.state().streams.get(&context).is_some_and(|stream| stream.is_connection)
    }

    /// A connection that has been opened may wait before the client is listened to.
    pub(crate) fn connected(&mut self, context: u32) -> Called {
        let Some(what) = self.exports.new_connection.clone() else { return Ok(()) };
        let action = Action::of(self.call(context, &what, context)?);
        self.with_request(context, |message| message.decide(action));
        Ok(())
    }

    /// One side of a connection is over; `by_peer` when it was the other end that closed.
    pub(crate) fn disconnected(&mut self, context: u32, side: Side, by_peer: bool) -> Called {
        const LOCAL: u32 = 1;
        const REMOTE: u32 = 2;
        let what = match side {
            Side::Request => self.exports.downstream_close.clone(),
            Side::Response => self.exports.upstream_close.clone(),
        };
        match what {
            Some(what) => self.call(context, &what, (context, if by_peer { REMOTE } else { LOCAL })),
            None => Ok(()),
        }
    }

    /// The peer's trailers have come. Those the filter has put there while it was shown the body come after them.
    pub(crate) fn trailers(&mut self, context: u32, side: Side, mut trailers: HeaderMap) -> Called {
        let mut fields = 0;
        self.with_message(context, side, |message| {
            for (name, value) in message.trailers().take().iter().flatten() {
                trailers.append(name, value.clone());
            }
            fields = length(trailers.len());
            *message.trailers() = Some(trailers);
            message.show(At::Trailers);
        });
        let what = match side {
            Side::Request => self.exports.request_trailers.clone(),
            Side::Response => self.exports.response_trailers.clone(),
        };
        let action = match what {
            Some(what) => Action::of(self.call(context, &what, (context, fields))?),
            None => Action::Continue,
        };
        self.with_message(context, side, |message| message.decide(action));
        Ok(())
    }

    /// Whether anybody looks at bodies or trailers of this side.
    pub(crate) fn reads(&self, side: Side) -> bool {
        match side {
            Side::Request => self.exports.request_body.is_some() || self.exports.request_trailers.is_some(),
            Side::Response => {
                self.exports.response_body.is_some() || self.exports.response_trailers.is_some()
            }
        }
    }

    /// Nothing more will come of a request. A filter that has still to do says so, and later that it is done.
    pub(crate) fn close(&mut self, context: u32) -> Called {
        let Some(stream) = self.state_mut().streams.get_mut(&context) else { return Ok(()) };
        stream.life = Life::Ending;
        // Bodies are not shown any more.
        drop((stream.request.body.take(), stream.response.body.take()));
        if let Some(done) = self.exports.done.clone()
            && self.call(context, &done, context)? == 0
        {
            self.state_mut().linger(context);
            return self.settle();
        }
        self.finish(context)
    }

    /// A context is through, whether or not the filter has said so.
    pub(crate) fn finish(&mut self, context: u32) -> Called {
        self.state_mut().finish(context);
        self.settle()
    }

    /// The instance is not needed any more; the plugin's own context is told.
    pub(crate) fn end(&mut self) -> Called {
        let root = self.state().root;
        if let Some(done) = self.exports.done.clone() {
            self.call(root, &done, root)?;
        }
        if let Some(delete) = self.exports.delete.clone() {
            self.call(root, &delete, root)?;
        }
        Ok(())
    }

    fn bury(&mut self, context: u32) -> Called {
        if !self.state().streams.contains_key(&context) {
            return Ok(());
        }
        if let Some(log) = self.exports.log.clone() {
            self.call(context, &log, context)?;
        }
        if let Some(delete) = self.exports.delete.clone() {
            self.call(context, &delete, context)?;
        }
        let state = self.state_mut();
        state.streams.remove(&context);
        state.calls.forget(context);
        Ok(())
    }

    fn with_request(&mut self, context: u32, change: impl FnOnce(&mut Message<RequestHead>)) {
        if let Some(stream) = self.state_mut().streams.get_mut(&context) {
            change(&mut stream.request);
        }
    }

    fn with_response(&mut self, context: u32, change: impl FnOnce(&mut Message<ResponseHead>)) {
        if let Some(stream) = self.state_mut().streams.get_mut(&context) {
            change(&mut stream.response);
        }
    }

    fn with_message(&mut self, context: u32, side: Side, change: impl FnOnce(&mut dyn Parts)) {
        if let Some(stream) = self.state_mut().streams.get_mut(&context) {
            change(stream.message(side));
        }
    }
}

/// Callbacks about everything else.
impl Vm {
    pub(crate) fn tick(&mut self) -> Called {
        let root = self.state().root;
        match self.exports.tick.clone() {
            Some(tick) => self.call(root, &tick, root),
            None => Ok(()),
        }
    }

    pub(crate) fn queue_ready(&mut self, root: u32, queue: u32) -> Called {
        // The instance that registered may have been followed by another.
        match self.exports.queue_ready.clone().filter(|_| root == self.state().root) {
            Some(ready) => self.call(root, &ready, (root, queue)),
            None => Ok(()),
        }
    }

    /// The plugin's context is named to the guest, and whoever called is the effective one: Go's SDK keeps its calls by
    /// plugin. `None` is a call that brought no answer: it is told as one without headers.
    pub(crate) fn http_call_ended(&mut self, token: u32, arrived: Option<Arrived>) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        let arrived = arrived.unwrap_or_default();
        let sizes = [arrived.headers.len(), arrived.body.len(), arrived.trailers.len()].map(length);
        self.state_mut().calls.end(token);
        let Some(what) = self.exports.http_call_response.clone() else { return Ok(()) };
        let [headers, body, trailers] = sizes;
        let root = self.state().root;
        self.about(arrived, |vm| vm.call(context, &what, (root, token, headers, body, trailers)))
    }

    pub(crate) fn grpc_call_ended(&mut self, token: u32, ended: Result<Bytes, (u32, String)>) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        self.state_mut().calls.end(token);
        match ended {
            Ok(body) => {
                let Some(what) = self.exports.grpc_receive.clone() else { return Ok(()) };
                let size = length(body.len());
                let arrived = Arrived { body, ..Arrived::default() };
                let root = self.state().root;
                self.about(arrived, |vm| vm.call(context, &what, (root, token, size)))
            }
            Err(ended) => self.grpc_closed(context, token, ended),
        }
    }

    pub(crate) fn grpc_stream_ended(&mut self, token: u32, ended: (u32, String)) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        self.state_mut().calls.end(token);
        self.grpc_closed(context, token, ended)
    }

    fn grpc_closed(&mut self, context: u32, token: u32, (status, message): (u32, String)) -> Called {
        let Some(what) = self.exports.grpc_close.clone() else { return Ok(()) };
        let arrived = Arrived { status, message, ..Arrived::default() };
        let root = self.state().root;
        self.about(arrived, |vm| vm.call(context, &what, (root, token, status)))
    }

    pub(crate) fn grpc_arrived(&mut self, token: u32, part: Part, arrived: Arrived) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        let (what, size) = match part {
            Part::Initial => (&self.exports.grpc_initial, arrived.headers.len()),
            Part::Message => (&self.exports.grpc_receive, arrived.body.len()),
            Part::Trailing => (&self.exports.grpc_trailing, arrived.trailers.len()),
        };
        let Some(what) = what.clone() else { return Ok(()) };
        let root = self.state().root;
        self.about(arrived, |vm| vm.call(context, &what, (root, token, length(size))))
    }

    /// What has arrived can be read for as long as the callback takes.
    fn about(&mut self, arrived: Arrived, call: impl FnOnce(&mut Self) -> Called) -> Called {
        self.state_mut().calls.arrive(Some(arrived));
        let result = call(self);
        self.state_mut().calls.arrive(None);
        result
    }

    /// The instance is going away: whatever waits for it looks again, and finds it gone.
    pub(crate) fn wake_all(&mut self) {
        self.state_mut().streams.values_mut().for_each(Stream::wake);
    }
}
