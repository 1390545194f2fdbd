// Every RPC of the Layotto dialect, through stubs generated from our .proto files, against a sidecar.
//
// Usage: layotto PORT APP_PORT HTTP_PORT
//
// Expects what layotto.js beside this expects, and the secret store vault. Exits with 0 when every check held.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	pb "outrigger/check/layotto"
)

var run = fmt.Sprintf("go-%d-%d", os.Getpid(), time.Now().UnixNano())

func check(ok bool, format string, args ...any) {
	if !ok {
		log.Panicf(format, args...)
	}
}

func must[T any](answer T, err error) T {
	check(err == nil, "%v", err)
	return answer
}

func refused(code codes.Code, err error) {
	check(status.Code(err) == code, "%v instead of %v: %v", status.Code(err), code, err)
}

func eventually(what string, done func() bool) {
	until := time.Now().Add(30 * time.Second)
	for !done() {
		check(time.Now().Before(until), "%s: not within half a minute", what)
		time.Sleep(20 * time.Millisecond)
	}
}

type client struct {
	pb.RuntimeClient
	lifecycle pb.LifecycleClient
	app       *app
}

// app is the application's side: it answers the sidecar's callbacks.
type app struct {
	pb.UnimplementedAppCallbackServer
	mu       sync.Mutex
	received map[string]int
}

func (a *app) ListTopicSubscriptions(context.Context, *emptypb.Empty) (*pb.ListTopicSubscriptionsResponse, error) {
	topic := &pb.TopicSubscription{PubsubName: "events", Topic: "orders"}
	return &pb.ListTopicSubscriptionsResponse{Subscriptions: []*pb.TopicSubscription{topic}}, nil
}

func (a *app) OnTopicEvent(_ context.Context, event *pb.TopicEventRequest) (*pb.TopicEventResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	data := string(event.Data)
	a.received[data]++
	again := a.received[data] == 1
	switch {
	case data == run+"/7" && again:
		return &pb.TopicEventResponse{Status: pb.TopicEventResponse_RETRY}, nil
	case data == run+"/8" && again:
		return nil, errors.New("once more, please")
	}
	return &pb.TopicEventResponse{}, nil
}

func (a *app) times(data string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.received[data]
}

func hello(ctx context.Context, c *client) {
	data := must(anypb.New(&emptypb.Empty{}))
	answer := must(c.SayHello(ctx, &pb.SayHelloRequest{ServiceName: "hello", Name: "eva", Data: data}))
	check(answer.Hello == "greeting, eva" && answer.Data.TypeUrl == data.TypeUrl, "%v", answer)
	_, err := c.SayHello(ctx, &pb.SayHelloRequest{ServiceName: "nobody"})
	check(err != nil, "a component that does not exist greeted")

	apply := func(greeting string) {
		metadata := map[string]string{"hello": greeting}
		config := &pb.ComponentConfig{Kind: "hellos", Name: "hello", Metadata: metadata}
		must(c.lifecycle.ApplyConfiguration(ctx, &pb.DynamicConfiguration{ComponentConfig: config}))
	}
	apply("goodbye")
	answer = must(c.SayHello(ctx, &pb.SayHelloRequest{ServiceName: "hello", Name: "eva"}))
	check(answer.Hello == "goodbye, eva", "%v", answer)
	apply("greeting")
	_, err = c.lifecycle.ApplyConfiguration(ctx, &pb.DynamicConfiguration{})
	refused(codes.InvalidArgument, err)
}

func state(ctx context.Context, c *client) {
	key := func(name string) string { return run + "-" + name }
	get := func(name string) *pb.GetStateResponse {
		return must(c.GetState(ctx, &pb.GetStateRequest{StoreName: "state", Key: key(name)}))
	}
	save := func(items ...*pb.StateItem) error {
		_, err := c.SaveState(ctx, &pb.SaveStateRequest{StoreName: "state", States: items})
		return err
	}
	item := func(name, value, etag string) *pb.StateItem {
		return &pb.StateItem{Key: key(name), Value: []byte(value), Etag: &pb.Etag{Value: etag}}
	}
	check(len(get("never").Data) == 0, "a key never set has a value")
	check(save(item("a", "one", "")) == nil, "save")
	first := get("a")
	check(save(item("a", "two", first.Etag)) == nil, "save over the etag")
	refused(codes.Aborted, save(item("a", "lost", first.Etag)))
	check(save(item("b", "b", ""), item("c", "c", "")) == nil, "save two")
	keys := []string{key("c"), key("x"), key("a")}
	bulk := must(c.GetBulkState(ctx, &pb.GetBulkStateRequest{StoreName: "state", Keys: keys}))
	check(len(bulk.Items) == 3 && string(bulk.Items[0].Data) == "c" && string(bulk.Items[2].Data) == "two", "%v", bulk)
	operations := []*pb.TransactionalStateOperation{
		{OperationType: "upsert", Request: item("t", "t", "")},
		{OperationType: "delete", Request: item("b", "", "")},
	}
	must(c.ExecuteStateTransaction(ctx, &pb.ExecuteStateTransactionRequest{StoreName: "state", Operations: operations}))
	check(string(get("t").Data) == "t" && len(get("b").Data) == 0, "the transaction")
	must(c.DeleteState(ctx, &pb.DeleteStateRequest{StoreName: "state", Key: key("a")}))
	rest := []*pb.StateItem{item("c", "", ""), item("t", "", "")}
	must(c.DeleteBulkState(ctx, &pb.DeleteBulkStateRequest{StoreName: "state", States: rest}))
	check(len(get("t").Data) == 0, "t is still there")
}

