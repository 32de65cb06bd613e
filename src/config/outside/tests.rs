//! Sections that speak of the world outside: what they become, and what is refused.

use std::time::Duration;

use serde_json::json;

use super::raw;
use crate::{
    config::{
        collection::List,
        diff,
        fault::Fault,
        model::{
            Address, Check, CheckAction, CheckTarget, Hook, HookAction, MetricUnit, SinkKind,
            SmtpSecurity,
        },
        parse,
        reader::Reader,
        section::section,
        source::Source,
    },
    domain::{CheckCategory, CheckStage, HookPoint, NotificationKind, Severity},
};

const MINIMAL: &str = include_str!("../../../config/examples/minimal.toml");

section! {
    /// What a rollout holds of these.
    Holder {
        /// Checks.
        default check: List<raw::Check, 0, 64> = List::unwritten([]);
        /// Hooks.
        default hook: List<raw::Hook, 0, 64> = List::unwritten([]);
    }
}

fn held(text: &str) -> (Vec<Check>, Vec<Hook>, Vec<Fault>) {
    let (source, faults) = Source::new(text, &|_| None);
    let mut reader = Reader::new(&source, faults);
    let table = toml::de::DeTable::parse(source.text()).unwrap();
    let holder: Holder = reader.document(&table);
    let checks = super::checks(holder.check.value.0, "rollout.api", &mut reader);
    let hooks = super::hooks(holder.hook.value.0, "rollout.api", &mut reader);
    (checks, hooks, reader.into_faults().0)
}

