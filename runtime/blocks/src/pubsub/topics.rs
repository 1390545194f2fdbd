//! Which topics of a broker an application may publish to and subscribe to.

use std::collections::BTreeMap;

use outrigger_component_api::{ComponentSpec, Error, ErrorKind, Result};
use serde_json::Value;

/// What an application wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Publish,
    Subscribe,
}

/// The topic rules of one broker, in Dapr's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicScopes {
    /// The only topics there are for anybody; empty is all.
    allowed: Vec<String>,
    /// Topics for nobody but those to whom a scope gives them.
    protected: Vec<String>,
    publishing: Scope,
    subscribing: Scope,
}

/// From app to its topics; an app that is not there is not restricted.
type Scope = BTreeMap<String, Vec<String>>;

impl TopicScopes {
    /// Takes `allowedTopics`, `protectedTopics`, `publishingScopes` and `subscriptionScopes` out of a component's
    /// settings. The first two are lists (`a,b`), the others say which topics an app has (`app1=a,b;app2=`).
    pub fn take(spec: &mut ComponentSpec) -> Result<Self> {
        let mut text = |setting| text_of(spec.take(setting), setting);
        Ok(Self {
            allowed: list(&text("allowedTopics")?),
            protected: list(&text("protectedTopics")?),
            publishing: scope(&text("publishingScopes")?, "publishingScopes")?,
            subscribing: scope(&text("subscriptionScopes")?, "subscriptionScopes")?,
        })
    }

    /// [`PermissionDenied`](ErrorKind::PermissionDenied) unless the rules let the application.
    pub(super) fn check(&self, wish: Wish, app_id: &str, topic: &str) -> Result<()> {
        if self.allow(wish, app_id, topic) {
            return Ok(());
        }
        let wish = if wish == Wish::Publish { "publish to" } else { "subscribe to" };
        let message =
            format!("app '{app_id}' may not {wish} topic '{topic}': see the component's topic scopes");
        Err(Error::new(ErrorKind::PermissionDenied, message))
    }

    fn allow(&self, wish: Wish, app_id: &str, topic: &str) -> bool {
        let scope = if wish == Wish::Publish { &self.publishing } else { &self.subscribing };
        let among = |topics: &[String]| topics.iter().any(|listed| listed == topic);
        if !self.allowed.is_empty() && !among(&self.allowed) {
            return false;
        }
        match scope.get(app_id) {
            Some(topics) => among(topics),
            None => !among(&self.protected),
        }
    }
}

fn text_of(setting: Option<Value>, name: &'static str) -> Result<String> {
    match setting {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Error::invalid(format!("{name} is text: names with commas")).with("setting", name)),
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn scope(text: &str, name: &'static str) -> Result<Scope> {
    let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
    let entry = |entry: &str| match entry.split_once('=') {
        Some((app, topics)) if !app.trim().is_empty() => Ok((app.trim().to_owned(), list(topics))),
        _ => {
            let message = format!("'{entry}' does not say which app has which topics: app=topic1,topic2");
            Err(Error::invalid(message).with("setting", name))
        }
    };
    entries.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scopes(settings: Value) -> Result<TopicScopes> {
        let settings = settings.as_object().expect("an object").clone();
        TopicScopes::take(&mut ComponentSpec { settings, ..ComponentSpec::default() })
    }

    #[test]
    fn rules_are_read_as_dapr_writes_them() {
        let check = |settings: Value, wish, app: &str, topic: &str, allowed: bool| {
            let scopes = scopes(settings.clone()).expect("reads");
            assert_eq!(scopes.check(wish, app, topic).is_ok(), allowed, "{settings} {wish:?} {app} {topic}");
        };
        use Wish::{Publish, Subscribe};
        check(json!({}), Publish, "any", "any", true);
        let allowed = json!({"allowedTopics": "a, b"});
        check(allowed.clone(), Publish, "any", "a", true);
        check(allowed, Subscribe, "any", "c", false);
        let scoped = json!({"publishingScopes": "one=a,b; two=", "subscriptionscopes": "one=c"});
        for (app, topic, allowed) in
            [("one", "b", true), ("one", "c", false), ("two", "a", false), ("three", "a", true)]
        {
            check(scoped.clone(), Publish, app, topic, allowed);
        }
        check(scoped.clone(), Subscribe, "one", "c", true);
        check(scoped, Subscribe, "one", "a", false);
        let protected = json!({"protectedTopics": "a", "subscriptionScopes": "one=a"});
        check(protected.clone(), Subscribe, "one", "a", true);
        check(protected.clone(), Subscribe, "two", "a", false);
        check(protected.clone(), Publish, "one", "a", false);
        check(protected, Publish, "one", "b", true);
    }

    #[test]
    fn malformed_rules_name_the_setting() {
        for settings in [
            json!({"publishingScopes": "a,b"}),
            json!({"publishingScopes": "=a"}),
            json!({"publishingScopes": 7}),
        ] {
            let error = scopes(settings).expect_err("refused");
            assert!(error.to_string().contains("setting=publishingScopes"), "{error}");
        }
    }
}
