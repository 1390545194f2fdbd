//! What a suite cannot show: outages, users, certificates, compaction and what lies in the cluster, on servers of the
//! tests' own. They run where `OUTRIGGER_TEST_ETCD_URL` says that there is etcd at all.
#![cfg(feature = "client")]
#![expect(clippy::panic, reason = "helpers of tests are tests too")]

mod layout;
mod outage;
mod registry;
mod server;
mod tls;
mod users;
mod verdict;
mod watch;
