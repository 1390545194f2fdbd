//! What stands behind a listener: the API's front or the admin router, and who may pass. Rules are read on every
//! request, so that a new token holds for connections that are open already.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use outrigger_api::{
    Api, Front, Rules,
    access::{Access, Exposure},
};
use outrigger_blocks::Blocks;
use outrigger_http::{Handler, ServerConfig, tower::Adapter};
use outrigger_net::{Accepted, Address, Service};
use outrigger_telemetry::Metrics;

use crate::{
    admin, app::App, config::Config, joints::Current, listeners::Kind, operator::Operator, tokens::Keys,
};

/// The doors of the process.
pub struct Doors {
    blocks: Arc<Blocks>,
    operator: Arc<Operator>,
    metrics: Metrics,
    network: Arc<ArcSwap<Front>>,
    socket: Arc<ArcSwap<Front>>,
    admin_access: Arc<ArcSwap<Access>>,
    admin: Weak<App>,
}

impl Doors {
    pub fn new(config: &Config, blocks: &Arc<Blocks>, metrics: &Metrics, app: &Weak<App>) -> Self {
        let operator = Arc::new(Operator(Weak::clone(app)));
        // They open when the first configuration is in force.
        let closed = Keys::none_known();
        let rules = api_rules(config, &closed);
        let (actuator, functions) = (Arc::clone(&operator), Arc::clone(&operator));
        let api = Api::new(Arc::clone(blocks), actuator, functions, rules, metrics);
        Self {
            blocks: Arc::clone(blocks),
            operator,
            metrics: metrics.clone(),
            network: Arc::new(ArcSwap::from_pointee(api.front(Exposure::Network))),
            socket: Arc::new(ArcSwap::from_pointee(api.front(Exposure::Socket))),
            admin_access: Arc::new(ArcSwap::from_pointee(admin_access(config, &closed))),
            admin: Weak::clone(app),
        }
    }

    /// The rules of `config` hold from the next request on, and these keys fit.
    pub fn follow(&self, config: &Config, keys: &Keys) {
        let (blocks, operator) = (Arc::clone(&self.blocks), Arc::clone(&self.operator));
        let api =
            Api::new(blocks, Arc::clone(&operator) as _, operator, api_rules(config, keys), &self.metrics);
        self.network.store(Arc::new(api.front(Exposure::Network)));
        self.socket.store(Arc::new(api.front(Exposure::Socket)));
        self.admin_access.store(Arc::new(admin_access(config, keys)));
    }

    /// What serves the connections of a listener, under these limits.
    pub fn service(&self, kind: Kind, address: &Address, http: &Arc<ServerConfig>) -> Arc<dyn Service> {
        let exposure = match address {
            Address::Tcp(_) => Exposure::Network,
            Address::Unix(_) => Exposure::Socket,
        };
        match (kind, exposure) {
            (Kind::Api, Exposure::Network) => serve(Current(Arc::clone(&self.network)), http),
            (Kind::Api, Exposure::Socket) => serve(Current(Arc::clone(&self.socket)), http),
            (Kind::Admin, exposure) => {
                let access = Arc::clone(&self.admin_access);
                serve(admin::router(Weak::clone(&self.admin), access, exposure), http)
            }
        }
    }
}

fn serve<S>(service: S, http: &Arc<ServerConfig>) -> Arc<dyn Service>
where
    Adapter<S>: Handler,
{
    let (handler, config) = (Arc::new(Adapter::new(service)), Arc::clone(http));
    Arc::new(move |conn: Accepted| outrigger_http::serve(conn, Arc::clone(&handler), Arc::clone(&config)))
}

fn api_rules(config: &Config, keys: &Keys) -> Rules {
    let access = Access { tokens: keys.api.clone(), hosts: config.api.hosts.clone() };
    Rules { access, max_message_bytes: config.api.limits.max_message_bytes }
}

fn admin_access(config: &Config, keys: &Keys) -> Access {
    Access { tokens: keys.admin.clone(), hosts: config.admin.hosts.clone() }
}
