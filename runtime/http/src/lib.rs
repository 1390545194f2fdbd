//! HTTP messages, the strict HTTP/1 codec, the filter chain and the access log.
