// Every API of the published Layotto SDK for Java (io.mosn.layotto:runtime-sdk), unmodified, against a sidecar.
//
// Usage: java -cp 'LIB/*' Layotto.java PORT APP_PORT HTTP_PORT
//
// Expects what layotto.js beside this expects. Locks and configuration, which this version of the SDK has no methods
// for, are called through the stubs it brings along. Exits with 0 when every check held.

import com.sun.net.httpserver.HttpServer;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import io.mosn.layotto.v1.RuntimeClientBuilder;
import io.mosn.layotto.v1.RuntimeServerGrpc;
import io.mosn.layotto.v1.callback.component.pubsub.DefaultSubscriber;
import io.mosn.layotto.v1.exceptions.RuntimeClientException;
import io.mosn.layotto.v1.grpc.GrpcRuntimeClient;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import spec.proto.runtime.v1.RuntimeGrpc;
import spec.proto.runtime.v1.RuntimeProto;
import spec.sdk.runtime.v1.domain.file.DelFileRequest;
import spec.sdk.runtime.v1.domain.file.GetFileRequest;
import spec.sdk.runtime.v1.domain.file.GetMetaRequest;
import spec.sdk.runtime.v1.domain.file.ListFileRequest;
import spec.sdk.runtime.v1.domain.file.PutFileRequest;
import spec.sdk.runtime.v1.domain.sequencer.GetNextIdRequest;
import spec.sdk.runtime.v1.domain.sequencer.SequencerOptions;
import spec.sdk.runtime.v1.domain.state.GetBulkStateRequest;
import spec.sdk.runtime.v1.domain.state.State;
import spec.sdk.runtime.v1.domain.state.StateOptions;
import spec.sdk.runtime.v1.domain.state.TransactionalStateOperation;

public final class Layotto {
    private static final String RUN = UUID.randomUUID().toString();
    private static final int TIMEOUT = 30_000;
    private static final Map<String, Integer> RECEIVED = new ConcurrentHashMap<>();

