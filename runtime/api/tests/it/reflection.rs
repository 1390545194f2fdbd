//! Reflection in both versions describes everything that is served.

use prost::Message as _;
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::Sidecar;

const SERVICES: [&str; 7] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "outrigger.v1.Actuator",
    "outrigger.v1.Functions",
    "spec.proto.runtime.v1.Lifecycle",
    "spec.proto.runtime.v1.Runtime",
];

/// The two versions differ in nothing but their package.
macro_rules! reflects {
    ($test:ident, $version:ident) => {
        #[tokio::test]
        async fn $test() {
            use $version::server_reflection_client::ServerReflectionClient;
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let sidecar = Sidecar::new();
            let served = sidecar.serve().await;
            let mut client = ServerReflectionClient::new(served.channel().await);
            let mut ask = async |question| {
                let request = $version::ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(question),
                };
                let mut answers =
                    client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
                answers.message().await.unwrap().unwrap().message_response.unwrap()
            };
            let MessageResponse::ListServicesResponse(list) =
                ask(MessageRequest::ListServices(String::new())).await
            else {
                panic!("not a list")
            };
            let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            names.sort();
            assert_eq!(names, SERVICES);
            for name in SERVICES {
                let MessageResponse::FileDescriptorResponse(files) =
                    ask(MessageRequest::FileContainingSymbol(name.to_owned())).await
                else {
                    panic!("{name} is not described")
                };
                let file =
                    prost_types::FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).unwrap();
                assert!(file.service.iter().any(|service| name.ends_with(service.name())), "{name}");
            }
        }
    };
}

reflects!(version_one_describes_every_service, v1);
reflects!(version_one_alpha_describes_every_service, v1alpha);
