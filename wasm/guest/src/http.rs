//! Called for requests over HTTP.

pub use crate::bindgen::http::exports::outrigger::functions::http::{Request, Response};

use crate::{Failure, value};

/// Answers requests.
pub trait Handler {
    /// A failure is written to the function's log and answered with 500.
    fn handle(request: Request) -> Result<Response, Failure>;
}

impl Request {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    /// The path without its query.
    pub fn route(&self) -> &str {
        self.path.split_once('?').map_or(&self.path, |(route, _)| route)
    }

    /// A value of the query, as it was sent: nothing is decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, v)| v)
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// It is something else.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }
}

impl Response {
    /// A response without headers.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// 200 with a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(200, text.into()).with("content-type", "text/plain; charset=utf-8")
    }

    /// 200 with a value as JSON.
    ///
    /// # Errors
    /// The value cannot be written as JSON.
    #[cfg(feature = "json")]
    pub fn json(value: &impl serde::Serialize) -> serde_json::Result<Self> {
        Ok(Self::new(200, serde_json::to_vec(value)?).with("content-type", "application/json"))
    }

    /// The same with a header more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}

#[doc(hidden)]
pub fn answer<H: Handler>(request: Request) -> Response {
    H::handle(request).unwrap_or_else(|failure| {
        eprintln!("{failure}");
        Response::text("the function failed\n").status(500)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails;

    impl Handler for Fails {
        fn handle(request: Request) -> Result<Response, Failure> {
            Err(request.route().into())
        }
    }

    fn request(path: &str) -> Request {
        let headers = vec![("host".to_owned(), "shop".to_owned())];
        let (method, authority) = ("GET".to_owned(), "shop".to_owned());
        Request { method, path: path.to_owned(), authority, headers, body: b"[1,2]".to_vec() }
    }

    #[test]
    fn parts_of_a_request() {
        let request = request("/orders/7?full=1&empty=");
        assert_eq!((request.route(), request.query("full")), ("/orders/7", Some("1")));
        assert_eq!((request.query("empty"), request.query("ful")), (Some(""), None));
        assert_eq!(request.header("Host"), Some("shop"));
        #[cfg(feature = "json")]
        assert_eq!(request.json::<Vec<u8>>().unwrap(), [1, 2]);
    }

    #[test]
    fn a_failure_is_not_shown_to_the_caller() {
        let response = answer::<Fails>(request("/secret"));
        assert_eq!(response.status, 500);
        assert!(!String::from_utf8(response.body).unwrap().contains("secret"));
    }
}
