//! What a rollout has to do with others: a real Prometheus, a real Alertmanager, real mail servers, webhooks and programs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;

use crate::{
    daemon::Daemon,
    python::Script,
    support::{
        eventually,
        gate::Gate,
        message::Message,
        setup::{NONE, Setup},
        upstream::{Upstream, ok},
    },
};

/// A service with a metric that a test holds in its hands.
struct Thermometer {
    degrees: Arc<AtomicU32>,
    _upstream: Upstream,
    prometheus: Daemon,
}

impl Thermometer {
    fn start() -> Self {
        let degrees = Arc::new(AtomicU32::new(1));
        let shown = degrees.clone();
        let upstream =
            Upstream::answering(move |_| ok(&format!("temperature {}\n", shown.load(SeqCst))));
        let prometheus = Daemon::prometheus(upstream.address());
        Self { degrees, _upstream: upstream, prometheus }
    }

    /// `[metric.NAME]` with a query of its server.
    fn metric(&self, name: &str, query: &str) -> String {
        let url = self.prometheus.url();
        format!(
            "[metric.{name}]\nprometheus = \"{url}\"\nquery = '{query}'\ninterval = \"200ms\"\n\
             timeout = \"200ms\"\n"
        )
    }
}

/// Blue and green behind route `app`, with more sections.
pub(crate) fn setup(sides: &(Upstream, Upstream), more: &str) -> Setup {
    Setup::empty()
        .backend("blue", sides.0.address(), "")
        .backend("green", sides.1.address(), "")
        .route("app", "split = { blue = 100, green = 0 }", NONE)
        .more(more)
}

pub(crate) fn sides() -> (Upstream, Upstream) {
    (Upstream::saying("page"), Upstream::saying("page"))
}

pub(crate) const PLAN: &str = "[rollout.app]\nroute = \"app\"\nbaseline = \"blue\"\ncanary = \"green\"\n\
    settle = \"100ms\"\nwindow = \"1s\"\n[[rollout.app.step]]\nname = \"canary\"\nweight = 10\nhold = \"1h\"\n";

fn phase(gate: &Gate) -> String {
    let rollout = gate.admin_json("/v1/rollouts/app");
    rollout["phase"].as_str().expect("a phase").to_owned()
}

fn await_phase(gate: &Gate, wanted: &str) {
    eventually(wanted, || (phase(gate) == wanted).then_some(()));
}

/// The finding of one check of a preflight.
pub(crate) fn finding(gate: &Gate, name: &str) -> (String, String) {
    let ran = gate.run(&["preflight", "app", "--json"]);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    let items = found["items"].as_array().expect("items");
    let item = items.iter().find(|item| item["name"] == name);
    let item = item.unwrap_or_else(|| panic!("{name} is not in {found:#}"));
    let text = |key: &str| item[key].as_str().expect("a text").to_owned();
    (text("result"), text("detail"))
}

#[test]
fn metrics_are_what_prometheus_says_or_missing_with_the_reason() {
    const NAME: &str = "metrics from outside have an answer";
    let thermometer = Thermometer::start();
    let sides = sides();
    let with = |query: &str| {
        let rule = "[[rollout.app.rollback]]\nwhen = \"external.heat > 10\"\n";
        setup(&sides, &format!("{}{PLAN}{rule}", thermometer.metric("heat", query)))
    };
    let gate = Gate::start(&with("temperature"));
    eventually("a number", || (finding(&gate, NAME).0 == "pass").then_some(()));
    for (query, why) in [
        ("temperature{job=\"nobody\"}", "no series fits the query"),
        ("{job=\"test\"}", "series fit the query: aggregate them to one"),
        ("temperature +", "Prometheus refuses the query"),
        ("vector(0) / 0", "the answer is NaN"),
        ("temperature[1m]", "a range, not one number"),
    ] {
        gate.replace_config(&with(query));
        gate.run_ok(&["reload"]);
        eventually(why, || {
            let (result, detail) = finding(&gate, NAME);
            (result == "fail" && detail.contains(why)).then_some(())
        });
    }
}

