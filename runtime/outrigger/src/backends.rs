//! The list of backends this program is built with: one line each.

use outrigger_component_api::Registry;

/// Every backend there is, present or left out.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    #[cfg(feature = "memory")]
    registry.state::<outrigger_memory::MemoryStateBackend>();
    #[cfg(not(feature = "memory"))]
    registry.without("state.in-memory", "memory");
    #[cfg(feature = "memory")]
    registry.configuration::<outrigger_memory::MemoryConfigurationBackend>();
    #[cfg(not(feature = "memory"))]
    registry.without("configuration.in-memory", "memory");
    #[cfg(feature = "memory")]
    registry.lock::<outrigger_memory::MemoryLockBackend>();
    #[cfg(not(feature = "memory"))]
    registry.without("lock.in-memory", "memory");
    #[cfg(feature = "memory")]
    registry.sequencer::<outrigger_memory::MemorySequencerBackend>();
    #[cfg(not(feature = "memory"))]
    registry.without("sequencer.in-memory", "memory");
    #[cfg(feature = "memory")]
    registry.hello::<outrigger_memory::HelloWorldBackend>();
    #[cfg(not(feature = "memory"))]
    registry.without("hello.helloworld", "memory");
    #[cfg(feature = "memory")]
    registry.pubsub::<outrigger_memory::MemoryPubSubBackend>();
    #[cfg(not(feature = "memory"))]
    registry.without("pubsub.in-memory", "memory");
    #[cfg(feature = "sqlite")]
    registry.state::<outrigger_sqlite::SqliteStateBackend>();
    #[cfg(not(feature = "sqlite"))]
    registry.without("state.sqlite", "sqlite");
    #[cfg(feature = "sqlite")]
    registry.pubsub::<outrigger_sqlite::SqlitePubSubBackend>();
    #[cfg(not(feature = "sqlite"))]
    registry.without("pubsub.sqlite", "sqlite");
    #[cfg(feature = "sqlite")]
    registry.configuration::<outrigger_sqlite::SqliteConfigurationBackend>();
    #[cfg(not(feature = "sqlite"))]
    registry.without("configuration.sqlite", "sqlite");
    #[cfg(feature = "sqlite")]
    registry.lock::<outrigger_sqlite::SqliteLockBackend>();
    #[cfg(not(feature = "sqlite"))]
    registry.without("lock.sqlite", "sqlite");
    #[cfg(feature = "sqlite")]
    registry.sequencer::<outrigger_sqlite::SqliteSequencerBackend>();
    #[cfg(not(feature = "sqlite"))]
    registry.without("sequencer.sqlite", "sqlite");
    #[cfg(feature = "local")]
    registry.configuration::<outrigger_local::EnvConfigurationBackend>();
    #[cfg(not(feature = "local"))]
    registry.without("configuration.local.env", "local");
    #[cfg(feature = "local")]
    registry.configuration::<outrigger_local::FileConfigurationBackend>();
    #[cfg(not(feature = "local"))]
    registry.without("configuration.local.file", "local");
    #[cfg(feature = "http")]
    registry.output_binding::<outrigger_http_binding::HttpBindingBackend>();
    #[cfg(not(feature = "http"))]
    registry.without("bindings.http", "http");
    #[cfg(feature = "cron")]
    registry.input_binding::<outrigger_cron::CronBindingBackend>();
    #[cfg(not(feature = "cron"))]
    registry.without("bindings.cron", "cron");
    #[cfg(feature = "local")]
    registry.secrets::<outrigger_local::EnvSecretsBackend>();
    #[cfg(not(feature = "local"))]
    registry.without("secretstores.local.env", "local");
    #[cfg(feature = "local")]
    registry.secrets::<outrigger_local::FileSecretsBackend>();
    #[cfg(not(feature = "local"))]
    registry.without("secretstores.local.file", "local");
    #[cfg(feature = "redis")]
    registry.state::<outrigger_redis::RedisStateBackend>();
    #[cfg(not(feature = "redis"))]
    registry.without("state.redis", "redis");
    #[cfg(feature = "local")]
    registry.file::<outrigger_local::LocalFilesBackend>();
    #[cfg(not(feature = "local"))]
    registry.without("file.local", "local");
    #[cfg(feature = "redis")]
    registry.pubsub::<outrigger_redis::RedisPubSubBackend>();
    #[cfg(not(feature = "redis"))]
    registry.without("pubsub.redis", "redis");
    #[cfg(feature = "redis")]
    registry.configuration::<outrigger_redis::RedisConfigurationBackend>();
    #[cfg(not(feature = "redis"))]
    registry.without("configuration.redis", "redis");
    #[cfg(feature = "redis")]
    registry.lock::<outrigger_redis::RedisLockBackend>();
    #[cfg(not(feature = "redis"))]
    registry.without("lock.redis", "redis");
    #[cfg(feature = "redis")]
    registry.sequencer::<outrigger_redis::RedisSequencerBackend>();
    #[cfg(not(feature = "redis"))]
    registry.without("sequencer.redis", "redis");
    #[cfg(feature = "redis")]
    registry.output_binding::<outrigger_redis::RedisBindingBackend>();
    #[cfg(not(feature = "redis"))]
    registry.without("bindings.redis", "redis");
    #[cfg(feature = "etcd")]
    registry.state::<outrigger_etcd::EtcdStateBackend>();
    #[cfg(not(feature = "etcd"))]
    registry.without("state.etcd", "etcd");
    #[cfg(feature = "etcd")]
    registry.configuration::<outrigger_etcd::EtcdConfigurationBackend>();
    #[cfg(not(feature = "etcd"))]
    registry.without("configuration.etcd", "etcd");
    #[cfg(feature = "etcd")]
    registry.lock::<outrigger_etcd::EtcdLockBackend>();
    #[cfg(not(feature = "etcd"))]
    registry.without("lock.etcd", "etcd");
    #[cfg(feature = "etcd")]
    registry.sequencer::<outrigger_etcd::EtcdSequencerBackend>();
    #[cfg(not(feature = "etcd"))]
    registry.without("sequencer.etcd", "etcd");
    #[cfg(feature = "etcd")]
    registry.app_registry::<outrigger_etcd::EtcdRegistryBackend>();
    #[cfg(not(feature = "etcd"))]
    registry.without("registry.etcd", "etcd");
    registry
}
