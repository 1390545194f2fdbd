// State through the published Java SDK (io.mosn.layotto:runtime-sdk).

import io.mosn.layotto.v1.RuntimeClientBuilder;
import java.util.Arrays;
import spec.sdk.runtime.v1.client.RuntimeClient;
import spec.sdk.runtime.v1.domain.state.State;
import spec.sdk.runtime.v1.domain.state.TransactionalStateOperation;
import spec.sdk.runtime.v1.domain.state.TransactionalStateOperation.OperationType;

public final class JavaState {
    private static final String STORE = "state_demo";

    public static void main(String[] args) {
        String port = System.getenv().getOrDefault("runtime_GRPC_PORT", "34904");
        RuntimeClient client =
            new RuntimeClientBuilder().withIp("127.0.0.1").withPort(Integer.parseInt(port)).withTimeout(30_000).build();
        client.saveState(STORE, "cart-7", "two apples");
        System.out.println("read: " + client.getState(STORE, "cart-7", String.class).getValue());
        client.executeStateTransaction(STORE, Arrays.asList(
            new TransactionalStateOperation<>(OperationType.UPSERT, new State<>("order-7", "two apples", "")),
            new TransactionalStateOperation<>(OperationType.DELETE, new State<>("cart-7", ""))));
        System.out.println("moved: " + client.getState(STORE, "order-7", String.class).getValue());
        System.out.println("left behind: " + client.getState(STORE, "cart-7", String.class).getValue());
        client.deleteState(STORE, "order-7");
        client.shutdown();
        System.exit(0);
    }
}
