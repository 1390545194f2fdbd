// Configuration through the stubs the published Java SDK brings along (io.mosn.layotto:runtime-spec-pb).

import io.mosn.layotto.v1.RuntimeClientBuilder;
import io.mosn.layotto.v1.grpc.GrpcRuntimeClient;
import spec.proto.runtime.v1.RuntimeGrpc;
import spec.proto.runtime.v1.RuntimeProto;

public final class JavaConfiguration {
    private static final String STORE = "config_demo";

    public static void main(String[] args) {
        String port = System.getenv().getOrDefault("runtime_GRPC_PORT", "34904");
        GrpcRuntimeClient client = new RuntimeClientBuilder()
            .withIp("127.0.0.1").withPort(Integer.parseInt(port)).withTimeout(30_000).buildGrpc();
        RuntimeGrpc.RuntimeBlockingStub runtime = client.getStubManager().getBlockingStub();
        // Layotto's way to one key of several environments.
        String key = "colour@$prod";
        runtime.saveConfiguration(RuntimeProto.SaveConfigurationRequest.newBuilder().setStoreName(STORE).setAppId("shop")
            .addItems(RuntimeProto.ConfigurationItem.newBuilder().setKey(key).setContent("blue")).build());
        RuntimeProto.GetConfigurationRequest get = RuntimeProto.GetConfigurationRequest.newBuilder()
            .setStoreName(STORE).setAppId("shop").addKeys(key).build();
        System.out.println("read: " + runtime.getConfiguration(get).getItems(0).getContent());
        runtime.deleteConfiguration(RuntimeProto.DeleteConfigurationRequest.newBuilder()
            .setStoreName(STORE).setAppId("shop").addKeys(key).build());
        System.out.println("left: " + runtime.getConfiguration(get).getItemsCount());
        client.shutdown();
        System.exit(0);
    }
}