func lock(ctx context.Context, c *client) {
	take := func(owner string, expire int32) (*pb.TryLockResponse, metadata.MD) {
		var header metadata.MD
		request := &pb.TryLockRequest{StoreName: "lock", ResourceId: run, LockOwner: owner, Expire: expire}
		return must(c.TryLock(ctx, request, grpc.Header(&header))), header
	}
	give := func(owner string) pb.UnlockResponse_Status {
		request := &pb.UnlockRequest{StoreName: "lock", ResourceId: run, LockOwner: owner}
		return must(c.Unlock(ctx, request)).Status
	}
	keep := func(owner string) pb.LockKeepAliveResponse_Status {
		request := &pb.LockKeepAliveRequest{StoreName: "lock", ResourceId: run, LockOwner: owner, Expire: 60}
		return must(c.LockKeepAlive(ctx, request)).Status
	}
	answer, header := take("one", 60)
	check(answer.Success, "a free lock was refused")
	tokens := header.Get("x-outrigger-fencing-token")
	check(len(tokens) == 1, "no fencing token: %v", header)
	answer, _ = take("two", 60)
	check(!answer.Success, "two holders")
	check(keep("one") == pb.LockKeepAliveResponse_SUCCESS, "keep-alive of the holder")
	check(keep("two") == pb.LockKeepAliveResponse_LOCK_BELONG_TO_OTHERS, "keep-alive of another")
	check(give("two") == pb.UnlockResponse_LOCK_BELONG_TO_OTHERS, "unlock of another")
	check(give("one") == pb.UnlockResponse_SUCCESS, "unlock")
	check(give("one") == pb.UnlockResponse_LOCK_UNEXIST, "unlock twice")
	answer, header = take("two", 60)
	check(answer.Success, "a lock given back was refused")

	// The new holder's token lets it write; the old holder's is refused from then on.
	write := func(token string) error {
		fence := map[string]string{"fencingToken": token}
		item := &pb.StateItem{Key: run + "-fenced", Value: []byte(token), Metadata: fence}
		_, err := c.SaveState(ctx, &pb.SaveStateRequest{StoreName: "state", States: []*pb.StateItem{item}})
		return err
	}
	check(write(header.Get("x-outrigger-fencing-token")[0]) == nil, "the holder's write")
	refused(codes.Aborted, write(tokens[0]))
	check(give("two") == pb.UnlockResponse_SUCCESS, "unlock")
	_, err := c.TryLock(ctx, &pb.TryLockRequest{StoreName: "lock", ResourceId: run, LockOwner: "one"})
	refused(codes.InvalidArgument, err)
}

func sequencer(ctx context.Context, c *client) {
	for _, increment := range []pb.SequencerOptions_AutoIncrement{pb.SequencerOptions_WEAK, pb.SequencerOptions_STRONG} {
		for i := int64(1); i <= 10; i++ {
			options := &pb.SequencerOptions{Increment: increment}
			request := &pb.GetNextIdRequest{StoreName: "ids", Key: run + increment.String(), Options: options}
			next := must(c.GetNextId(ctx, request)).NextId
			check(next == i, "%d instead of %d", next, i)
		}
	}
}

