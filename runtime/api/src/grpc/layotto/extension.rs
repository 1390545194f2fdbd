//! Layotto's extension services: known by name, not in this release. Each call says so, and what to use meanwhile.

/// Service, and what takes its place for now.
const LATER: &[(&str, &str)] = &[
    ("spec.proto.extension.v1.ObjectStorageService", "use the File calls of spec.proto.runtime.v1.Runtime"),
    ("spec.proto.extension.v1.cryption.CryptionService", "encrypt in the application"),
    (
        "spec.proto.extension.v1.delay_queue.DelayQueue",
        "publish with PublishEvent, or schedule with bindings.cron",
    ),
    ("spec.proto.extension.v1.email.EmailService", "call the provider with InvokeBinding on a bindings.http"),
    (
        "spec.proto.extension.v1.email.EmailTemplateService",
        "call the provider with InvokeBinding on a bindings.http",
    ),
    (
        "spec.proto.extension.v1.phone.PhoneCallService",
        "call the provider with InvokeBinding on a bindings.http",
    ),
    (
        "spec.proto.extension.v1.s3.ObjectStorageService",
        "use the File calls of spec.proto.runtime.v1.Runtime",
    ),
    ("spec.proto.extension.v1.sms.SmsService", "call the provider with InvokeBinding on a bindings.http"),
];

/// Why a service of Layotto is not served, if it is one.
pub(crate) fn later(service: &str) -> Option<String> {
    let (_, instead) = LATER.iter().find(|(name, _)| *name == service)?;
    Some(format!("service '{service}' is not in this release of outrigger: {instead}"))
}