fn config(more: &str) -> crate::config::Config {
    let text = format!("{MINIMAL}{more}\n");
    parse(&text, "test.toml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The one fault of `MINIMAL` with `more`.
fn refused(more: &str) -> String {
    let text = format!("{MINIMAL}{more}\n");
    let errors = parse(&text, "test.toml", &|_| None).unwrap_err().messages();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn a_metric_has_its_defaults() {
    let text = "[metric.cpu]\nprometheus = \"http://127.0.0.1:9090/\"\nquery = 'up'";
    let metric = config(text).metrics.remove(0);
    assert_eq!(metric.name.as_str(), "cpu");
    assert_eq!(&*metric.prometheus, "http://127.0.0.1:9090");
    assert_eq!((metric.unit, metric.token_file), (MetricUnit::Count, None));
    assert_eq!((metric.interval.as_secs(), metric.timeout.as_secs()), (10, 5));
}

#[test]
fn sinks_become_what_they_are() {
    let sinks = config(
        r#"
        [notify.chat]
        kind = "slack"
        url_file = "/etc/tidegate/slack-url"
        events = ["alert", "rolled_back"]
        min_severity = "warning"
        [notify.ops]
        kind = "email"
        smtp = "starttls://mail.example.com"
        from = "tidegate@example.com"
        to = ["oncall@example.com"]
        user = "tidegate"
        password_file = "/etc/tidegate/mail"
        [notify.any]
        kind = "webhook"
        url = "https://example.com/hook?key=1"
        secret_file = "/etc/tidegate/key"
        [notify.page]
        kind = "alertmanager"
        url = "http://127.0.0.1:9093"
        "#,
    )
    .sinks;
    let names: Vec<_> = sinks.iter().map(|sink| sink.name.as_str()).collect();
    assert_eq!(names, ["chat", "ops", "any", "page"]);
    assert_eq!(sinks[0].kind, SinkKind::Slack(Address::File("/etc/tidegate/slack-url".into())));
    assert_eq!(sinks[0].events, [NotificationKind::Alert, NotificationKind::RolledBack]);
    assert_eq!(sinks[0].min_severity, Severity::Warning);
    assert_eq!(sinks[1].events, NotificationKind::ALL);
    let SinkKind::Email(email) = &sinks[1].kind else { panic!("{:?}", sinks[1]) };
    assert_eq!((email.security, email.port), (SmtpSecurity::StartTls, 587));
    assert_eq!(email.login, Some(("tidegate".into(), "/etc/tidegate/mail".into())));
    let shown = format!("{:?}", sinks[2]);
    assert!(!shown.contains("key=1"), "an address is shown whole: {shown}");
}

#[test]
fn a_changed_address_is_told_without_being_shown() {
    let one = config("[notify.a]\nkind = \"slack\"\nurl = \"https://example.com/secret-one\"");
    let two = config("[notify.a]\nkind = \"slack\"\nurl = \"https://example.com/secret-two\"");
    let changes = diff(&one, &two);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].text.starts_with("notify a: kind slack at https://example.com/…"));
    assert!(!changes[0].text.contains("secret"), "{changes:?}");
    assert_eq!(diff(&one, &config("")).len(), 1);
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    for (more, key, says) in [
        ("[metric.a]\nprometheus = \"ftp://x\"\nquery = 'up'", "metric.a.prometheus", "http://"),
        ("[metric.a]\nprometheus = \"http://u:p@x\"\nquery = 'up'", "metric.a.prometheus", "name"),
        ("[metric.a]\nprometheus = \"http://x\"", "metric.a", "\"query\" is missing"),
        (
            "[metric.a]\nprometheus = \"http://x\"\nquery = 'up'\ninterval = \"2s\"",
            "metric.a.interval",
            "longer than the interval",
        ),
        ("[notify.a]\nkind = \"slak\"", "notify.a.kind", "did you mean \"slack\"?"),
        ("[notify.a]\nkind = \"slack\"", "notify.a", "the address is missing"),
        ("[notify.a]\nkind = \"slack\"\nurl = \"http://x\"\nsmtp = \"smtp://x\"", "smtp", "kind"),
        ("[notify.a]\nkind = \"slack\"\nurl = \"http://x\"\nurl_file = \"/x\"", "url_file", "url"),
        (
            "[notify.a]\nkind = \"email\"\nsmtp = \"smtp://x\"\nfrom = \"a@b\"",
            "notify.a",
            "\"to\" is missing",
        ),
        (
            "[notify.a]\nkind = \"email\"\nsmtp = \"smtp://x\"\nfrom = \"A <a@b>\"\nto = [\"a@b\"]",
            "notify.a.from",
            "no mail address",
        ),
        (
            "[notify.a]\nkind = \"email\"\nsmtp = \"http://x\"\nfrom = \"a@b\"\nto = [\"a@b\"]",
            "notify.a.smtp",
            "is not an address such as",
        ),
        (
            "[notify.a]\nkind = \"slack\"\nurl = \"http://x\"\nevents = [\"roled_back\"]",
            "notify.a.events[0]",
            "did you mean \"rolled_back\"?",
        ),
    ] {
        let fault = refused(more);
        assert!(fault.contains(key) && fault.contains(says), "{more}\ngave\n{fault}");
    }
}

#[test]
fn checks_and_hooks_become_what_they_are() {
    let (checks, hooks, faults) = held(
        r#"
        [[check]]
        name = "create and read back"
        stage = ["pre"]
        category = "database"
        target = "both"
        request = { method = "POST", path = "/items?x=1", headers = { "X-A" = "b" }, body = "{}" }
        expect = { status = "200-204, 301", max_latency = "100ms", json = { "$.a[0]" = 1 } }
        [[check]]
        name = "program"
        exec = ["./check.sh", ""]
        required = false
        [[check]]
        name = "defaults"
        request = {}
        expect = { header = {}, json = {}, body_contains = "" }
        [[hook]]
        on = "rollback"
        name = "undo"
        exec = ["kubectl", "rollout", "undo"]
        [[hook]]
        on = "before_step"
        name = "gate"
        url = "https://example.com/gate"
        timeout = "5s"
        required = true
        "#,
    );
    assert_eq!(faults, []);
    let CheckAction::Http { target, request, expect } = &checks[0].action else { panic!() };
    assert_eq!((*target, &request.method), (CheckTarget::Both, &http::Method::POST));
    assert_eq!(request.headers, [("x-a".parse().unwrap(), "b".into())]);
    assert_eq!(expect.max_latency, Some(Duration::from_millis(100)));
    assert!(expect.status.contains(204) && expect.status.contains(301));
    assert!(!expect.status.contains(205));
    let (path, value) = &expect.json[0];
    assert_eq!((path.to_string().as_str(), value), ("$.a[0]", &json!(1)));
    assert_eq!(
        (checks[0].category, &*checks[0].stages),
        (CheckCategory::Database, &[CheckStage::Pre][..])
    );
    assert_eq!(checks[1].action, CheckAction::Exec(vec!["./check.sh".into(), "".into()]));
    assert!(!checks[1].required && checks[2].required);
    assert_eq!(checks[2].stages.len(), 3);
    assert_eq!((hooks[0].level, hooks[1].level), (Some(3), None));
    assert_eq!((hooks[1].point, hooks[1].required), (HookPoint::BeforeStep, true));
    assert_eq!(hooks[1].action, HookAction::Post("https://example.com/gate".into()));
    let shown = format!("{} {}", checks[0], hooks[1]);
    assert!(shown.contains("POST /items?x=1 of both expects 200-204, 301"), "{shown}");
    assert!(!shown.contains("example.com/gate"), "{shown}");
}

#[test]
fn faulty_checks_and_hooks_are_refused_where_they_stand() {
    for (text, key, says) in [
        ("[[check]]\nname = \"a\"", "rollout.api.check[0]", "nothing to do"),
        ("[[check]]\nname = \"a\"\nrequest = {}\nexec = [\"x\"]", "check[0].exec", "beside"),
        ("[[check]]\nname = \"a\"\nexec = [\"\"]", "check[0].exec", "empty"),
        ("[[check]]\nname = \"a\"\nexec = [\"x\"]\ntarget = \"both\"", "check[0].target", "exec"),
        ("[[check]]\nname = \"a\"\nrequest = { path = \"x\" }", "check[0].request.path", "no path"),
        (
            "[[check]]\nname = \"a\"\nrequest = {}\nexpect = { status = \"99\" }",
            "check[0].expect.status",
            "status codes",
        ),
        (
            "[[check]]\nname = \"a\"\nrequest = {}\nexpect = { json = { \"a.b\" = 1 } }",
            "check[0].expect.json",
            "no path into JSON",
        ),
        (
            "[[check]]\nname = \"a\"\nrequest = {}\n[[check]]\nname = \"a\"\nrequest = {}",
            "rollout.api.check[1].name",
            "taken already",
        ),
        ("[[hook]]\nname = \"a\"\non = \"start\"", "rollout.api.hook[0]", "nothing to call"),
        (
            "[[hook]]\nname = \"a\"\non = \"rollback\"\nlevel = 2\nexec = [\"x\"]",
            "rollout.api.hook[0].level",
            "is the traffic",
        ),
        (
            "[[hook]]\nname = \"a\"\non = \"start\"\nlevel = 1\nexec = [\"x\"]",
            "rollout.api.hook[0].level",
            "no effect but on \"rollback\"",
        ),
        (
            "[[hook]]\nname = \"a\"\non = \"rollback\"\nrequired = true\nexec = [\"x\"]",
            "rollout.api.hook[0].required",
            "nothing waits for it",
        ),
    ] {
        let (_, _, faults) = held(text);
        let shown = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(faults.len(), 1, "{text}\ngave\n{shown}");
        assert!(shown.contains(key) && shown.contains(says), "{text}\ngave\n{shown}");
    }
}

#[test]
fn traces_have_an_address_and_the_rest_by_default() {
    assert_eq!(config("").traces, None);
    let traces = config("[traces]\nendpoint = \"http://127.0.0.1:4318\"").traces.unwrap();
    assert_eq!(&*traces.endpoint, "http://127.0.0.1:4318/v1/traces");
    assert_eq!((traces.sample.percent(), &*traces.service_name), (1.0, "tidegate"));
    let all = "[traces]\nendpoint = \"https://c.example/in\"\nsample = \"12.5%\"\nservice_name = \"edge\"\n\
               headers = { authorization = \"Bearer x\" }\nresource = { \"service.namespace\" = \"shop\" }\n\
               timeout = \"3s\"\nmax_delay = \"200ms\"";
    let traces = config(all).traces.unwrap();
    assert_eq!(&*traces.endpoint, "https://c.example/in");
    assert_eq!(traces.sample.percent(), 12.5);
    assert_eq!(traces.headers, [(http::header::AUTHORIZATION, "Bearer x".into())]);
    assert_eq!(traces.resource, [("service.namespace".into(), "shop".into())]);
    assert_eq!(
        (traces.timeout, traces.max_delay),
        (Duration::from_secs(3), Duration::from_millis(200))
    );
}

#[test]
fn what_traces_cannot_be_is_said_without_telling_secrets() {
    let of =
        |keys: &str| refused(&format!("[traces]\nendpoint = \"http://127.0.0.1:4318\"\n{keys}"));
    let own = of("headers = { Content-Type = \"text/plain\" }");
    assert!(own.contains("traces.headers.content-type") && own.contains("leave it out"), "{own}");
    let secret = of("headers = { x-key = \"hush\\nhush\" }");
    assert!(secret.contains("traces.headers.x-key") && !secret.contains("hush"), "{secret}");
    let named = of("resource = { \"service.name\" = \"x\" }");
    assert!(named.contains("service_name"), "{named}");
    assert!(of("resource = { \"a b\" = \"x\" }").contains("name of an attribute"));
    let share = of("sample = \"101%\"");
    assert!(
        share.contains("traces.sample: a share of 101 % is not between 0 and 100 %"),
        "{share}"
    );
    assert!(refused("[traces]\nsample = \"1%\"").contains("endpoint"));
    assert!(refused("[traces]\nendpoint = \"collector:4318\"").contains("http://"));
}

#[test]
fn a_change_of_traces_is_told_without_telling_secrets() {
    let traces = |keys: &str| {
        config(&format!("[traces]\nendpoint = \"http://c.example/in/top-secret\"\n{keys}"))
    };
    let texts = |old: &crate::config::Config, new: &crate::config::Config| {
        let changes = diff(old, new);
        assert!(changes.iter().all(|change| !change.needs_restart), "{changes:?}");
        changes.into_iter().map(|change| change.text).collect::<Vec<_>>()
    };
    let (none, first) = (config(""), traces("headers = { x-key = \"hush\" }"));
    assert_eq!(texts(&none, &first), ["traces added"]);
    assert_eq!(texts(&first, &none), ["traces removed"]);
    let other = texts(&first, &traces("headers = { x-key = \"hash\" }\nsample = 5"));
    assert_eq!(other.len(), 2, "{other:?}");
    assert_eq!(other[0], "traces: sample 1% → 5%");
    assert!(
        other[1].starts_with("traces: headers x-key (") && !other[1].contains("hush"),
        "{other:?}"
    );
    let shown = crate::config::explain(&first);
    assert!(
        shown.contains("Traces\n  http://c.example/") && !shown.contains("top-secret"),
        "{shown}"
    );
    assert!(shown.contains("its headers travel in the clear"), "{shown}");
}