func configuration(ctx context.Context, c *client) {
	// Neither group nor label: not every store has them.
	a, b := run+"-a", run+"-b"
	item := func(key, content string) *pb.ConfigurationItem {
		return &pb.ConfigurationItem{Key: key, Content: content}
	}
	save := func(items ...*pb.ConfigurationItem) {
		must(c.SaveConfiguration(ctx, &pb.SaveConfigurationRequest{StoreName: "settings", AppId: "shop", Items: items}))
	}
	get := func(keys ...string) []*pb.ConfigurationItem {
		request := &pb.GetConfigurationRequest{StoreName: "settings", AppId: "shop", Keys: keys}
		return must(c.GetConfiguration(ctx, request)).Items
	}
	save(item(a, "1"), item(b, "2"))
	found := get(a, b)
	check(len(found) == 2 && found[0].Content == "1" && found[1].Content == "2", "%v", found)

	stream := must(c.SubscribeConfiguration(ctx))
	// Two requests on one stream: both keys are watched.
	for _, key := range []string{a, b} {
		request := &pb.SubscribeConfigurationRequest{StoreName: "settings", AppId: "shop", Keys: []string{key}}
		check(stream.Send(request) == nil, "subscribe")
	}
	var mu sync.Mutex
	seen := map[string]string{}
	go func() {
		for {
			answer, err := stream.Recv()
			if err != nil {
				return
			}
			mu.Lock()
			for _, item := range answer.Items {
				seen[item.Key] = item.Content
			}
			mu.Unlock()
		}
	}()
	version := 2
	last := func(key string) string {
		mu.Lock()
		defer mu.Unlock()
		return seen[key]
	}
	eventually("changes of both keys", func() bool {
		version++
		save(item(a, fmt.Sprint(version)), item(b, fmt.Sprint(version)))
		return last(a) != "" && last(b) != ""
	})
	eventually("the last change", func() bool { return last(a) == fmt.Sprint(version) && last(b) == fmt.Sprint(version) })
	must(c.DeleteConfiguration(ctx, &pb.DeleteConfigurationRequest{StoreName: "settings", AppId: "shop", Keys: []string{a}}))
	eventually("the deletion", func() bool { return last(a) == "" })
	check(stream.CloseSend() == nil, "closing the stream")
	check(len(get(a)) == 0 && len(get(b)) == 1, "a delete takes its key alone")
}

func pubsub(ctx context.Context, c *client) {
	publish := func(topic, data string) {
		must(c.PublishEvent(ctx, &pb.PublishEventRequest{PubsubName: "events", Topic: topic, Data: []byte(data), DataContentType: "text/plain"}))
	}
	for i := range 20 {
		publish("orders", fmt.Sprintf("%s/%d", run, i))
	}
	eventually("every event at the callback", func() bool {
		for i := range 20 {
			if c.app.times(fmt.Sprintf("%s/%d", run, i)) == 0 {
				return false
			}
		}
		return c.app.times(run+"/7") > 1 && c.app.times(run+"/8") > 1
	})

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := must(c.SubscribeTopicEvents(ctx))
	topic := "streamed-" + run
	initial := &pb.SubscribeTopicEventsRequestInitial{PubsubName: "events", Topic: topic}
	check(stream.Send(&pb.SubscribeTopicEventsRequest{SubscribeTopicEventsRequestType: &pb.SubscribeTopicEventsRequest_InitialRequest{InitialRequest: initial}}) == nil, "subscribe")
	check(must(stream.Recv()).GetInitialResponse() != nil, "the first answer confirms")
	publish(topic, "one")
	publish(topic, "two")
	settle := func(id string, outcome pb.TopicEventResponse_TopicEventResponseStatus) {
		processed := &pb.SubscribeTopicEventsRequestProcessed{Id: id, Status: &pb.TopicEventResponse{Status: outcome}}
		check(stream.Send(&pb.SubscribeTopicEventsRequest{SubscribeTopicEventsRequestType: &pb.SubscribeTopicEventsRequest_EventProcessed{EventProcessed: processed}}) == nil, "settle")
	}
	times := map[string]int{}
	for times["one"] < 2 || times["two"] < 1 {
		event := must(stream.Recv()).GetEventMessage()
		check(event.Topic == topic && event.SpecVersion == "1.0", "%v", event)
		times[string(event.Data)]++
		if string(event.Data) == "one" && times["one"] == 1 {
			settle(event.Id, pb.TopicEventResponse_RETRY)
		} else {
			settle(event.Id, pb.TopicEventResponse_SUCCESS)
		}
	}
	check(stream.CloseSend() == nil, "closing the stream")
	_, err := c.PublishEvent(ctx, &pb.PublishEventRequest{PubsubName: "nothing", Topic: "t"})
	refused(codes.InvalidArgument, err)
}

