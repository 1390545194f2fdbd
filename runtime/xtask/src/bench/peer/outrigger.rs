//! Outrigger's config for a job: the default of everything that is not the job itself.

use super::{FILTER_CONFIG, Job, Wire};

pub(super) fn config(job: &Job<'_>, port: u16) -> String {
    let endpoints =
        job.endpoints.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
    let upstream = if job.wire == Wire::Http2 { "protocol: http2, " } else { "" };
    let cluster = format!("clusters: {{ backend: {{ {upstream}endpoints: [{endpoints}] }} }}\n");
    if job.wire == Wire::Tcp {
        let listener = format!("address: \"127.0.0.1:{port}\", protocol: tcp, cluster: backend");
        return format!("listeners: {{ db: {{ {listener} }} }}\n{cluster}");
    }
    let tls = if job.wire == Wire::Tls {
        let (chain, key) = (job.certificate.chain(), job.certificate.key());
        format!(", tls: {{ certificate: \"{}\", key: \"{}\" }}", chain.display(), key.display())
    } else {
        String::new()
    };
    let log = if job.access_log { ", access_log: {}" } else { "" };
    let mut config = format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:{port}\", protocol: http{tls}{log} }} }}\n{cluster}routes:\n"
    );
    let filters = if job.filter.is_some() { "filters: { wasm: [bench] }, " } else { "" };
    for (index, prefix) in job.prefixes().iter().enumerate() {
        config += &format!(
            "  route{index}: {{ match: [ {{ path: {{ prefix: {prefix} }} }} ], {filters}backends: [ {{ cluster: backend }} ] }}\n"
        );
    }
    if let Some((name, file)) = job.module() {
        config += &format!(
            "wasm: {{ plugins: {{ bench: {{ file: \"{file}\", root_id: {name}, config: {FILTER_CONFIG} }} }} }}\n"
        );
    }
    config
}
