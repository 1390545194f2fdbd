//! Envoy's config for a job.

use std::path::Path;
use std::process::Command;

use super::{FILTER_CONFIG, Job, Wire};
use crate::bench::{PROXY_CORE, on_core};
use crate::tools::python;

const TYPE: &str = "type.googleapis.com/envoy.extensions";

pub(super) fn config(job: &Job<'_>, port: u16) -> String {
    let filter = if job.wire == Wire::Tcp { tcp() } else { http(job) };
    let tls = if job.wire == Wire::Tls { tls(job) } else { String::new() };
    let upstream = if job.wire == Wire::Http2 { http2_upstream() } else { String::new() };
    let endpoints: Vec<String> = job.endpoints.iter().filter_map(|address| endpoint(address)).collect();
    format!(
        "static_resources:\n  listeners: [ {{ name: l, \
         address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}, \
         filter_chains: [ {{ filters: [ {filter} ]{tls} }} ] }} ]\n  \
         clusters: [ {{ name: backend, type: STATIC, connect_timeout: 1s{upstream}, \
         load_assignment: {{ cluster_name: backend, endpoints: [ {{ lb_endpoints: [ {} ] }} ] }} }} ]\n",
        endpoints.join(",\n")
    )
}

fn tcp() -> String {
    format!(
        "{{ name: tcp, typed_config: {{ \"@type\": {TYPE}.filters.network.tcp_proxy.v3.TcpProxy, \
         stat_prefix: l4, cluster: backend }} }}"
    )
}

fn http(job: &Job<'_>) -> String {
    let route =
        |prefix: &String| format!("{{ match: {{ prefix: \"{prefix}\" }}, route: {{ cluster: backend }} }}");
    let routes: Vec<String> = job.prefixes().iter().map(route).collect();
    let log = if job.access_log {
        format!(
            "access_log: [ {{ name: file, typed_config: {{ \
             \"@type\": {TYPE}.access_loggers.file.v3.FileAccessLog, path: /dev/stdout }} }} ], "
        )
    } else {
        String::new()
    };
    let filter = wasm(job);
    format!(
        "{{ name: http, typed_config: {{ \
         \"@type\": {TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: l7, {log}\
         http_filters: [ {filter}{{ name: router, typed_config: {{ \"@type\": {TYPE}.filters.http.router.v3.Router }} }} ], \
         route_config: {{ virtual_hosts: [ {{ name: all, domains: [\"*\"], routes: [ {} ] }} ] }} }} }}",
        routes.join(",\n")
    )
}

fn wasm(job: &Job<'_>) -> String {
    let Some((name, file)) = job.module() else { return String::new() };
    format!(
        "{{ name: wasm, typed_config: {{ \"@type\": {TYPE}.filters.http.wasm.v3.Wasm, config: {{ name: {name}, \
         root_id: {name}, vm_config: {{ runtime: envoy.wasm.runtime.v8, \
         code: {{ local: {{ filename: \"{file}\" }} }} }}, configuration: {{ \
         \"@type\": type.googleapis.com/google.protobuf.StringValue, value: {FILTER_CONFIG} }} }} }} }}, "
    )
}

fn tls(job: &Job<'_>) -> String {
    format!(
        ", transport_socket: {{ name: tls, typed_config: {{ \
         \"@type\": {TYPE}.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {{ \
         tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}, \
         tls_certificates: [ {{ certificate_chain: {{ filename: \"{}\" }}, private_key: {{ filename: \"{}\" }} }} ] \
         }} }} }}",
        job.certificate.chain().display(),
        job.certificate.key().display()
    )
}

fn http2_upstream() -> String {
    format!(
        ", typed_extension_protocol_options: {{ envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{ \
         \"@type\": {TYPE}.upstreams.http.v3.HttpProtocolOptions, \
         explicit_http_config: {{ http2_protocol_options: {{}} }} }} }}"
    )
}

fn endpoint(address: &str) -> Option<String> {
    let (host, port) = address.split_once(':')?;
    Some(format!(
        "{{ endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }} }}"
    ))
}

pub(super) fn command(file: &Path, port: u16) -> Command {
    let mut command = on_core(PROXY_CORE, &python("envoy"));
    // The base id names shared memory; the port is as unique as we need.
    command.args(["--concurrency", "1", "--base-id", &port.to_string(), "-l", "error", "-c"]).arg(file);
    command
}