func files(ctx context.Context, c *client) {
	name := run + "/report.txt"
	settings := map[string]string{"FileFlag": "577", "FileMode": "420"}
	content := bytes.Repeat([]byte("line\n"), 60_000)
	up := must(c.PutFile(ctx))
	check(up.Send(&pb.PutFileRequest{StoreName: "files", Name: name, Metadata: settings}) == nil, "the first piece")
	for at := 0; at < len(content); at += 50_000 {
		check(up.Send(&pb.PutFileRequest{Data: content[at : at+50_000]}) == nil, "a piece")
	}
	must(up.CloseAndRecv())
	down := must(c.GetFile(ctx, &pb.GetFileRequest{StoreName: "files", Name: name, Metadata: settings}))
	var found []byte
	for {
		piece, err := down.Recv()
		if err == io.EOF {
			break
		}
		found = append(found, must(piece, err).Data...)
	}
	check(bytes.Equal(content, found), "%d bytes came back of %d", len(found), len(content))
	file := &pb.FileRequest{StoreName: "files", Name: name, Metadata: settings}
	check(must(c.GetFileMeta(ctx, &pb.GetFileMetaRequest{Request: file})).Size == int64(len(content)), "the size")
	folder := &pb.FileRequest{StoreName: "files", Name: run, Metadata: settings}
	check(len(must(c.ListFile(ctx, &pb.ListFileRequest{Request: folder, PageSize: 10})).Files) == 1, "the list")
	must(c.DelFile(ctx, &pb.DelFileRequest{Request: file}))
	_, err := c.GetFileMeta(ctx, &pb.GetFileMetaRequest{Request: file})
	refused(codes.NotFound, err)
	outside := &pb.FileRequest{StoreName: "files", Name: "../../etc/passwd", Metadata: settings}
	_, err = c.GetFileMeta(ctx, &pb.GetFileMetaRequest{Request: outside})
	refused(codes.InvalidArgument, err)
}

func bindings(ctx context.Context, c *client) {
	request := &pb.InvokeBindingRequest{Name: "web", Operation: "post", Data: []byte("ping"), Metadata: map[string]string{"path": "/bound"}}
	answer := must(c.InvokeBinding(ctx, request))
	check(string(answer.Data) == "POST /bound ping" && answer.Metadata["statusCode"] == "200", "%v", answer)
	_, err := c.InvokeBinding(ctx, &pb.InvokeBindingRequest{Name: "web", Operation: "fly"})
	check(err != nil, "an operation that does not exist was carried out")
}

func secrets(ctx context.Context, c *client) {
	answer := must(c.GetSecret(ctx, &pb.GetSecretRequest{StoreName: "vault", Key: "db-password"}))
	check(answer.Data["db-password"] == "swordfish", "%v", answer)
	bulk := must(c.GetBulkSecret(ctx, &pb.GetBulkSecretRequest{StoreName: "vault"}))
	check(bulk.Data["db-password"].Secrets["db-password"] == "swordfish", "%v", bulk)
	_, err := c.GetSecret(ctx, &pb.GetSecretRequest{StoreName: "nowhere", Key: "k"})
	refused(codes.InvalidArgument, err)
}

func invoke(ctx context.Context, c *client) {
	data := &anypb.Any{Value: []byte("ping")}
	verb := &pb.HTTPExtension{Verb: pb.HTTPExtension_POST, Querystring: "q=1"}
	message := &pb.CommonInvokeRequest{Method: "/hello", Data: data, ContentType: "text/plain", HttpExtension: verb}
	// Of its own accord the sidecar gives it three seconds.
	ctx = metadata.AppendToOutgoingContext(ctx, "rpc_request_timeout", "30000")
	answer := must(c.InvokeService(ctx, &pb.InvokeServiceRequest{Id: "echo", Message: message}))
	check(string(answer.Data.Value) == "POST /hello?q=1 ping", "%s", answer.Data.Value)
	_, err := c.InvokeService(ctx, &pb.InvokeServiceRequest{Id: "nobody", Message: message})
	check(err != nil, "an app that does not exist answered")
}

func serve(args []string, a *app) {
	callbacks := must(net.Listen("tcp", "127.0.0.1:"+args[1]))
	server := grpc.NewServer()
	pb.RegisterAppCallbackServer(server, a)
	go server.Serve(callbacks)
	echo := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("content-type", "text/plain")
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.RequestURI(), body)
	}
	web := must(net.Listen("tcp", "127.0.0.1:"+args[2]))
	go http.Serve(web, http.HandlerFunc(echo))
}

func main() {
	args := os.Args[1:]
	check(len(args) == 3, "usage: layotto PORT APP_PORT HTTP_PORT")
	a := &app{received: map[string]int{}}
	serve(args, a)
	channel := must(grpc.NewClient("127.0.0.1:"+args[0], grpc.WithTransportCredentials(insecure.NewCredentials())))
	c := &client{pb.NewRuntimeClient(channel), pb.NewLifecycleClient(channel), a}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	held := []string{}
	for _, step := range []struct {
		name  string
		check func(context.Context, *client)
	}{
		{"hello", hello}, {"state", state}, {"lock", lock}, {"sequencer", sequencer}, {"configuration", configuration},
		{"pubsub", pubsub}, {"files", files}, {"bindings", bindings}, {"secrets", secrets}, {"invoke", invoke},
	} {
		step.check(ctx, c)
		held = append(held, step.name)
	}
	fmt.Println(strings.Join(held, ", ") + ": held")
}