/// The alerts that an Alertmanager holds to be firing.
fn alerts(alertmanager: &Daemon) -> Vec<(String, String)> {
    let alerts = alertmanager.ask("/api/v2/alerts?active=true");
    let labels = alerts.as_array().expect("alerts").iter().map(|alert| &alert["labels"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    labels.map(|labels| (text(&labels["alertname"]), text(&labels["rule"]))).collect()
}

fn await_alerts(alertmanager: &Daemon, wanted: &[(&str, &str)]) {
    let wanted: Vec<_> =
        wanted.iter().map(|(name, rule)| ((*name).to_owned(), (*rule).to_owned())).collect();
    let mut last = Vec::new();
    eventually(&format!("{wanted:?}"), || {
        last = alerts(alertmanager);
        (last == wanted).then_some(())
    });
}

fn is_signed(request: &Message, key: &[u8]) -> bool {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("a key");
    mac.update(&request.body);
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    request.headers.only("x-tidegate-signature") == Some(&format!("sha256={hex}"))
}

fn kinds(sink: &Upstream) -> Vec<String> {
    let kind = |request: &Message| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        body["kind"].as_str().expect("a kind").to_owned()
    };
    sink.log().requests.iter().map(kind).collect()
}

/// Everybody who has to do with one rollout.
struct World {
    thermometer: Thermometer,
    alertmanager: Daemon,
    mail: Script,
    slack: Upstream,
    webhook: Upstream,
    flags: Upstream,
    folder: tempfile::TempDir,
}

const KEY: &str = "a key for signing";

impl World {
    fn start() -> Self {
        let [slack, webhook, flags] = [(); 3].map(|()| Upstream::saying("noted"));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key"), format!("{KEY}\n")).unwrap();
        Self {
            thermometer: Thermometer::start(),
            alertmanager: Daemon::alertmanager(),
            mail: Script::smtp_server("plain"),
            slack,
            webhook,
            flags,
            folder,
        }
    }

    /// What the rollback's program writes.
    fn undone(&self) -> PathBuf {
        self.folder.path().join("undone")
    }

    fn sections(&self) -> String {
        format!(
            "{metric}{PLAN}\
             [[rollout.app.rollback]]\nwhen = \"external.heat > 30\"\n\
             [[rollout.app.alert]]\nwhen = \"external.heat > 20\"\nseverity = \"critical\"\n\
             [[rollout.app.hook]]\non = \"rollback\"\nlevel = 3\nname = \"undo\"\n\
             exec = [\"sh\", \"-c\", 'echo \"$TIDEGATE_CANARY $TIDEGATE_REASON\" > {undone}']\n\
             [[rollout.app.hook]]\non = \"rollback\"\nlevel = 1\nname = \"flags\"\nurl = \"{flags}\"\n\
             [notify.chat]\nkind = \"slack\"\nurl = \"{slack}/services/x\"\nmin_severity = \"critical\"\n\
             [notify.any]\nkind = \"webhook\"\nurl = \"{webhook}\"\nsecret_file = \"{key}\"\n\
             [notify.page]\nkind = \"alertmanager\"\nurl = \"{page}\"\n\
             [notify.mail]\nkind = \"email\"\nsmtp = \"smtp://127.0.0.1:{port}\"\n\
             from = \"tidegate@example.com\"\nto = [\"a@example.com\", \"b@example.com\"]\n\
             events = [\"rolled_back\"]\n",
            metric = self.thermometer.metric("heat", "temperature"),
            undone = self.undone().display(),
            key = self.folder.path().join("key").display(),
            page = self.alertmanager.url(),
            port = self.mail.line(),
            slack = url(&self.slack),
            webhook = url(&self.webhook),
            flags = url(&self.flags),
        )
    }
}

#[test]
fn a_rollout_turns_back_on_a_metric_and_everybody_hears_of_it() {
    let world = World::start();
    let World { thermometer, alertmanager, mail, slack, webhook, flags, .. } = &world;
    let sides = sides();
    let more = world.sections();
    let gate = Gate::start(&setup(&sides, &more));
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "baking");

    thermometer.degrees.store(25, SeqCst);
    await_alerts(alertmanager, &[("TidegateRolloutAlert", "external.heat > 20")]);
    thermometer.degrees.store(1, SeqCst);
    await_alerts(alertmanager, &[]);

    thermometer.degrees.store(99, SeqCst);
    await_phase(&gate, "rolled_back");
    assert!(gate.split_of("app").0["green"].as_f64().unwrap() < 0.01);
    let message: Value = serde_json::from_str(&mail.line()).unwrap();
    assert_eq!(message["to"], serde_json::json!(["a@example.com", "b@example.com"]));
    let subject = message["subject"].as_str().unwrap();
    assert!(subject.starts_with("[tidegate] critical: app rolled back:"), "{subject}");
    eventually("Alertmanager knows of the rollback", || {
        let names: Vec<_> = alerts(alertmanager).into_iter().map(|(name, _)| name).collect();
        (names == ["TidegateRolloutRolledBack"]).then_some(())
    });
    // It may go before an alert that waits.
    eventually("the webhook got everything", || {
        kinds(webhook).iter().any(|kind| kind == "rolled_back").then_some(())
    });
    let told = kinds(webhook);
    for kind in ["started", "alert", "resolved", "rolled_back"] {
        assert!(told.iter().any(|known| known == kind), "{kind} is not in {told:?}");
    }
    assert!(webhook.log().requests.iter().all(|request| is_signed(request, KEY.as_bytes())));
    let chat = slack.wait_until("Slack hears of it", |log| {
        log.requests.last().is_some_and(|request| request.text().contains("rolled back"))
    });
    assert!(chat.requests.iter().all(|request| request.target() == "/services/x"));
    assert!(chat.requests.iter().all(|request| request.text().contains("critical: app")));
    assert_hooks(&gate, flags, &world.undone());
    eventually("the deliveries are counted", || {
        let sent = |sink| {
            gate.metric("tidegate_notifications_total", &[("sink", sink), ("result", "sent")])
        };
        (sent("mail") > 0.5 && sent("page") > 1.5 && sent("chat") > 0.5).then_some(())
    });
}

