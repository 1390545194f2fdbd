//! One running module: how it starts, and how it is called.

mod answers;
mod function;
mod streams;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{InstancePre, Module, Store, TypedFunc, UpdateDeadline, WasmParams, WasmResults};

pub(crate) use function::{Asked, Said};

use crate::engine::Engine;
use crate::filter::abi::{Side, Version};
use crate::filter::blocks;
use crate::filter::exports::{self, Exports, Find};
use crate::filter::link::linker;
use crate::filter::measures::is_timed;
use crate::filter::memory::{ALLOCATE, length};
use crate::filter::state::{Clock, Home, Plan, Services, State, processor_time};
use crate::filter::wasi::Exit;
use crate::limits;
use crate::ticker::TICK;

/// A module ready to run.
pub(crate) struct Blueprint {
    engine: Arc<Engine>,
    pre: InstancePre<State>,
    version: Version,
    /// Whether it may set or read what filters set on a request.
    pub(crate) has_properties: bool,
    /// Whether it looks at bodies or trailers, of requests and of responses.
    reads: [bool; 2],
    /// Of the plugins that share its instances, which have the settings of an instance in common; there is one at least.
    pub(crate) crew: Box<[Arc<Plan>]>,
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

/// Why there is no instance.
#[derive(Debug)]
pub(crate) struct Unstarted {
    /// Which of its plugins was the one.
    pub(crate) seat: usize,
    pub(crate) crash: Crash,
}

impl From<Crash> for Unstarted {
    fn from(crash: Crash) -> Self {
        Self { seat: 0, crash }
    }
}

type Called<T = ()> = Result<T, Crash>;

/// The guest went on although its time was over.
#[derive(Debug, thiserror::Error)]
#[error("out of time")]
struct Overrun;

impl Blueprint {
    /// # Errors
    /// A module that is no filter, or asks for what there is not; the message says what.
    pub(crate) fn new(engine: Arc<Engine>, module: &Module, crew: Vec<Plan>) -> Result<Self, String> {
        let version = Version::of(module).ok_or(
            "it is no proxy-wasm filter: it has no export `proxy_abi_version_0_2_1`, `_0_2_0` or `_0_1_0`",
        )?;
        let crew: Box<[_]> = crew.into_iter().map(Arc::new).collect();
        blocks::may_link(module, crew.first().and_then(|plan| plan.grants.as_deref()))?;
        let text = |error: wasmtime::Error| format!("{error:#}");
        let linker = linker(engine.wasmtime(), module).map_err(text)?;
        let pre = linker.instantiate_pre(module).map_err(text)?;
        let has_properties = module.imports().any(|import| import.name().ends_with("_property"));
        let reads = [Side::Request, Side::Response].map(|side| exports::reads(module, side));
        Ok(Self { engine, pre, version, has_properties, reads, crew })
    }

    pub(crate) fn reads(&self, side: Side) -> bool {
        let [request, response] = self.reads;
        match side {
            Side::Request => request,
            Side::Response => response,
        }
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
    /// Instantiates, starts and configures. The contexts of its plugins have these numbers.
    pub(crate) fn start(
        blueprint: &Blueprint,
        services: Services,
        home: Option<Home>,
        roots: &[u32],
    ) -> Result<Self, Unstarted> {
        let mut budget = Budget(limits::START);
        let mut seats = roots.iter().zip(&blueprint.crew);
        let Some((root, plan)) = seats.next() else {
            return Err(Crash::Unstartable("nobody is aboard".into()).into());
        };
        let mut vm = Self::instantiate(blueprint, services, home, (*root, plan), &mut budget)?;
        vm.create(*root, &mut budget)?;
        vm.vm_start(*root, &mut budget)?;
        vm.configure(*root, &mut budget)?;
        for (seat, (root, plan)) in seats.enumerate() {
            vm.state_mut().seat(*root, plan);
            let boarded = vm.create(*root, &mut budget).and_then(|()| vm.configure(*root, &mut budget));
            boarded.map_err(|crash| Unstarted { seat: seat + 1, crash })?;
        }
        Ok(vm)
    }

    fn instantiate(
        blueprint: &Blueprint,
        services: Services,
        home: Option<Home>,
        (root, plan): (u32, &Arc<Plan>),
        budget: &mut Budget,
    ) -> Called<Self> {
        let deadline = plan.deadline;
        let mut state = State::new(Arc::clone(plan), services, home, blueprint.version);
        state.seat(root, plan);
        let mut store = Store::new(blueprint.engine.wasmtime(), state);
        store.limiter(|state| &mut state.limits);
        store.epoch_deadline_callback(|mut store| match store.data_mut().clock.goes_on() {
            true => Ok(UpdateDeadline::Continue(1)),
            false => Err(Overrun.into()),
        });
        let engine = &blueprint.engine;
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
        (state.memory, state.allocate) =
            (memory.or(state.memory), allocate.map(Arc::new).or(state.allocate.take()));
        let mut vm = Self { engine: Arc::clone(engine), store, exports, deadline, settling: false };
        vm.run_start(&started, budget)?;
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

    fn create(&mut self, root: u32, budget: &mut Budget) -> Called {
        budget
            .spend(|deadline| self.call_for(deadline, root, |exports| &exports.context_create, (root, 0)))?;
        Ok(())
    }

    /// Once for an instance, in the context of its first plugin.
    fn vm_start(&mut self, root: u32, budget: &mut Budget) -> Called {
        let config = length(self.state().plan.vm_config.len());
        let started = budget
            .spend(|deadline| self.call_for(deadline, root, |exports| &exports.vm_start, (root, config)))?;
        if started == Some(0) {
            return Err(Crash::Refused("proxy_on_vm_start"));
        }
        Ok(())
    }

    fn configure(&mut self, root: u32, budget: &mut Budget) -> Called {
        // While its context was created it may have turned to that of another plugin.
        self.state_mut().focus(root);
        let config = length(self.state().plan.config.len());
        let configured = budget
            .spend(|deadline| self.call_for(deadline, root, |exports| &exports.configure, (root, config)))?;
        if configured == Some(0) {
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

    /// Host calls are about this context, whose plugin has the context that is returned.
    fn root_of(&mut self, context: u32) -> u32 {
        let state = self.state_mut();
        state.focus(context);
        state.root
    }

    /// As [`call_for`](Self::call_for), in the time that every call has.
    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        context: u32,
        what: impl FnOnce(&Exports) -> &Option<TypedFunc<P, R>>,
        with: P,
    ) -> Called<Option<R>> {
        self.call_for(self.deadline, context, what, with)
    }

    /// Calls the guest about a context, if it is to be called for this, then sees to the contexts that are through.
    fn call_for<P: WasmParams, R: WasmResults>(
        &mut self,
        deadline: Duration,
        context: u32,
        what: impl FnOnce(&Exports) -> &Option<TypedFunc<P, R>>,
        with: P,
    ) -> Called<Option<R>> {
        let Some(what) = what(&self.exports) else { return Ok(None) };
        self.store.data_mut().focus(context);
        let since = is_timed(context).then(Instant::now);
        let result = guarded(&self.engine, &mut self.store, deadline, |store| what.call(store, with));
        if let Some(since) = since {
            self.spent(context, since.elapsed());
        }
        let result = result?;
        self.settle()?;
        Ok(Some(result))
    }

    fn spent(&mut self, context: u32, time: Duration) {
        let stream = self.state_mut().streams.get_mut(&context);
        if let Some(observed) = stream.and_then(|stream| stream.observed.as_mut()) {
            observed.spend(time);
        }
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
    let ticking = engine.begin_short();
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
