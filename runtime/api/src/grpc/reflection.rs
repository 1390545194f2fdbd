//! Server reflection in both versions: grpcurl and older clients ask for v1alpha only.

use outrigger_proto::{layotto, outrigger};
use tonic_health::pb as health;
use tonic_reflection::pb;
use tonic_reflection::server::Builder;
use tonic_reflection::server::v1::{self as server_v1, ServerReflectionServer as V1};
use tonic_reflection::server::v1alpha::{self as server_v1alpha, ServerReflectionServer as V1Alpha};

pub(crate) fn v1() -> V1<impl server_v1::ServerReflection> {
    let described = described().register_encoded_file_descriptor_set(pb::v1alpha::FILE_DESCRIPTOR_SET);
    described.build_v1().expect("committed descriptor sets decode")
}

pub(crate) fn v1alpha() -> V1Alpha<impl server_v1alpha::ServerReflection> {
    let described = described().register_encoded_file_descriptor_set(pb::v1::FILE_DESCRIPTOR_SET);
    described.build_v1alpha().expect("committed descriptor sets decode")
}

/// The services a client can call here. `AppCallback` is in the Layotto set too, but is the application's to serve.
fn described() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(layotto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(outrigger::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(health::FILE_DESCRIPTOR_SET)
        .with_service_name("spec.proto.runtime.v1.Runtime")
        .with_service_name("spec.proto.runtime.v1.Lifecycle")
        .with_service_name("outrigger.v1.Actuator")
        .with_service_name("outrigger.v1.Functions")
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .with_service_name("grpc.reflection.v1alpha.ServerReflection")
}
