//! Invoke: methods of other applications.

use bytes::Bytes;
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::http_extension::Verb;

use crate::{Client, Result};

/// A call to another application. Without a verb it is a GET when it has no data, and a POST when it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a call does nothing until it is sent with `Client::invoke`"]
pub struct Call {
    app: String,
    method: String,
    verb: Option<Method>,
    query: String,
    content_type: String,
    data: Bytes,
}

/// The HTTP method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
}

/// What the other application answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub data: Bytes,
    pub content_type: String,
}

impl Call {
    /// A call of `method`, a path without its leading slash, of the application with this id.
    pub fn new(app: impl Into<String>, method: impl Into<String>) -> Self {
        Self { app: app.into(), method: method.into(), ..Self::default() }
    }

    pub fn method(mut self, method: Method) -> Self {
        self.verb = Some(method);
        self
    }

    /// The query string, without its `?`.
    pub fn query(mut self, query: impl Into<String>) -> Self {
        self.query = query.into();
        self
    }

    /// The body and what it is: `application/json`.
    pub fn data(mut self, data: impl Into<Bytes>, content_type: impl Into<String>) -> Self {
        self.data = data.into();
        self.content_type = content_type.into();
        self
    }

    fn into_request(self) -> proto::InvokeServiceRequest {
        let verb = self.verb.unwrap_or(if self.data.is_empty() { Method::Get } else { Method::Post });
        let extension = proto::HttpExtension { verb: verb.into_proto().into(), querystring: self.query };
        let mut message = proto::CommonInvokeRequest {
            method: self.method,
            content_type: self.content_type,
            http_extension: Some(extension),
            ..Default::default()
        };
        // An `Any` without a type: only its value is looked at.
        message.data.get_or_insert_default().value = self.data.into();
        proto::InvokeServiceRequest { id: self.app, message: Some(message) }
    }
}

impl Method {
    fn into_proto(self) -> Verb {
        match self {
            Self::Get => Verb::Get,
            Self::Head => Verb::Head,
            Self::Post => Verb::Post,
            Self::Put => Verb::Put,
            Self::Delete => Verb::Delete,
            Self::Options => Verb::Options,
            Self::Patch => Verb::Patch,
        }
    }
}

impl Client {
    /// Calls another application. An answer that is not a success is an error.
    pub async fn invoke(&self, call: Call) -> Result<Answer> {
        let request = self.request(call.into_request());
        let proto::InvokeResponse { data, content_type } =
            self.runtime().invoke_service(request).await?.into_inner();
        Ok(Answer { data: data.unwrap_or_default().value.into(), content_type })
    }
}