    private static void same(Object expected, Object found) {
        if (!Objects.deepEquals(expected, found)) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    private static void holds(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    private static void eventually(String what, Callable<Boolean> check) throws Exception {
        long until = System.nanoTime() + 30_000_000_000L;
        while (!check.call()) {
            holds(System.nanoTime() < until, what + ": not within half a minute");
            Thread.sleep(20);
        }
    }

    private static void refused(Status.Code code, Callable<?> call) throws Exception {
        try {
            Object answer = call.call();
            throw new AssertionError("not refused: " + answer);
        } catch (StatusRuntimeException error) {
            same(code, error.getStatus().getCode());
        }
    }

    private static void hello(GrpcRuntimeClient client) {
        // This version sends one name, of the component.
        same("greeting", client.sayHello("hello").split(",")[0]);
    }

    /// The SDK shows a key without a value as one that is empty.
    private static String absent(State<String> state) {
        return state.getValue() == null ? "" : state.getValue();
    }

    private static void state(GrpcRuntimeClient client) throws Exception {
        String store = "state";
        String a = "java-" + RUN + "-a";
        String b = "java-" + RUN + "-b";
        StateOptions first = new StateOptions(StateOptions.Consistency.STRONG, StateOptions.Concurrency.FIRST_WRITE);
        same("", absent(client.getState(store, a, String.class)));
        client.saveState(store, a, "one");
        State<String> found = client.getState(store, a, String.class);
        same("one", found.getValue());
        client.saveState(store, a, found.getEtag(), "two", first, null);
        try {
            client.saveState(store, a, found.getEtag(), "lost", first, null);
            throw new AssertionError("a stale etag was taken");
        } catch (RuntimeException expected) {
            holds(expected.toString().contains("etag"), expected.toString());
        }
        client.saveBulkState(store, Arrays.asList(new State<>(b, "three", "")));
        List<State<String>> bulk = client.getBulkState(new GetBulkStateRequest(store, a, b), String.class);
        same(2, bulk.size());
        for (State<String> item : bulk) {
            same(item.getKey().equals(a) ? "two" : "three", item.getValue());
        }
        // As the SDK's users do: no etag is an empty one.
        client.executeStateTransaction(store, Arrays.asList(
            new TransactionalStateOperation<>(TransactionalStateOperation.OperationType.UPSERT, new State<>(a, "four", "")),
            new TransactionalStateOperation<>(TransactionalStateOperation.OperationType.DELETE, new State<>(b, ""))));
        same("four", client.getState(store, a, String.class).getValue());
        same("", absent(client.getState(store, b, String.class)));
        client.deleteState(store, a);
        same("", absent(client.getState(store, a, String.class)));
    }

    private static void sequencer(GrpcRuntimeClient client) {
        long last = 0;
        for (int i = 0; i < 10; i++) {
            SequencerOptions options = new SequencerOptions();
            options.setOption(SequencerOptions.AutoIncrement.STRONG);
            GetNextIdRequest request = new GetNextIdRequest();
            request.setStoreName("ids");
            request.setKey("java-" + RUN);
            request.setOptions(options);
            long next = client.getNextId(request).getNextId();
            same(last + 1, next);
            last = next;
        }
    }

    private static void files(GrpcRuntimeClient client) throws Exception {
        String store = "files";
        String name = "java-" + RUN + "/report.txt";
        Map<String, String> metadata = Map.of("FileFlag", "577", "FileMode", "420");
        byte[] content = new byte[300_000];
        Arrays.fill(content, (byte) 'x');
        PutFileRequest put = new PutFileRequest();
        put.setStoreName(store);
        put.setFileName(name);
        put.setMetaData(metadata);
        put.setIn(new ByteArrayInputStream(content));
        client.putFile(put, TIMEOUT);
        GetFileRequest get = new GetFileRequest();
        get.setStoreName(store);
        get.setFileName(name);
        get.setMetaData(metadata);
        try (InputStream in = client.getFile(get, TIMEOUT).getIn()) {
            same(content.length, in.readAllBytes().length);
        }
        GetMetaRequest stat = new GetMetaRequest();
        stat.setStoreName(store);
        stat.setFileName(name);
        stat.setMetaData(metadata);
        same((long) content.length, client.getFileMeta(stat, TIMEOUT).getSize());
        ListFileRequest list = new ListFileRequest();
        list.setStoreName(store);
        list.setName("java-" + RUN);
        list.setMetaData(metadata);
        list.setPageSize(10);
        list.setMarker("");
        same(1, client.listFile(list, TIMEOUT).getFiles().length);
        DelFileRequest delete = new DelFileRequest();
        delete.setStoreName(store);
        delete.setFileName(name);
        delete.setMetaData(metadata);
        client.delFile(delete, TIMEOUT);
        try {
            client.getFileMeta(stat, TIMEOUT);
            throw new AssertionError("the file is still there");
        } catch (RuntimeException expected) {
            holds(expected.toString().contains("NOT_FOUND"), expected.toString());
        }
    }

    private static void pubsub(GrpcRuntimeClient client) throws Exception {
        for (int i = 0; i < 20; i++) {
            client.publishEvent("events", "orders", (RUN + "/" + i).getBytes(StandardCharsets.UTF_8));
        }
        eventually("every event", () -> {
            for (int i = 0; i < 20; i++) {
                if (!RECEIVED.containsKey(RUN + "/" + i)) {
                    return false;
                }
            }
            return true;
        });
        eventually("the refused event again", () -> RECEIVED.get(RUN + "/7") > 1);
    }

    private static void invoke(GrpcRuntimeClient client) {
        byte[] answer = client.invokeMethod("echo", "/hello", "ping".getBytes(StandardCharsets.UTF_8), Map.of()).getData();
        String text = new String(answer, StandardCharsets.UTF_8);
        holds(text.endsWith(" /hello ping"), text);
        try {
            client.invokeMethod("nobody", "/hello", new byte[0], Map.of());
            throw new AssertionError("an unknown app was called");
        } catch (RuntimeException expected) {
            holds(!expected.toString().contains("AssertionError"), expected.toString());
        }
    }

    private static void lock(RuntimeGrpc.RuntimeBlockingStub runtime) throws Exception {
        String resource = "java-" + RUN;
        RuntimeProto.TryLockRequest take = RuntimeProto.TryLockRequest.newBuilder()
            .setStoreName("lock").setResourceId(resource).setLockOwner("one").setExpire(60).build();
        RuntimeProto.UnlockRequest give = RuntimeProto.UnlockRequest.newBuilder()
            .setStoreName("lock").setResourceId(resource).setLockOwner("one").build();
        holds(runtime.tryLock(take).getSuccess(), "a free lock was refused");
        holds(!runtime.tryLock(take.toBuilder().setLockOwner("two").build()).getSuccess(), "two holders");
        same(2, runtime.unlock(give.toBuilder().setLockOwner("two").build()).getStatusValue());
        same(0, runtime.unlock(give).getStatusValue());
        same(1, runtime.unlock(give).getStatusValue());
        holds(runtime.tryLock(take.toBuilder().setExpire(3).build()).getSuccess(), "a lock given back was refused");
        eventually("the end of a lock of three seconds", () ->
            runtime.tryLock(take.toBuilder().setLockOwner("two").build()).getSuccess());
        refused(Status.Code.INVALID_ARGUMENT, () -> runtime.tryLock(take.toBuilder().setExpire(0).build()));
    }

    private static void configuration(RuntimeGrpc.RuntimeBlockingStub runtime, RuntimeGrpc.RuntimeStub async)
            throws Exception {
        // Neither group nor label: not every store has them.
        String key = "java-" + RUN + "-a";
        RuntimeProto.GetConfigurationRequest get = RuntimeProto.GetConfigurationRequest.newBuilder()
            .setStoreName("settings").setAppId("shop").addKeys(key).build();
        RuntimeProto.SaveConfigurationRequest save = save(key, "1");
        runtime.saveConfiguration(save);
        same("1", runtime.getConfiguration(get).getItems(0).getContent());
        List<String> seen = new CopyOnWriteArrayList<>();
        List<Throwable> failed = Collections.synchronizedList(new ArrayList<>());
        StreamObserver<RuntimeProto.SubscribeConfigurationRequest> stream =
            async.subscribeConfiguration(new StreamObserver<RuntimeProto.SubscribeConfigurationResponse>() {
                public void onNext(RuntimeProto.SubscribeConfigurationResponse response) {
                    response.getItemsList().forEach(item -> seen.add(item.getContent()));
                }

                public void onError(Throwable error) {
                    failed.add(error);
                }

                public void onCompleted() {
                }
            });
        stream.onNext(RuntimeProto.SubscribeConfigurationRequest.newBuilder()
            .setStoreName("settings").setAppId("shop").addKeys(key).build());
        int[] version = {1};
        eventually("a change", () -> {
            version[0]++;
            runtime.saveConfiguration(save(key, String.valueOf(version[0])));
            return !seen.isEmpty();
        });
        eventually("the last change", () -> seen.get(seen.size() - 1).equals(String.valueOf(version[0])));
        stream.onCompleted();
        holds(failed.isEmpty(), failed.toString());
        runtime.deleteConfiguration(RuntimeProto.DeleteConfigurationRequest.newBuilder()
            .setStoreName("settings").setAppId("shop").addKeys(key).build());
        same(0, runtime.getConfiguration(get).getItemsCount());
    }

    private static RuntimeProto.SaveConfigurationRequest save(String key, String content) {
        return RuntimeProto.SaveConfigurationRequest.newBuilder().setStoreName("settings").setAppId("shop")
            .addItems(RuntimeProto.ConfigurationItem.newBuilder().setKey(key).setContent(content)).build();
    }

    private static HttpServer echo(int port) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/", exchange -> {
            String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
            String answer = exchange.getRequestMethod() + " " + exchange.getRequestURI() + " " + body;
            byte[] bytes = answer.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, bytes.length);
            exchange.getResponseBody().write(bytes);
            exchange.close();
        });
        server.start();
        return server;
    }

    public static void main(String[] args) {
        try {
            check(args);
            System.exit(0);
        } catch (Throwable error) {
            // The servers' threads would keep the program alive.
            error.printStackTrace();
            System.exit(1);
        }
    }

    private static void check(String[] args) throws Exception {
        DefaultSubscriber subscriber = new DefaultSubscriber("events");
        subscriber.subscribe("orders", event -> {
            String data = new String(event.getData(), StandardCharsets.UTF_8);
            int times = RECEIVED.merge(data, 1, Integer::sum);
            if (data.equals(RUN + "/7") && times == 1) {
                throw new IllegalStateException("once more, please");
            }
        });
        RuntimeServerGrpc app = new RuntimeServerGrpc(Integer.parseInt(args[1]));
        app.registerPubSubCallback(subscriber.getComponentName(), subscriber);
        app.start();
        HttpServer web = echo(Integer.parseInt(args[2]));
        GrpcRuntimeClient client = new RuntimeClientBuilder()
            .withIp("127.0.0.1").withPort(Integer.parseInt(args[0])).withTimeout(TIMEOUT).buildGrpc();
        hello(client);
        state(client);
        sequencer(client);
        files(client);
        pubsub(client);
        invoke(client);
        lock(client.getStubManager().getBlockingStub());
        configuration(client.getStubManager().getBlockingStub(), client.getStubManager().getAsyncStub());
        System.out.println("hello, state, sequencer, files, pubsub, invoke, lock, configuration: held");
        client.shutdown();
        web.stop(0);
        app.stop();
    }
}
