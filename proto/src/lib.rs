//! The wire contract, and nothing else: one module and one feature for each dialect.
//!
//! The code in `src/gen` is made from the `.proto` files of this crate by `cargo xtask proto`; edit those.

/// The Layotto dialect, package `spec.proto.runtime.v1`.
#[cfg(feature = "layotto")]
pub mod layotto {
    #[expect(clippy::large_enum_variant, reason = "generated")]
    mod generated {
        include!("gen/spec.proto.runtime.v1.rs");
    }
    pub use generated::*;

    /// Every file of the package and what it imports, as reflection serves them.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/layotto.bin");
}

/// The Dapr dialect, package `dapr.proto.runtime.v1`: what applications implement.
#[cfg(feature = "dapr")]
pub mod dapr {
    mod generated {
        include!("gen/dapr.proto.runtime.v1.rs");
    }
    pub use generated::*;

    /// Every file of the package and what it imports, as reflection serves them.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/dapr.bin");
}

/// What only Outrigger has, package `outrigger.v1`.
#[cfg(feature = "outrigger")]
pub mod outrigger {
    mod generated {
        include!("gen/outrigger.v1.rs");
    }
    pub use generated::*;

    /// Every file of the package and what it imports, as reflection serves them.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/outrigger.bin");
}
