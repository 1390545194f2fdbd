//! Hello: a greeting by a named component, and the first of those that can be changed while they run.

use std::sync::Arc;

use outrigger_component_api::{Built, ComponentSpec, Greeter, Result, Settings};

use crate::caller::Caller;
use crate::guard::{Call, Class, Meter, Op, Policy};
use crate::slot::{Slot, SlotConfig};
use crate::stores::{Member, Stores};

/// The hello block.
#[derive(Default)]
pub struct Hello {
    /// The greeters calls can name.
    pub greeters: Stores<GreeterComponent>,
}

impl Hello {
    /// The greeting of a greeter.
    pub async fn say(&self, caller: &Caller<'_>, greeter: &str, name: &str) -> Result<String> {
        let greeter = self.greeters.find(caller, greeter)?;
        let call = Call { op: &greeter.ops.greet, class: Class::Idempotent, caller };
        greeter.slot.run(call, |backend| async move { backend.greet(name).await }).await
    }

    /// Gives a greeter settings in place of the ones it has.
    pub async fn apply(&self, caller: &Caller<'_>, greeter: &str, settings: Settings) -> Result<()> {
        let greeter = self.greeters.find(caller, greeter)?;
        let settings = &settings;
        let call = Call { op: &greeter.ops.apply, class: Class::Idempotent, caller };
        greeter.slot.run(call, |backend| async move { backend.apply(settings.clone()).await }).await
    }
}

/// What the hello block keeps for one greeter.
pub struct GreeterComponent {
    slot: Slot<dyn Greeter>,
    ops: Ops,
}

struct Ops {
    greet: Op,
    apply: Op,
}

impl Member for GreeterComponent {
    type Block = dyn Greeter;
    const BLOCK: &'static str = "hello";
    const NOUN: &'static str = "greeter";
    const FIELD: &'static str = "service_name";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let op = |name| meter.op(Self::BLOCK, &spec.name, name);
        let ops = Ops { greet: op("greet"), apply: op("apply") };
        Ok(Self { slot: Slot::new(SlotConfig::of(spec, policy)), ops })
    }

    fn slot(&self) -> &Slot<dyn Greeter> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn Greeter>> {
        if let Built::Hello(greeter) = built { Some(greeter) } else { None }
    }
}
