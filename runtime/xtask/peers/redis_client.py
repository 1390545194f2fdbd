"""Redis through L4 forwarding: redis_client.py PORT"""

import sys
import threading

import redis

from cases import case, expect, main

client = redis.Redis(port=int(sys.argv[1]), socket_timeout=60)


@case
def redis_set_and_get():
    client.set("key", b"value")
    expect(client.get("key"), b"value")


@case
def redis_values_larger_than_any_buffer():
    value = bytes(range(256)) * 65536
    client.set("large", value)
    expect(client.get("large") == value, True)


@case
def redis_pipeline_of_10000_commands():
    pipeline = client.pipeline(transaction=False)
    for index in range(10_000):
        pipeline.set(f"p{index}", index)
    expect(all(pipeline.execute()), True)
    expect(client.get("p9999"), b"9999")


@case
def redis_server_speaks_first_after_subscribe():
    channel = client.pubsub()
    channel.subscribe("news")
    expect(channel.get_message(timeout=30)["type"], "subscribe")
    client.publish("news", "hello")
    expect(channel.get_message(timeout=30)["data"], b"hello")
    channel.close()


@case
def redis_blocking_pop_waits_for_a_push():
    pusher = threading.Timer(0.3, lambda: client.rpush("queue", "job"))
    pusher.start()
    expect(client.blpop("queue", timeout=30), (b"queue", b"job"))
    pusher.join()


main()