/// Both hooks were called, the feature flags first, and their results are in the trail.
fn assert_hooks(gate: &Gate, flags: &Upstream, undone: &Path) {
    let reason = eventually("the program has run", || {
        fs::read_to_string(undone).ok().filter(|text| text.ends_with('\n'))
    });
    assert!(reason.starts_with("green ") && reason.contains("external.heat"), "{reason}");
    let asked = flags.log().requests;
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!((&body["event"], &body["hook"]), (&"rollback".into(), &"flags".into()));
    let told = eventually("the trail holds both", || {
        let events = gate.events().into_iter().filter(|event| event["kind"] == "hook_ended");
        let told: Vec<_> = events.map(|event| event["message"].to_string()).collect();
        (told.len() == 2).then_some(told)
    });
    assert!(told[0].contains("flags") && told[1].contains("undo"), "{told:?}");
}

fn url(upstream: &Upstream) -> String {
    format!("http://{}", upstream.address())
}

#[test]
fn a_dead_sink_is_reported_and_counted_and_the_others_are_served() {
    let dead = Upstream::answering(|_| {
        b"HTTP/1.1 403 No\r\ncontent-length: 10\r\n\r\nno_service".to_vec()
    });
    let alive = Upstream::saying("ok");
    let sides = sides();
    let sink = |name: &str, upstream: &Upstream| {
        format!("[notify.{name}]\nkind = \"slack\"\nurl = \"{}/hook/secret\"\n", url(upstream))
    };
    let more = [PLAN.to_owned(), sink("dead", &dead), sink("alive", &alive)].concat();
    let gate = Gate::start(&setup(&sides, &more));
    gate.run_ok(&["start", "app"]);
    alive.wait_until("the other sink is served", |log| !log.requests.is_empty());
    let event = eventually("the dead sink is reported", || {
        gate.events().into_iter().find(|event| event["kind"] == "notify_failed")
    });
    assert_eq!(event["subject"], "dead");
    let message = event["message"].as_str().unwrap();
    assert!(message.ends_with("status 403: no_service"), "{message}");
    let failed = [("sink", "dead"), ("result", "failed")];
    assert!(gate.metric("tidegate_notifications_total", &failed) > 0.5);
    assert!(!gate.log().contains("secret"), "an address is in the log");
}

#[test]
fn a_preflight_says_go_or_stop_and_its_exit_code_too() {
    let sides = sides();
    let good = format!(
        "{PLAN}[[rollout.app.rollback]]\nwhen = \"error_rate > 10%\"\n\
         [[rollout.app.check]]\nname = \"page\"\nrequest = {{ path = \"/page\" }}\n\
         target = \"both\"\nexpect = {{ body_contains = \"page\" }}\n\
         [[rollout.app.check]]\nname = \"through\"\nrequest = {{}}\ntarget = \"proxy\"\n"
    );
    let gate = Gate::start(&setup(&sides, &good));
    let ran = gate.run(&["preflight", "app"]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("\nPROCEED: rollout app; "), "{}", ran.stdout);
    for category in ["api", "database", "performance", "feature", "integration", "monitoring"] {
        assert!(ran.stdout.lines().any(|line| line == category), "{category}\n{}", ran.stdout);
    }
    let looked_at = ran.stdout.lines().filter(|line| line.starts_with("  pass  ")).count();
    assert!(looked_at >= 25, "{looked_at} passed\n{}", ran.stdout);
    assert_eq!(finding(&gate, "page").0, "pass");
    assert_eq!(finding(&gate, "through").0, "pass");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = Setup::empty().backend("blue", sides.0.address(), "").backend("green", nobody, "");
    let down = down.route("app", "split = { blue = 100, green = 0 }", NONE).more(&good);
    gate.replace_config(&down);
    gate.run_ok(&["reload"]);
    let ran = gate.run(&["preflight", "app"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.stdout.contains("\nSTOP: rollout app; "), "{}", ran.stdout);
    assert!(ran.stdout.contains("STOP  canary accepts connections"), "{}", ran.stdout);
    assert_eq!(gate.run(&["preflight", "nobody"]).code, 65);
}
