//! The L4 and L7 proxy: filters, route, cluster.
