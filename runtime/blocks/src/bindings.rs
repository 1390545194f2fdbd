//! Bindings: operations of other systems, by the name of a component, and events that come in from them.

mod inlet;
mod input;

use std::sync::Arc;

use outrigger_component_api::{
    BindingRequest, BindingResponse, Built, ComponentSpec, OutputBinding, Result, unknown_operation,
};

use crate::caller::Caller;
use crate::guard::{Call, Class, Meter, Op, Policy};
use crate::slot::{Slot, SlotConfig};
use crate::stores::{Member, Stores};

pub use inlet::{AppInputs, Inlet};
pub use input::{InputComponent, InputEvent};

/// The bindings block.
#[derive(Default)]
pub struct Bindings {
    /// The systems calls can name.
    pub outputs: Stores<OutputComponent>,
    /// The systems events come from.
    pub inputs: Stores<InputComponent>,
}

impl Bindings {
    /// Runs an operation of another system, once: whether it may be repeated only the caller knows. A refusal by the
    /// system is an answer.
    pub async fn invoke(
        &self,
        caller: &Caller<'_>,
        binding: &str,
        request: BindingRequest,
    ) -> Result<BindingResponse> {
        let binding = self.outputs.find(caller, binding)?;
        let request = &request;
        let call = Call { op: &binding.op, class: Class::Once, caller };
        let invoke = |backend: Arc<dyn OutputBinding>| async move {
            if !backend.operations().contains(&request.operation.as_str()) {
                return Err(unknown_operation(&request.operation, backend.operations()));
            }
            backend.invoke(request.clone()).await
        };
        binding.slot.run(call, invoke).await
    }
}

/// What the bindings block keeps for one system.
pub struct OutputComponent {
    slot: Slot<dyn OutputBinding>,
    op: Op,
}

impl Member for OutputComponent {
    type Block = dyn OutputBinding;
    const BLOCK: &'static str = "bindings";
    const NOUN: &'static str = "output binding";
    const FIELD: &'static str = "name";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let op = meter.op(Self::BLOCK, &spec.name, "invoke");
        Ok(Self { slot: Slot::new(SlotConfig::of(spec, policy)), op })
    }

    fn slot(&self) -> &Slot<dyn OutputBinding> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn OutputBinding>> {
        if let Built::OutputBinding(binding) = built { Some(binding) } else { None }
    }

    fn capabilities(binding: &dyn OutputBinding) -> Vec<&'static str> {
        binding.operations().to_vec()
    }
}
