//! What the host remembers for one instance of a function.

use std::sync::Arc;

use outrigger_blocks::function::{Chain, FunctionConfig};
use outrigger_blocks::{Blocks, Caller, Deadline, Error, ErrorKind};
use outrigger_telemetry::trace::TraceContext;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::journal::{Journal, Kind};
use super::limiter::Limiter;
use super::output::Output;
use super::words::Words;
use crate::filter::state::Clusters;
use crate::imports::Counted;
use crate::limits::{FIELDS, RANDOM, resources};

/// What a version of a function is, and what its instances share.
pub(crate) struct Program {
    pub(crate) name: Arc<str>,
    pub(crate) config: FunctionConfig,
    pub(crate) journal: Arc<Journal>,
    pub(crate) clusters: Clusters,
    pub(crate) counted: Counted,
}

/// One call of a function: in whose name it acts, and until when.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) deadline: Deadline,
    /// The function's own span: what it does is below it.
    pub(crate) trace: Option<TraceContext>,
    /// Who waits for what it calls: its callers, and itself.
    pub(crate) chain: Chain,
}

impl Call {
    /// A function acts as the application its process stands beside.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller {
            app_id: self.blocks.app_id(),
            deadline: self.deadline,
            trace: self.trace.clone(),
            chain: self.chain.clone(),
        }
    }
}

/// The data of a store.
pub(crate) struct Ctx {
    pub(crate) guest: Guest,
    pub(crate) limiter: Limiter,
    table: ResourceTable,
    /// Made when it is asked for: most calls do without.
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
}

/// What imports know about the guest that calls them.
pub(crate) struct Guest {
    pub(crate) program: Arc<Program>,
    /// None while nobody calls it: where it is tried out, and between two calls.
    call: Option<Call>,
    /// Operations on blocks the call may still make.
    left: u32,
    /// What it holds of the interfaces that give out handles.
    pub(crate) handles: ResourceTable,
    /// The bytes behind them.
    pub(crate) held: usize,
    /// It has exited, and is not called again.
    pub(crate) is_gone: bool,
    /// Of the call under way.
    pub(crate) words: Words,
}

impl Guest {
    /// The call under way, which makes one more operation on a block.
    ///
    /// # Errors
    /// When it has made as many as it may, or there is no call.
    pub(crate) fn operation(&mut self) -> Result<Call, Error> {
        self.operations(1)
    }

    /// The same for so many at once: one question about many keys is as many operations. One about none is one, too.
    ///
    /// # Errors
    /// When it may not make all of them, or there is no call.
    pub(crate) fn operations(&mut self, many: usize) -> Result<Call, Error> {
        let Some(call) = &self.call else {
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                "a function calls blocks only while it is called",
            ));
        };
        let left = u32::try_from(many.max(1)).ok().and_then(|many| self.left.checked_sub(many));
        let Some(left) = left else {
            let max = self.program.config.max_calls;
            return Err(Error::new(
                ErrorKind::RateLimited,
                format!("a call may make {max} operations (`max_calls`)"),
            ));
        };
        self.left = left;
        Ok(call.clone())
    }

    /// A call begins. There is none where it is only tried out.
    pub(crate) fn begin(&mut self, call: Option<Call>) {
        self.left = self.program.config.max_calls;
        self.call = call;
        self.words.take();
    }

    /// It is over.
    pub(crate) fn end(&mut self) {
        self.call = None;
    }
}

impl Ctx {
    pub(crate) fn new(program: Arc<Program>) -> Self {
        let memory = program.config.memory;
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS);
        Self {
            limiter: Limiter::new(memory),
            guest: Guest {
                program,
                call: None,
                left: 0,
                handles: table(memory),
                held: 0,
                is_gone: false,
                words: Words::default(),
            },
            table: table(memory),
            wasi: None,
            http,
        }
    }
}

/// No files, no environment, no arguments, no network.
fn wasi(guest: &Guest) -> WasiCtx {
    let output = |kind, words| Output::new(kind, Arc::clone(&guest.program.journal), words);
    WasiCtx::builder()
        .stdout(output(Kind::Stdout, None))
        .stderr(output(Kind::Stderr, Some(guest.words.clone())))
        .max_random_size(u64::from(RANDOM))
        .build()
}

fn table(memory: usize) -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(resources(memory));
    table
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| wasi(&self.guest));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.guest, table: &mut self.table, ctx: &mut self.http }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_telemetry::Metrics;
    use wasmtime_wasi_http::WasiHttpHooks as _;

    use super::*;
    use crate::filter::metrics::Defined;
    use crate::limits::PIECE;

    fn ctx(config: FunctionConfig) -> Ctx {
        let journal = Journal::new("f".into(), "v1".into(), Arc::default());
        Ctx::new(Arc::new(Program {
            name: "f".into(),
            config,
            journal: Arc::new(journal),
            clusters: Clusters::default(),
            counted: Counted::new(Arc::new(Defined::new(Metrics::new())), "f".into()),
        }))
    }

    #[test]
    fn what_is_behind_handles_is_bounded_by_memory() {
        let check = |memory, expected| {
            let mut ctx = ctx(FunctionConfig { memory, ..FunctionConfig::default() });
            for table in [&mut ctx.table, &mut ctx.guest.handles] {
                let fit = std::iter::from_fn(|| table.push(()).ok()).take(5000).count();
                assert_eq!(fit, expected, "{memory}");
            }
            let piece = ctx.guest.p2_outgoing_body_chunk_size();
            let pieces = ctx.guest.p2_outgoing_body_buffer_chunks() + 1;
            assert!(format!("{:?}", ctx.http).contains(&FIELDS.to_string()), "{:?}", ctx.http);
            assert!(expected == 256 || expected * (FIELDS + pieces * piece) <= memory);
            assert_eq!(piece, PIECE);
        };
        check(64 << 20, 682);
        check(64 << 10, 256);
        check(1 << 30, 4096);
    }

    #[test]
    fn many_operations_are_made_all_or_none() {
        let mut guest = ctx(FunctionConfig { max_calls: 5, ..FunctionConfig::default() }).guest;
        assert_eq!(guest.operations(1).map(drop).unwrap_err().kind(), ErrorKind::FailedPrecondition);
        let blocks = Arc::new(Blocks::new("shop", &Metrics::new()));
        let chain = Chain::default();
        guest.begin(Some(Call { blocks, deadline: Deadline::NEVER, trace: None, chain }));
        let fit = [3, 3, usize::MAX, 0, 1, 1].map(|many| guest.operations(many).is_ok());
        assert_eq!(fit, [true, false, false, true, true, false]);
    }
}
